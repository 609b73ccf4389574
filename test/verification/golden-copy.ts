import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'

/** Where the golden vectors are; they stand beside the repository, not in it. */
export const GOLDEN = join(process.env.REPA_SHARED ?? join(import.meta.dirname, '../../../shared'), 'golden')

export const haveGolden = existsSync(join(GOLDEN, 'manifest.json'))

interface ManifestFile {
  kind: string
  bytes: number
  sha256?: string
  args?: Record<string, unknown>
  tensors?: Record<string, { role: string; dtype: string; shape: number[]; tol?: { atol: number; rtol: number } }>
}

export interface Manifest {
  format: string
  cases: { id: string; hyper: Record<string, unknown>; files: Record<string, ManifestFile> }[]
}

export function readGoldenManifest(): Manifest {
  return JSON.parse(readFileSync(join(GOLDEN, 'manifest.json'), 'utf8')) as Manifest
}

/** A copy of some files of the golden set, to be changed; it goes with the test. */
export class GoldenCopy {
  readonly directory: string
  readonly manifest: Manifest

  constructor(keep: (path: string) => boolean) {
    this.directory = mkdtempSync(join(tmpdir(), 'repa-verify-'))
    onTestFinished(() => rmSync(this.directory, { recursive: true }))
    this.manifest = readGoldenManifest()
    for (const { files } of this.manifest.cases) {
      for (const path of Object.keys(files)) {
        if (!keep(path)) {
          delete files[path]
          continue
        }
        mkdirSync(dirname(join(this.directory, path)), { recursive: true })
        cpSync(join(GOLDEN, path), join(this.directory, path))
      }
    }
    this.manifest.cases = this.manifest.cases.filter(({ files }) => Object.keys(files).length > 0)
    this.write()
  }

  path(file: string): string {
    return join(this.directory, file)
  }

  file(path: string): ManifestFile {
    const found = this.manifest.cases.find(({ files }) => path in files)
    if (!found) throw new Error(`The copy has no file ${path}.`)
    return found.files[path]!
  }

  /** Writes the manifest as it has become. */
  write(): void {
    writeFileSync(this.path('manifest.json'), JSON.stringify(this.manifest))
  }

  /** Lets the manifest say what the file now is. */
  reseal(path: string): void {
    const bytes = readFileSync(this.path(path))
    const file = this.file(path)
    file.bytes = bytes.length
    if (file.sha256 !== undefined) file.sha256 = createHash('sha256').update(bytes).digest('hex')
    this.write()
  }

  /** Changes a tensor's bytes; the file is whole again, and the manifest agrees with it. */
  async changeTensor(path: string, name: string, change: (view: DataView) => void): Promise<void> {
    const file = await SafetensorsFile.open(this.path(path))
    const tensors = await file.readAll()
    await file.close()
    const data = tensors.get(name)!.data
    change(new DataView(data.buffer, data.byteOffset, data.byteLength))
    const entries = [...tensors].map(([key, tensor]) => ({ name: key, ...tensor }))
    await writeSafetensors(this.path(path), entries)
    this.reseal(path)
  }
}
