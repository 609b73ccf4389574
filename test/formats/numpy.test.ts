import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { encodeNpy, npyHeader, parseNpy, readNpy } from '../../src/formats/npy.ts'
import { NpzFile, NpzWriter } from '../../src/formats/npz.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { ZipWriter } from '../../src/formats/zip-writer.ts'
import { type HostTensor, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { ALL_DTYPES, expectSameTensor, patternTensor, SHAPES } from './tensors.ts'
import { writeNpy } from './write-npy.ts'

const NUMPY_DTYPES = ALL_DTYPES.filter((dtype) => dtype !== 'bf16')

/** A file with this header, whatever it says. */
function rawNpy(dictionary: string, data: Uint8Array = new Uint8Array(0), version = 1): Buffer {
  const text = Buffer.from(dictionary, version === 3 ? 'utf8' : 'latin1')
  const length = Buffer.alloc(version === 1 ? 2 : 4)
  if (version === 1) length.writeUInt16LE(text.length)
  else length.writeUInt32LE(text.length)
  return Buffer.concat([Buffer.from('\x93NUMPY', 'latin1'), Buffer.from([version, 0]), length, text, data])
}

const header = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`

describe('npy', () => {
  test.each(NUMPY_DTYPES)('%s: every shape is read as it was written', async (dtype) => {
    const path = join(temporaryFolder(), 'a.npy')
    for (const shape of SHAPES) {
      const tensor = patternTensor(dtype, shape)
      await writeNpy(path, tensor)
      expectSameTensor(await readNpy(path), tensor, `${dtype} [${shape}]`)
      expect(npyHeader(tensor).length % 64).toBe(0)
    }
  })

  const bigEndian16 = Buffer.from([0x3e, 0x00])
  test.each<[string, Buffer, Pick<HostTensor, 'dtype' | 'shape'>, number[]]>([
    ['version 1', rawNpy(header('|u1', '(2,)'), Buffer.from([1, 2])), { dtype: 'u8', shape: [2] }, [1, 2]],
    ['version 2', rawNpy(header('|u1', '(2,)'), Buffer.from([1, 2]), 2), { dtype: 'u8', shape: [2] }, [1, 2]],
    ['version 3', rawNpy(header('|u1', '(2,)'), Buffer.from([1, 2]), 3), { dtype: 'u8', shape: [2] }, [1, 2]],
    ['a scalar', rawNpy(header('<i4', '()'), Buffer.from([7, 0, 0, 0])), { dtype: 'i32', shape: [] }, [7]],
    ['big-endian halves', rawNpy(header('>f2', '(1,)'), bigEndian16), { dtype: 'f16', shape: [1] }, [1.5]],
    [
      'big-endian doubles',
      rawNpy(header('>f8', '(1,)'), Buffer.from('3ff8000000000000', 'hex')),
      { dtype: 'f64', shape: [1] },
      [1.5],
    ],
    [
      'unsigned 16-bit, widened',
      rawNpy(header('<u2', '(1,)'), Buffer.from([255, 255])),
      { dtype: 'i32', shape: [1] },
      [65535],
    ],
    [
      'unsigned 32-bit, widened',
      rawNpy(header('>u4', '(1,)'), Buffer.from([128, 0, 0, 0])),
      { dtype: 'i64', shape: [1] },
      [2 ** 31],
    ],
    [
      'Fortran order',
      rawNpy(header('|i1', '(2, 3)', 'True'), Buffer.from([1, 4, 2, 5, 3, 6])),
      { dtype: 'i8', shape: [2, 3] },
      [1, 2, 3, 4, 5, 6],
    ],
    [
      'Fortran order of three axes',
      rawNpy(header('|i1', '(2, 1, 2)', 'True'), Buffer.from([1, 3, 2, 4])),
      { dtype: 'i8', shape: [2, 1, 2] },
      [1, 2, 3, 4],
    ],
    ['Fortran order, empty', rawNpy(header('<f8', '(3, 0)', 'True')), { dtype: 'f64', shape: [3, 0] }, []],
    [
      'another order of keys, double quotes, no last comma',
      rawNpy(`{"shape": (1,), "fortran_order": False, "descr": "|b1"}`, Buffer.from([1])),
      { dtype: 'bool', shape: [1] },
      [1],
    ],
    [
      "Python 2's long integers",
      rawNpy(header('|u1', '(2L, 1L)'), Buffer.from([1, 2])),
      { dtype: 'u8', shape: [2, 1] },
      [1, 2],
    ],
  ])('%s', (_, bytes, { dtype, shape }, values) => {
    const tensor = parseNpy(bytes, 'a.npy')
    expect([tensor.dtype, tensor.shape, [...toFloat32(tensor)]]).toEqual([dtype, shape, values])
  })

  test.each<[string, Buffer, RegExp]>([
    ['an array of objects', rawNpy(header('|O', '(1,)')), /Python objects.*allow_pickle/],
    ['complex numbers', rawNpy(header('<c8', '(1,)')), /NumPy dtype "<c8"/],
    ['text', rawNpy(header('<U10', '(1,)')), /NumPy dtype "<U10"/],
    ['unsigned 64-bit', rawNpy(header('<u8', '(1,)')), /NumPy dtype "<u8"/],
    ['a dtype off the prototype', rawNpy(header('constructor', '(1,)')), /NumPy dtype "constructor"/],
    ['a structured array', rawNpy(`{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }`), /structured/],
    ['a negative size', rawNpy(header('<f4', '(-1,)')), /not a dictionary of descr/],
    ['a size past all numbers', rawNpy(header('<f4', '(99999999999999999999,)')), /shape.*cannot be/],
    ['sizes past all numbers', rawNpy(header('<f4', '(4294967296, 4294967296)')), /shape.*cannot be/],
    ['a number for a shape', rawNpy(header('<f4', '(3)')), /not a dictionary of descr/],
    ['a call for a shape', rawNpy(header('<f4', '__import__("os")')), /not a dictionary of descr/],
    [
      'a key twice',
      rawNpy(`{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }`),
      /not a dictionary of descr/,
    ],
    ['a key too few', rawNpy(`{'descr': '<f4', 'shape': (), }`), /not a dictionary of descr/],
    [
      'a key too many',
      rawNpy(`{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}`),
      /not a dictionary of descr/,
    ],
    ['no commas', rawNpy(`{'descr': '<f4' 'fortran_order': False 'shape': ()}`), /not a dictionary of descr/],
    ['an end that is no end', rawNpy(`${header('<f4', '()')}}`, Buffer.alloc(4)), /not a dictionary of descr/],
    ['another version', rawNpy(header('<f4', '()'), Buffer.alloc(4), 4), /npy version 4/],
    [
      'a header past all measure',
      Buffer.concat([rawNpy('', Buffer.alloc(0), 2).subarray(0, 8), Buffer.alloc(4, 255)]),
      /header of 4294967295 bytes/,
    ],
    ['no magic', Buffer.from('NUMPY and so on'), /does not begin with/],
    ['missing bytes', rawNpy(header('<f4', '(2,)'), Buffer.alloc(7)), /truncated: 1 bytes are missing/],
    ['bytes too many', rawNpy(header('<f4', '(2,)'), Buffer.alloc(9)), /has 1 bytes too many/],
  ])('%s is refused', (_, bytes, message) => {
    expect(() => parseNpy(bytes, 'a.npy')).toThrow(FileFormatError)
    expect(() => parseNpy(bytes, 'a.npy')).toThrow(message)
    expect(() => parseNpy(bytes, 'a.npy')).toThrow(/^a\.npy: /)
  })

  test('truncation at every byte is found', async () => {
    const path = join(temporaryFolder(), 'a.npy')
    await writeNpy(path, patternTensor('f32', [3]))
    const whole = await readFile(path)
    for (let length = 0; length < whole.length; length++) {
      expect(() => parseNpy(whole.subarray(0, length), 'a.npy')).toThrow(FileFormatError)
    }
  })

  test('what NumPy has not is not written', () => {
    expect(() => encodeNpy(patternTensor('bf16', [2]))).toThrow(/NumPy has no bf16/)
    const short = { ...patternTensor('f32', [2]), shape: [3] }
    expect(() => encodeNpy(short)).toThrow(/takes 12 bytes, but holds 8/)
  })
})

/** An archive as np.savez_compressed writes it: the entries deflated. */
async function writeDeflated(path: string, name: string, npy: Uint8Array) {
  const zip = await ZipWriter.create(path)
  const packed = deflateRawSync(npy)
  await zip.add(name, packed)
  await zip.close()
  // The writer stores; turn its one entry into a deflated one of the same bytes.
  const bytes = await readFile(path)
  const { crc32 } = await import('node:zlib')
  const central = bytes.indexOf(Buffer.from('PK\x01\x02'))
  for (const [method, sum, size] of [
    [8, 14, 22],
    [central + 10, central + 16, central + 24],
  ] as const) {
    bytes.writeUInt16LE(8, method)
    bytes.writeUInt32LE(crc32(npy), sum)
    bytes.writeUInt32LE(npy.length, size)
  }
  await writeFile(path, bytes)
}

describe('npz', () => {
  test('arrays by name, whole or in rows', async () => {
    const path = join(temporaryFolder(), 'a.npz')
    const arrays = NUMPY_DTYPES.map((dtype): [string, HostTensor] => [dtype, patternTensor(dtype, [7, 2, 3])])
    const writer = await NpzWriter.create(path)
    for (const [name, tensor] of arrays) await writer.add(name, tensor)
    await writer.close()
    await using file = await NpzFile.open(path)
    expect(file.names).toEqual(NUMPY_DTYPES)
    for (const [name, tensor] of arrays) {
      expect(await file.describe(name)).toEqual({ dtype: tensor.dtype, shape: tensor.shape })
      expectSameTensor(await file.read(name), tensor, name)
      for (const rows of [1, 3, 7, 100]) {
        const batches: HostTensor[] = []
        for await (const batch of file.batches(name, rows)) batches.push(batch)
        expect(batches.map(({ shape }) => shape[0])).toEqual(
          Array.from({ length: Math.ceil(7 / rows) }, (_, i) => Math.min(rows, 7 - i * rows)),
        )
        expect(Buffer.concat(batches.map(({ data }) => data)).equals(tensor.data)).toBe(true)
      }
    }
    await expect(file.read('arr_0')).rejects.toThrow(/no array "arr_0"; there is f64, f32/)
  })

  test('an array larger than what is read at once, stored and deflated, in batches', async () => {
    const folder = temporaryFolder()
    const images = patternTensor('u8', [40, 256, 256, 3])
    const npy = Buffer.concat([npyHeader(images), images.data])
    const writer = await NpzWriter.create(join(folder, 'stored.npz'))
    await writer.add('arr_0', images)
    await writer.close()
    await writeDeflated(join(folder, 'deflated.npz'), 'arr_0.npy', npy)
    for (const name of ['stored.npz', 'deflated.npz']) {
      await using file = await NpzFile.open(join(folder, name))
      expect(await file.describe('arr_0')).toEqual({ dtype: 'u8', shape: [40, 256, 256, 3] })
      let row = 0
      for await (const batch of file.batches('arr_0', 16)) {
        const expected = images.data.subarray(row * 256 * 256 * 3, (row + batch.shape[0]!) * 256 * 256 * 3)
        expect(Buffer.from(batch.data).equals(expected)).toBe(true)
        row += batch.shape[0]!
      }
      expect(row).toBe(40)
      expectSameTensor(await file.read('arr_0'), images, name)
    }
  })

  test('an array of samples, image by image', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'samples.npz')
    const images = patternTensor('u8', [10, 4, 4, 3])
    const writer = await NpzWriter.create(path)
    const array = await writer.open('arr_0', 'u8', images.shape)
    for (let i = 0; i < images.data.length; i += 50) await array.append(images.data.subarray(i, i + 50))
    await array.close()
    expect(await readdir(folder)).not.toContain('samples.npz')
    await writer.close()
    await using file = await NpzFile.open(path)
    expectSameTensor(await file.read('arr_0'), images, 'arr_0')
  })

  test('too many or too few samples', async () => {
    const folder = temporaryFolder()
    const writer = await NpzWriter.create(join(folder, 'samples.npz'))
    const array = await writer.open('arr_0', 'u8', [2, 3])
    await array.append(new Uint8Array(4))
    await expect(array.append(new Uint8Array(3))).rejects.toThrow(/do not fit/)
    await expect(array.close()).rejects.toThrow(/announced with 134 bytes, but got 132/)
    await expect(writer.close()).rejects.toThrow(/still open/)
    await writer.abort()
    expect(await readdir(folder)).toEqual([])
  })

  test.each<[string, Buffer, RegExp]>([
    ['a scalar', rawNpy(header('|u1', '()'), Buffer.alloc(1)), /is a scalar and cannot be read by rows/],
    ['Fortran order', rawNpy(header('|u1', '(1, 2)', 'True'), Buffer.alloc(2)), /in Fortran order/],
    ['missing bytes', rawNpy(header('|u1', '(3,)'), Buffer.alloc(2)), /holds 2 bytes, but its shape takes 3/],
    ['an array of objects', rawNpy(header('|O', '(1,)')), /array "x" is an array of Python objects/],
  ])('no rows of %s', async (_, npy, message) => {
    const path = join(temporaryFolder(), 'a.npz')
    const zip = await ZipWriter.create(path)
    await zip.add('x.npy', npy)
    await zip.close()
    await using file = await NpzFile.open(path)
    await expect(file.batches('x', 1).next()).rejects.toThrow(message)
  })
})

describe.skipIf(!haveGolden)(`files of NumPy${goldenSuffix}`, () => {
  test.each([
    ['samples-adm.npz', { arr_0: 'samples.arr_0' }],
    ['fid-stats.npz', { mu: 'fid.mu', sigma: 'fid.sigma' }],
    ['stats-compressed.npz', { mu: 'fid.mu' }],
  ])('%s', async (name, arrays) => {
    await using file = await NpzFile.open(join(goldenFolder, 'pt', name))
    await using expected = await SafetensorsFile.open(join(goldenFolder, 'pt', 'npz.expected.safetensors'))
    expect(file.names).toEqual(Object.keys(arrays))
    for (const [array, key] of Object.entries(arrays)) {
      expectSameTensor(await file.read(array), await expected.read(key), key)
    }
  })

  test('fortran-order.npy', async () => {
    await using expected = await SafetensorsFile.open(join(goldenFolder, 'pt', 'npz.expected.safetensors'))
    const tensor = await readNpy(join(goldenFolder, 'pt', 'fortran-order.npy'))
    expectSameTensor(tensor, await expected.read('fortran'), 'fortran')
  })

  test('the latents of the data set', async () => {
    await using expected = await SafetensorsFile.open(join(goldenFolder, 'repa-dataset', 'expected.safetensors'))
    for (let i = 0; i < 6; i++) {
      const name = join(goldenFolder, 'repa-dataset', 'vae-sd', '00000', `img-mean-std-0000000${i}.npy`)
      const tensor = await readNpy(name)
      expectSameTensor(tensor, await expected.read(`${i}.features`), name)
      // Written by numpy.save.
      expect(Buffer.from(encodeNpy(tensor)).equals(await readFile(name))).toBe(true)
    }
  })
})
