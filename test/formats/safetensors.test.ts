import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { type SafetensorsSource, writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { ALL_DTYPES, expectSameTensor, patternTensor, SHAPES } from './tensors.ts'

/** A file of this header and data, as no careful writer would make it. */
async function writeRaw(path: string, header: string | object, dataBytes: number, declaredLength?: bigint) {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(declaredLength ?? BigInt(json.length))
  await writeFile(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]))
}

async function readEverything(path: string) {
  await using file = await SafetensorsFile.open(path)
  return { metadata: { ...file.metadata }, tensors: await file.readAll() }
}

const f32 = (shape: unknown, begin: unknown, end: unknown) => ({ dtype: 'F32', shape, data_offsets: [begin, end] })

describe('round trips', () => {
  const entries: SafetensorsSource[] = ALL_DTYPES.flatMap((dtype, d) =>
    SHAPES.map((shape, s) => ({ name: `${dtype} [${shape}]`, ...patternTensor(dtype, shape, d * 10 + s) })),
  )
  const odd = ['__proto__', 'constructor', '7', 'größe "quoted" \u{1f600}', ''].map((name, i) => {
    return { name, ...patternTensor('f32', [2], i) }
  })

  test.each([
    { name: 'plain', checksum: false, lazy: false },
    { name: 'with checksums', checksum: true, lazy: false },
    { name: 'fetched one by one', checksum: false, lazy: true },
    { name: 'fetched one by one, with checksums', checksum: true, lazy: true },
  ])('$name: every dtype and shape, odd names, metadata, in the given order', async ({ checksum, lazy }) => {
    const path = join(temporaryFolder(), 'a.safetensors')
    const all = [...entries, ...odd]
    const written = lazy ? all.map((entry) => ({ ...entry, data: async () => entry.data as Uint8Array })) : all
    const metadata = { step: '3', ['__proto__']: 'kept' }
    await writeSafetensors(path, written, { metadata, checksum, fsync: true })

    await using file = await SafetensorsFile.open(path)
    expect([...file.tensors.keys()]).toEqual(all.map(({ name }) => name))
    for (const { name, dtype, shape, data } of all) {
      expectSameTensor(await file.read(name), { dtype, shape, data: data as Uint8Array }, name)
    }
    expect(file.metadata.step).toBe('3')
    expect(Object.hasOwn(file.metadata, 'crc32')).toBe(checksum)
    // accelerate and huggingface_hub refuse metadata without it.
    expect(file.metadata.format).toBe('pt')
  })

  test('the header is padded so that the data starts at a multiple of 8', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    for (const name of ['a', 'ab', 'abc', 'abcd', 'abcde', 'abcdef', 'abcdefg', 'abcdefgh']) {
      await writeSafetensors(path, [{ name, ...patternTensor('u8', [3]) }])
      const bytes = await readFile(path)
      expect((8 + Number(bytes.readBigUInt64LE())) % 8).toBe(0)
      expect(bytes.subarray(-3)).toEqual(Buffer.from(patternTensor('u8', [3]).data))
    }
  })

  test('no tensors at all', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, [])
    expect((await readEverything(path)).tensors.size).toBe(0)
  })

  test('the checksum is the CRC-32 of the bytes', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    const tensor = patternTensor('f32', [3])
    await writeSafetensors(path, [{ name: 'x', ...tensor }], { checksum: true })
    const table = JSON.parse((await readEverything(path)).metadata.crc32!)
    expect(table).toEqual({ x: crc32(tensor.data).toString(16).padStart(8, '0') })
  })
})

