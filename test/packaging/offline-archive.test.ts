import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { describe, expect, onTestFinished, test } from 'vitest'
import { verify } from '../../src/verification/verify.ts'
import { ROOT, sourceFiles } from '../conventions/source-files.ts'
import KINDS from '../gpu/golden-kinds.json' with { type: 'json' }
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { type Manifest, readGoldenManifest } from '../verification/golden-copy.ts'

interface Fatbin {
  keepArchitecture(bytes: Buffer, architecture: number): { kept: number; of: number }
}
interface Golden {
  goldenSubset(manifest: Manifest, kinds: readonly string[]): Manifest
}

const script = (name: string) => import(pathToFileURL(join(ROOT, 'scripts', name)).href)
const { keepArchitecture } = (await script('fatbin.mjs')) as Fatbin
const { goldenSubset } = (await script('golden-subset.mjs')) as Golden
const { FILES, PACKAGES } = (await script('offline-contents.mjs')) as Record<'FILES' | 'PACKAGES', string[]>

test('the archive has every package that the library imports, and the recipes', async () => {
  const imported = sourceFiles('src', ['.ts'])
    .flatMap((path) => ts.preProcessFile(readFileSync(join(ROOT, path), 'utf8')).importedFiles)
    .map(({ fileName }) => fileName)
    .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
    .map((name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/'))
  // From sources the report's page is compiled as it is asked for: by a package of development, and not in the archive.
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { dependencies: object }
  const needed = [...new Set(imported)].filter((name) => name in dependencies)
  expect(needed.length).toBeGreaterThan(3)
  expect(needed.filter((name) => !PACKAGES.includes(name))).toEqual([])
  expect(FILES).toContain('recipes')
})

describe('kernels of one architecture', () => {
  const PTX = 1
  const CUBIN = 2

  /** A fatbin's entry of `payload` bytes, each the number of its architecture. */
  function entry(kind: number, architecture: number, payload: number): Buffer {
    const bytes = Buffer.alloc(64 + payload, architecture)
    bytes.fill(0, 0, 64)
    bytes.writeUInt16LE(kind, 0)
    bytes.writeUInt32LE(64, 4)
    bytes.writeBigUInt64LE(BigInt(payload), 8)
    bytes.writeUInt32LE(architecture, 28)
    return bytes
  }

  function container(...entries: Buffer[]): Buffer {
    const body = Buffer.concat(entries)
    const header = Buffer.alloc(16)
    header.writeUInt32LE(0xba55ed50, 0)
    header.writeUInt16LE(1, 4)
    header.writeUInt16LE(16, 6)
    header.writeBigUInt64LE(BigInt(body.length), 8)
    return Buffer.concat([header, body])
  }

  /** An ELF file of two sections, .nv_fatbin and their names, and what stands in the first. */
  function elf(section: Buffer): { bytes: Buffer; section: () => Buffer } {
    const names = Buffer.from('\0.nv_fatbin\0.shstrtab\0')
    const file = Buffer.alloc(64 + section.length + names.length + 3 * 64)
    file.write('\x7fELF', 0, 'latin1')
    file[4] = 2
    const headers = 64 + section.length + names.length
    file.writeBigUInt64LE(BigInt(headers), 0x28)
    for (const [at, value] of [
      [0x3a, 64],
      [0x3c, 3],
      [0x3e, 2],
    ] as const) {
      file.writeUInt16LE(value, at)
    }
    section.copy(file, 64)
    names.copy(file, 64 + section.length)
    const describeSection = (index: number, name: number, offset: number, size: number) => {
      file.writeUInt32LE(name, headers + 64 * index)
      file.writeBigUInt64LE(BigInt(offset), headers + 64 * index + 0x18)
      file.writeBigUInt64LE(BigInt(size), headers + 64 * index + 0x20)
    }
    describeSection(1, 1, 64, section.length)
    describeSection(2, 12, 64 + section.length, names.length)
    return { bytes: file, section: () => file.subarray(64, 64 + section.length) }
  }

  test('are left in where they stand, and the rest becomes zeros', () => {
    const other = [entry(PTX, 80, 24), entry(CUBIN, 80, 40)]
    const wanted = entry(CUBIN, 90, 32)
    const [mixed, alone] = [container(...other, wanted), container(entry(CUBIN, 90, 8))]
    const { bytes, section } = elf(Buffer.concat([mixed, Buffer.alloc(8), alone]))
    expect(keepArchitecture(bytes, 90)).toEqual({ kept: 96 + 72, of: mixed.length - 16 + 72 })
    const left = container(wanted)
    expect(section()).toEqual(Buffer.concat([left, Buffer.alloc(mixed.length - left.length), Buffer.alloc(8), alone]))
  })

  test('a container without any keeps what it has; a file without any is refused', () => {
    const [older, newer] = [container(entry(PTX, 80, 16)), container(entry(CUBIN, 90, 16))]
    const { bytes, section } = elf(Buffer.concat([older, newer]))
    keepArchitecture(bytes, 90)
    expect(section()).toEqual(Buffer.concat([older, newer]))
    expect(() => keepArchitecture(elf(older).bytes, 90)).toThrow('There are no kernels for 90.')
    expect(keepArchitecture(elf(Buffer.alloc(64)).bytes, 90)).toEqual({ kept: 0, of: 0 })
  })
})

describe.skipIf(!haveGolden)(`golden vectors for a GPU${goldenSuffix}`, () => {
  test('are a set of their own that is verified whole', async () => {
    const whole = readGoldenManifest()
    const manifest = goldenSubset(whole, KINDS)
    const files = manifest.cases.flatMap((goldenCase) => Object.keys(goldenCase.files))
    expect(files.length).toBeLessThan(whole.cases.flatMap((goldenCase) => Object.keys(goldenCase.files)).length / 2)
    const folder = mkdtempSync(join(tmpdir(), 'repa-golden-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    for (const file of files) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      cpSync(join(goldenFolder, file), join(folder, file))
    }
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
    const options = { kinds: KINDS, cases: ['sit-qknorm*', 'tables'] }
    const [here, there] = [await verify(folder, options), await verify(goldenFolder, options)]
    expect(here.passed).toBe(true)
    expect([here.files, here.compared]).toEqual([there.files, there.compared])
  })
})