describe('hostile headers', () => {
  test.each([
    ['an entry without offsets', { x: { dtype: 'F32', shape: [2] } }, 8, /tensor "x", data_offsets/],
    ['an entry with a stranger', { x: { ...f32([2], 0, 8), stride: [1] } }, 8, /tensor "x".*stride/],
    [
      'an unknown dtype',
      { x: { dtype: 'F8_E4M3', shape: [2], data_offsets: [0, 2] } },
      2,
      /"x" has the dtype "F8_E4M3"/,
    ],
    ['a dtype off the prototype', { x: { dtype: 'toString', shape: [], data_offsets: [0, 4] } }, 4, /dtype "toString"/],
    ['a negative size', { x: f32([-2], 0, 8) }, 8, /tensor "x", shape\.0/],
    ['a fractional size', { x: f32([1.5], 0, 6) }, 6, /tensor "x", shape\.0/],
    ['a shape past all numbers', { x: f32([2 ** 40, 2 ** 40], 0, 8) }, 8, /"x".*too large/],
    ['an unsafe size', '{"x":{"dtype":"F32","shape":[1e300],"data_offsets":[0,8]}}', 8, /tensor "x", shape\.0/],
    ['offsets that run backwards', { x: f32([2], 8, 0) }, 8, /"x" begins at byte 8, after its end/],
    ['offsets unlike the shape', { x: f32([3], 0, 8) }, 8, /"x" is given 8 bytes.*takes 12/],
    ['overlapping tensors', { x: f32([2], 0, 8), y: f32([2], 4, 12) }, 12, /"y".*overlaps/],
    ['the same bytes twice', { x: f32([2], 0, 8), y: f32([2], 0, 8) }, 8, /"y".*overlaps/],
    ['a hole', { x: f32([2], 0, 8), y: f32([2], 12, 20) }, 20, /"y".*hole of 4 bytes/],
    ['a hole at the start', { x: f32([2], 4, 12) }, 12, /"x".*hole of 4 bytes/],
    ['bytes after the last tensor', { x: f32([2], 0, 8) }, 11, /3 bytes follow the last tensor/],
    ['bytes that are missing', { x: f32([2], 0, 8), y: f32([2], 8, 16) }, 13, /truncated: 3 of 16 bytes.*"y"/],
    [
      'a name twice',
      '{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      0,
      /names "x" twice/,
    ],
    [
      'a name twice, once escaped',
      '{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0078":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      0,
      /names "x" twice/,
    ],
    ['a field twice', '{"x":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}', 0, /names "dtype" twice/],
    ['metadata that is no text', { __metadata__: { step: 3 } }, 0, /metadata "step" is not a string/],
    ['metadata that is a list', { __metadata__: ['a'] }, 0, /__metadata__ is not an object/],
    ['a list for a header', '[]', 0, /not a JSON object/],
    ['no JSON', '{"x":', 0, /not valid JSON/],
    ['no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]).toString('latin1'), 0, /tensor|JSON/],
    ['a checksum of nothing', { __metadata__: { crc32: '{"y":"00000000"}' } }, 0, /checksum of "y", but no such/],
    ['a checksum too few', { __metadata__: { crc32: '{}' }, x: f32([2], 0, 8) }, 8, /"x" has no checksum/],
    [
      'a checksum that is none',
      { __metadata__: { crc32: '{"x":"0"}' }, x: f32([2], 0, 8) },
      8,
      /checksum of "x" is not/,
    ],
  ])('%s', async (_, header, dataBytes, message) => {
    const path = join(temporaryFolder(), 'bad.safetensors')
    await writeRaw(path, header, dataBytes)
    const error = await SafetensorsFile.open(path).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(FileFormatError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toContain(path)
  })

  test.each([
    ['past the limit', 100_000_001n, /would be a header of 100000001 bytes/],
    ['past all numbers', 2n ** 64n - 1n, /would be a header of 18446744073709551615 bytes/],
    ['past the file', 5000n, /truncated inside its safetensors header: 4998 of 5000 bytes/],
  ])('a header length %s', async (_, length, message) => {
    const path = join(temporaryFolder(), 'bad.safetensors')
    await writeRaw(path, '{}', 0, length)
    await expect(SafetensorsFile.open(path)).rejects.toThrow(message)
  })

  test('__proto__ is a name like any other', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeRaw(path, '{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', 2)
    const { tensors } = await readEverything(path)
    expect([...tensors]).toEqual([['__proto__', { dtype: 'u8', shape: [2], data: new Uint8Array(2) }]])
  })
})

describe('damage', () => {
  const tensors = [
    { name: 'first', ...patternTensor('f32', [3]) },
    { name: 'second', ...patternTensor('u8', [5]) },
  ]

  test('truncation at every byte is found on opening', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, tensors)
    for (let length = (await readFile(path)).length - 1; length >= 0; length--) {
      await truncate(path, length)
      await expect(SafetensorsFile.open(path)).rejects.toBeInstanceOf(FileFormatError)
    }
  })

  test('with checksums, a flip of any bit of the data is found and named', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, tensors, { checksum: true })
    const whole = await readFile(path)
    const dataStart = 8 + Number(whole.readBigUInt64LE())
    for (let bit = 8 * dataStart; bit < 8 * whole.length; bit++) {
      const flipped = Buffer.from(whole)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      await writeFile(path, flipped)
      const name = (bit >> 3) - dataStart < 12 ? 'first' : 'second'
      await expect(readEverything(path)).rejects.toThrow(`${path}: tensor "${name}" does not match its checksum`)
    }
  })

  test('a flipped bit in any byte of the header gives a clear error or changes no tensor', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, tensors, { checksum: true })
    const whole = await readFile(path)
    const expected = Buffer.concat(tensors.map(({ data }) => data))
    let refused = 0
    for (let byte = 0; byte < 8 + Number(whole.readBigUInt64LE()); byte++) {
      const flipped = Buffer.from(whole)
      flipped[byte]! ^= 1 << (byte % 8)
      await writeFile(path, flipped)
      const result = await readEverything(path).catch((error: unknown) => error)
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(FileFormatError)
        refused++
      } else {
        const read = result as Awaited<ReturnType<typeof readEverything>>
        expect(Buffer.concat([...read.tensors.values()].map(({ data }) => data)).equals(expected)).toBe(true)
      }
    }
    expect(refused).toBeGreaterThan(100)
  })

  test('a tensor that is not there: the error lists what is', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, tensors)
    await using file = await SafetensorsFile.open(path)
    await expect(file.read('third')).rejects.toThrow(/no tensor "third"; there is "first", "second"/)
  })

  test.each([
    [
      'nothing there',
      'missing.safetensors',
      /Cannot read .*missing\.safetensors: there is no such file or folder; check the path \(ENOENT\)/,
    ],
    ['a folder', '.', /it is a folder, and a file is wanted \(EISDIR\)/],
  ])('%s', async (_, name, message) => {
    await expect(SafetensorsFile.open(join(temporaryFolder(), name))).rejects.toThrow(message)
  })

  test('a closed file says so', async () => {
    const path = join(temporaryFolder(), 'a.safetensors')
    await writeSafetensors(path, tensors)
    const file = await SafetensorsFile.open(path)
    await file.close()
    await expect(file.read('first')).rejects.toThrow(/is closed/)
  })
})

describe('entries that cannot be written', () => {
  const x = { name: 'x', ...patternTensor('f32', [2]) }
  test.each([
    ['two of one name', [x, x], {}, /Two tensors have the name "x"/],
    ['the name of the metadata', [{ ...x, name: '__metadata__' }], {}, /cannot be the name/],
    ['bytes unlike the shape', [{ ...x, shape: [3] }], {}, /Tensor "x" holds 8 bytes.*takes 12/],
    ['fetched bytes unlike the shape', [{ ...x, data: async () => new Uint8Array(7) }], {}, /Tensor "x" holds 7 bytes/],
    ['a negative size', [{ ...x, shape: [-1, -2] }], {}, /shape \[-1,-2\]/],
    ['metadata in the way of the checksums', [x], { checksum: true, metadata: { crc32: 'a' } }, /cannot hold "crc32"/],
    ['a fetch that fails', [{ ...x, data: () => Promise.reject(new Error('device lost')) }], {}, /device lost/],
  ])('%s: refused, and nothing is left behind', async (_, entries, options, message) => {
    const folder = temporaryFolder()
    await expect(writeSafetensors(join(folder, 'a.safetensors'), entries, options)).rejects.toThrow(message)
    expect(await readdir(folder)).toEqual([])
  })
})

test('a file of 10 GB opens in milliseconds', async () => {
  const path = join(temporaryFolder(), 'big.safetensors')
  const tensorBytes = 2 ** 25
  const header = Object.fromEntries(
    Array.from({ length: 300 }, (_, i) => [`t${i}`, f32([tensorBytes / 4], i * tensorBytes, (i + 1) * tensorBytes)]),
  )
  await writeRaw(path, header, 0)
  await truncate(path, (await readFile(path)).length + 300 * tensorBytes)
  const times: number[] = []
  for (let i = 0; i < 5; i++) {
    const begin = performance.now()
    const file = await SafetensorsFile.open(path)
    times.push(performance.now() - begin)
    expect(file.tensors.size).toBe(300)
    await file.close()
  }
  expect(Math.min(...times)).toBeLessThan(50)
})

describe.skipIf(!haveGolden)(`golden vectors${goldenSuffix}`, () => {
  test('every file opens, agrees with the manifest, and survives being written again', async () => {
    const manifest = JSON.parse(await readFile(join(goldenFolder, 'manifest.json'), 'utf8')) as {
      cases: { files: Record<string, { tensors?: Record<string, { dtype: string; shape: number[] }> }> }[]
    }
    const copy = join(temporaryFolder(), 'copy.safetensors')
    const files = manifest.cases
      .flatMap((c) => Object.entries(c.files))
      .filter(([name]) => name.endsWith('.safetensors'))
    expect(files.length).toBeGreaterThan(50)
    for (const [name, { tensors = {} }] of files) {
      await using file = await SafetensorsFile.open(join(goldenFolder, name))
      const described = [...file.tensors].map(([key, { dtype, shape }]) => [key, dtype.toUpperCase(), shape])
      const promised = Object.entries(tensors).map(([key, { dtype, shape }]) => [key, dtype, shape])
      expect(described.sort()).toEqual(promised.sort())
      const all = await file.readAll()
      await writeSafetensors(
        copy,
        [...all].map(([key, tensor]) => ({ name: key, ...tensor })),
        { metadata: file.metadata },
      )
      const again = await readEverything(copy)
      expect([...again.tensors.keys()]).toEqual([...all.keys()])
      for (const [key, tensor] of all) expectSameTensor(again.tensors.get(key)!, tensor, `${name}: ${key}`)
      const { metadata } = file
      expect(again.metadata).toEqual(Object.keys(metadata).length > 0 ? { format: 'pt', ...metadata } : {})
    }
  })
})
