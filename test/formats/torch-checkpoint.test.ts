import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { InertObject } from '../../src/formats/pickle-values.ts'
import { PickleWriter } from '../../src/formats/pickle-writer.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { TorchCheckpoint, type TorchValue } from '../../src/formats/torch-checkpoint.ts'
import { type WritableTorchValue, writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { TorchTensor } from '../../src/formats/torch-tensor.ts'
import { ZipWriter } from '../../src/formats/zip-writer.ts'
import { DTYPE_BYTES } from '../../src/tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { sparseFileSystem } from './failing-file-system.ts'
import { rawZip } from './raw-zip.ts'
import { ALL_DTYPES, expectSameTensor, patternTensor, SHAPES } from './tensors.ts'

/** The tensors of a value by their keys, joined by dots. */
function tensorsOf(value: TorchValue, prefix = ''): Map<string, TorchTensor> {
  if (value instanceof TorchTensor) return new Map([[prefix, value]])
  if (!(value instanceof Map)) return new Map()
  return new Map(
    [...value].flatMap(([key, item]) => [...tensorsOf(item, prefix === '' ? String(key) : `${prefix}.${key}`)]),
  )
}

/** As JSON would hold it: Maps as objects. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]))
  return Array.isArray(value) ? value.map(plain) : value
}

/** An archive around a pickle made by hand. */
async function writeArchive(path: string, pickle: Uint8Array, entries: Record<string, Uint8Array | string> = {}) {
  const zip = await ZipWriter.create(path)
  await zip.add('archive/data.pkl', pickle)
  for (const [name, data] of Object.entries(entries)) await zip.add(`archive/${name}`, Buffer.from(data))
  await zip.close()
}

interface ViewFields {
  rebuild?: string
  storageModule?: string
  storageClass?: string
  key?: string
  count?: number
  offset?: number
  size?: readonly number[]
  stride?: readonly number[]
  dtype?: string
}

/** The pickle of a list of tensors, each a view as given. */
function viewsPickle(...views: readonly ViewFields[]): Uint8Array {
  const writer = new PickleWriter()
  writer.list('views', () => {
    for (const view of views) {
      const { rebuild = '_rebuild_tensor_v2', storageModule = 'torch', storageClass = 'FloatStorage' } = view
      const { key = '0', count = 6, offset = 0, size = [6], stride = [1], dtype } = view
      writer.global({ module: 'torch._utils', name: rebuild })
      writer.tuple(() => {
        writer.tuple(() => {
          writer.text('storage')
          writer.global({ module: storageModule, name: storageClass })
          writer.text(key)
          writer.text('cpu')
          writer.integer(count)
        })
        writer.persistentId()
        writer.integer(offset)
        for (const numbers of [size, stride]) {
          writer.tuple(() => {
            for (const n of numbers) writer.integer(n)
          })
        }
        writer.boolean(false)
        writer.none()
        if (dtype !== undefined) writer.global({ module: 'torch', name: dtype })
      })
      writer.reduce()
    }
  })
  return writer.finish()
}

const sixFloats = new Uint8Array(new Float32Array([0, 1, 2, 3, 4, 5]).buffer)

async function readViews(path: string): Promise<HostTensor[]> {
  await using checkpoint = await TorchCheckpoint.open(path)
  const tensors: HostTensor[] = []
  for (const tensor of checkpoint.value as TorchTensor[]) tensors.push(await checkpoint.read(tensor))
  return tensors
}

describe.skipIf(!haveGolden)(`files of torch 1.13${goldenSuffix}`, () => {
  const golden = (name: string) => join(goldenFolder, 'pt', name)

  test.each([
    ['repa-ckpt.pt', 'repa-ckpt.expected.safetensors', '', 187],
    ['state-dict.pt', 'state-dict.expected.safetensors', '', 16],
    ['state-dict-legacy.pt', 'state-dict.expected.safetensors', '', 16],
    ['state-dict-fp16.pt', 'state-dict.expected.safetensors', 'fp16.', 16],
    ['state-dict-bf16.pt', 'state-dict.expected.safetensors', 'bf16.', 16],
    ['views.pt', 'views.expected.safetensors', '', 13],
  ])('%s: every tensor, bit for bit', async (name, expectedName, prefix, count) => {
    await using checkpoint = await TorchCheckpoint.open(golden(name))
    await using expected = await SafetensorsFile.open(golden(expectedName))
    const tensors = tensorsOf(checkpoint.value)
    expect(tensors.size).toBe(count)
    for (const [key, tensor] of tensors) {
      const actual = await checkpoint.read(tensor)
      expect(actual.dtype).toBe(name.includes('fp16') ? 'f16' : name.includes('bf16') ? 'bf16' : tensor.dtype)
      // The expected values of 16-bit files are stored in float32, which holds them exactly.
      const widened = prefix === '' ? actual : hostFloat32(toFloat32(actual), actual.shape)
      expectSameTensor(widened, await expected.read(prefix + key), key)
    }
  })

  test('repa-ckpt.pt: settings, step, optimizer', async () => {
    await using checkpoint = await TorchCheckpoint.open(golden('repa-ckpt.pt'))
    const expected = JSON.parse(await readFile(golden('repa-ckpt.expected.json'), 'utf8'))
    const value = checkpoint.value as Map<string, Map<string, TorchValue>>
    expect(plain(value.get('args'))).toEqual(expected.args)
    expect(value.get('steps')).toBe(expected.steps)
    expect(plain(value.get('opt')?.get('param_groups'))).toEqual(expected.param_groups)
    expect([...checkpoint.stateDict(['ema']).keys()]).toEqual(expected.param_order)
    expect([...(value.get('opt')!.get('state') as Map<number, unknown>).keys()]).toEqual(
      Array.from({ length: 37 }, (_, i) => i + 1),
    )
  })

  test('views.pt: values that are not tensors', async () => {
    await using checkpoint = await TorchCheckpoint.open(golden('views.pt'))
    const expected = JSON.parse(await readFile(golden('views.expected.json'), 'utf8'))
    expect(plain((checkpoint.value as Map<string, TorchValue>).get('meta'))).toEqual(expected.meta)
  })

  test.each([
    ['unsafe-global.pt', /data\.pkl names "__builtin__\.print".*nothing of it was run/],
    ['corrupt.pt', /no end record: the file is truncated/],
  ])('%s is refused', async (name, message) => {
    const error = await TorchCheckpoint.open(golden(name)).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(FileFormatError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toContain(golden(name))
  })

  test('state-dict-legacy.pt: truncation anywhere is found on opening', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    const whole = await readFile(golden('state-dict-legacy.pt'))
    // Each byte of the pickles, then some of the storages.
    for (let length = 0; length < whole.length; length += length < 2100 ? 7 : 511) {
      await writeFile(path, whole.subarray(0, length))
      await expect(TorchCheckpoint.open(path)).rejects.toBeInstanceOf(FileFormatError)
    }
  })

  test('a checkpoint written again is the same', async () => {
    const path = join(temporaryFolder(), 'again.pt')
    await using original = await TorchCheckpoint.open(golden('repa-ckpt.pt'))
    const writable = (value: unknown): WritableTorchValue => {
      if (value instanceof TorchTensor) {
        return { dtype: value.dtype, shape: value.shape, data: async () => (await original.read(value)).data }
      }
      if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, writable(item)]))
      return (Array.isArray(value) ? value.map(writable) : value) as WritableTorchValue
    }
    await writeTorchCheckpoint(path, writable(original.value))
    await using again = await TorchCheckpoint.open(path)
    const tensors = tensorsOf(again.value)
    for (const [key, tensor] of tensorsOf(original.value)) {
      expectSameTensor(await again.read(tensors.get(key)!), await original.read(tensor), key)
    }
    const parts = (checkpoint: TorchCheckpoint) => {
      const value = checkpoint.value as Map<string, Map<string, TorchValue>>
      return plain([value.get('args'), value.get('steps'), value.get('opt')?.get('param_groups')])
    }
    expect(parts(again)).toEqual(parts(original))
  })
})

describe('writing and reading', () => {
  test('every dtype and shape, given or fetched', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    const tensors = ALL_DTYPES.flatMap((dtype) =>
      SHAPES.map((shape): [string, HostTensor] => [`${dtype} [${shape}]`, patternTensor(dtype, shape)]),
    )
    const lazy = tensors.map(([name, tensor]): [string, WritableTorchValue] => {
      return [`lazy ${name}`, { ...tensor, data: async () => tensor.data }]
    })
    await writeTorchCheckpoint(path, new Map<string, WritableTorchValue>([...tensors, ...lazy]), { fsync: true })
    await using checkpoint = await TorchCheckpoint.open(path)
    const read = checkpoint.stateDict()
    for (const [name, tensor] of tensors) {
      expectSameTensor(await checkpoint.read(read.get(name)!), tensor, name)
      expectSameTensor(await checkpoint.read(read.get(`lazy ${name}`)!), tensor, `lazy ${name}`)
    }
  })

  test('values of every kind', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    const value = new Map<string | number, WritableTorchValue>([
      ['none', null],
      ['flags', [true, false]],
      ['integers', [0, -1, 255, 65536, -(2 ** 31), 2 ** 53 - 1, -(2n ** 70n)]],
      ['floats', [0.5, -0, Number.POSITIVE_INFINITY, 1e300, Number.NaN]],
      ['text', 'größe \u{1f600} '.repeat(50)],
      ['nested', [[], [[1]], new Map(), new Map([[1, 'one']])]],
      ['__proto__', 'a key'],
      [7, 'an integer key'],
    ])
    await writeTorchCheckpoint(path, value)
    await using checkpoint = await TorchCheckpoint.open(path)
    expect(checkpoint.value).toEqual(value)
  })

  test('a plain object is a dictionary; one object in two places is stored once', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    const weight = patternTensor('f32', [2, 3])
    const settings = { lr: 0.1 }
    await writeTorchCheckpoint(path, { model: { weight }, ema: { weight }, a: settings, b: [settings] })
    await using checkpoint = await TorchCheckpoint.open(path)
    const model = checkpoint.stateDict(['model']).get('weight')!
    expect(checkpoint.stateDict(['ema']).get('weight')).toBe(model)
    expectSameTensor(await checkpoint.read(model), weight, 'weight')
    expect(plain((checkpoint.value as Map<string, unknown>).get('b'))).toEqual([{ lr: 0.1 }])
  })

  const cyclic: WritableTorchValue[] = []
  cyclic.push(cyclic)
  test.each<[string, unknown, RegExp]>([
    ['a function', { f: () => 1 }, /checkpoint\["f"\] is a function/],
    ['undefined', { a: [undefined] }, /checkpoint\["a"\]\[0\] is a undefined/],
    ['a class of its own', { a: new Date(0) }, /checkpoint\["a"\] is a Date/],
    ['a value that contains itself', { a: cyclic }, /contains itself/],
    ['a tensor unlike its shape', { a: { ...patternTensor('f32', [2]), shape: [3] } }, /\["a"\] holds 8 bytes/],
    [
      'a fetched tensor unlike its shape',
      { a: { dtype: 'f32', shape: [2], data: async () => sixFloats } },
      /holds 24 bytes/,
    ],
    ['a key that is no text', new Map([[null, 1]]), /has a key that is neither/],
  ])('%s: refused, and nothing is left behind', async (_, value, message) => {
    const folder = temporaryFolder()
    await expect(writeTorchCheckpoint(join(folder, 'a.pt'), value as WritableTorchValue)).rejects.toThrow(message)
    expect(await readdir(folder)).toEqual([])
  })
})

describe('views of a storage', () => {
  test.each<[string, ViewFields, number[]]>([
    ['the whole', {}, [0, 1, 2, 3, 4, 5]],
    ['an offset', { offset: 2, size: [3] }, [2, 3, 4]],
    ['a transpose', { size: [3, 2], stride: [1, 3] }, [0, 3, 1, 4, 2, 5]],
    ['every second', { size: [3], stride: [2] }, [0, 2, 4]],
    ['a column', { offset: 1, size: [2], stride: [3] }, [1, 4]],
    ['rows of a narrower view', { size: [2, 2], stride: [3, 1] }, [0, 1, 3, 4]],
    ['expanded', { size: [2, 3], stride: [0, 1] }, [0, 1, 2, 0, 1, 2]],
    ['a scalar', { offset: 5, size: [], stride: [] }, [5]],
    ['empty, past the end', { offset: 99, size: [0], stride: [1] }, []],
    ['axes of size 1 with odd strides', { size: [1, 6, 1], stride: [77, 1, 99] }, [0, 1, 2, 3, 4, 5]],
    ['the oldest rebuild', { rebuild: '_rebuild_tensor' }, [0, 1, 2, 3, 4, 5]],
    ['saved on a GPU', { storageModule: 'torch.cuda' }, [0, 1, 2, 3, 4, 5]],
    [
      'untyped, with its dtype',
      {
        rebuild: '_rebuild_tensor_v3',
        storageModule: 'torch.storage',
        storageClass: 'UntypedStorage',
        count: 24,
        dtype: 'float32',
      },
      [0, 1, 2, 3, 4, 5],
    ],
  ])('%s: alone and shared, little- and big-endian', async (_, view, expected) => {
    const folder = temporaryFolder()
    const swapped = Buffer.from(sixFloats).swap32()
    const files: { name: string; views: ViewFields[]; entries: Record<string, Uint8Array | string> }[] = [
      { name: 'alone.pt', views: [view], entries: { 'data/0': sixFloats } },
      { name: 'shared.pt', views: [view, view, { ...view }], entries: { 'data/0': sixFloats } },
      { name: 'big.pt', views: [view, view], entries: { 'data/0': swapped, byteorder: 'big' } },
      { name: 'little.pt', views: [view], entries: { 'data/0': sixFloats, byteorder: 'little' } },
    ]
    for (const { name, views, entries } of files) {
      await writeArchive(join(folder, name), viewsPickle(...views), entries)
      const tensors = await readViews(join(folder, name))
      expect(tensors.map((tensor) => [...toFloat32(tensor)])).toEqual(views.map(() => expected))
      expect(tensors[0]!.shape).toEqual(view.size ?? [6])
    }
  })

  test('a tensor of another checkpoint is refused', async () => {
    const folder = temporaryFolder()
    await writeArchive(join(folder, 'a.pt'), viewsPickle({ key: 'x' }), { 'data/x': sixFloats })
    await writeArchive(join(folder, 'b.pt'), viewsPickle({}), { 'data/0': sixFloats })
    await using a = await TorchCheckpoint.open(join(folder, 'a.pt'))
    await using b = await TorchCheckpoint.open(join(folder, 'b.pt'))
    await expect(b.read((a.value as TorchTensor[])[0]!)).rejects.toThrow(/belongs to another/)
  })
})

describe('hostile and damaged', () => {
  const data = { 'data/0': sixFloats }
  /** Lists of the list before them twice: written out, memo 64 takes 2^64 times what the first does. */
  const doubled = `(lp0\n${Array.from({ length: 64 }, (_, i) => `0(g${i}\ng${i}\nlp${i + 1}\n`).join('')}0`
  const sizedBy = (size: string) =>
    `ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\ntQI0\n(${size}\nt(I1\nttR.`
  test.each<[string, Uint8Array, Record<string, Uint8Array | string>, RegExp]>([
    ['os.system', Buffer.from("cos\nsystem\n(S'true'\ntR."), {}, /names "os\.system".*nothing of it was run/],
    ['a module of its own', Buffer.from('cmy.model\nNet\n)\x81.', 'latin1'), {}, /names "my\.model\.Net".*state_dict/],
    ['a view past its storage', viewsPickle({ offset: 1 }), data, /ends at byte 28 of its storage, which has 24/],
    ['a stride past its storage', viewsPickle({ size: [2], stride: [6] }), data, /ends at byte 28/],
    ['a stride past all numbers', viewsPickle({ size: [2 ** 40], stride: [2 ** 40] }), data, /of its storage/],
    ['a negative offset', viewsPickle({ offset: -1 }), data, /stride or offset of a tensor is -1/],
    ['a negative stride', viewsPickle({ stride: [-1] }), data, /stride or offset of a tensor is -1/],
    ['a size of another rank', viewsPickle({ size: [2, 3] }), data, /of another rank/],
    ['too many axes', viewsPickle({ size: Array(65).fill(1), stride: Array(65).fill(1) }), data, /65 axes/],
    ['a storage that is missing', viewsPickle({ key: '9' }), data, /storage "9" is missing/],
    ['a storage that is too short', viewsPickle({ count: 7 }), data, /storage "0" has 24 bytes instead of 28/],
    [
      'a storage that is too long',
      viewsPickle({ count: 5, size: [5] }),
      data,
      /storage "0" has 24 bytes instead of 20/,
    ],
    [
      'a storage outside of its folder',
      viewsPickle({ key: '../data.pkl' }),
      data,
      /storage "\.\.\/data\.pkl" is missing/,
    ],
    [
      'a storage class that is unknown',
      viewsPickle({ storageClass: 'ComplexFloatStorage' }),
      data,
      /ComplexFloatStorage/,
    ],
    [
      'a dtype that is unsupported',
      viewsPickle({ rebuild: '_rebuild_tensor_v3', dtype: 'complex64' }),
      data,
      /torch\.complex64, which is not supported/,
    ],
    ['a device of 2^64 lists', Buffer.from(`${doubled}ctorch\ndevice\n(g64\ntR.`), {}, /device's name is a list/],
    ['a size of 2^64 lists', Buffer.from(`${doubled}${sizedBy('g64')}`), data, /of a tensor is a list/],
    ['a byte order that is unknown', viewsPickle({}), { ...data, byteorder: 'middle' }, /byteorder is "middle"/],
    ['a pickle that is cut', viewsPickle({}).slice(0, -9), data, /data\.pkl ends in the middle/],
  ])('%s', async (_, pickle, entries, message) => {
    const path = join(temporaryFolder(), 'bad.pt')
    await writeArchive(path, pickle, entries)
    const error = await TorchCheckpoint.open(path).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(FileFormatError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toContain(path)
  })

  test('an expanded view that no memory holds is refused when it is read', async () => {
    const path = join(temporaryFolder(), 'bad.pt')
    await writeArchive(path, viewsPickle({ size: [2 ** 45], stride: [0] }), data)
    await expect(readViews(path)).rejects.toThrow(/expands 24 bytes to 140737488355328/)
  })

  test.each<[string, Uint8Array | string, RegExp]>([
    ['nothing', '', /it is empty/],
    ['a web page', '<!DOCTYPE html><html>', /a web page/],
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\n', /git lfs pull/],
    ['a safetensors file', '\x10\0\0\0\0\0\0\0{"__metadata__"', /safetensors/],
    ['a bare pickle', Buffer.from([0x80, 2, 0x4e, 0x2e]), /a bare pickle/],
    ['anything else', 'hello', /neither its zip format nor/],
    ['an archive of something else', Buffer.from('PK\x05\x06'.padEnd(22, '\0')), /no data\.pkl/],
    ['a legacy file of 2^20 lists', `L${0x1950a86a20f9469cfc6cn}L\n.${doubled}g20\n.`, /legacy protocol is a list/],
  ])('%s is not a checkpoint, and the error says what it is', async (_, bytes, message) => {
    const path = join(temporaryFolder(), 'bad.pt')
    await writeFile(path, bytes)
    await expect(TorchCheckpoint.open(path)).rejects.toThrow(message)
    await expect(TorchCheckpoint.open(path)).rejects.toBeInstanceOf(FileFormatError)
  })

  test('truncation at any byte, and a flipped bit in any byte, give a clear error or the same tensors', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    await writeTorchCheckpoint(path, [hostFloat32(new Float32Array([1, 2, 3]), [3]), patternTensor('i64', [2])])
    const whole = await readFile(path)
    const expected = Buffer.concat((await readViews(path)).map(({ data }) => data))
    let refused = 0
    for (let byte = 0; byte < whole.length; byte++) {
      const flipped = Buffer.from(whole)
      flipped[byte]! ^= 1 << (byte % 8)
      await writeFile(path, flipped)
      const result = await readViews(path).catch((error: unknown) => error)
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(FileFormatError)
        refused++
      } else {
        expect(Buffer.concat((result as HostTensor[]).map(({ data }) => data)).equals(expected)).toBe(true)
      }
    }
    expect(refused).toBeGreaterThan(whole.length / 4)
    await writeFile(path, whole)
    for (let length = whole.length - 1; length >= 0; length--) {
      await truncate(path, length)
      await expect(TorchCheckpoint.open(path)).rejects.toBeInstanceOf(FileFormatError)
    }
  })
})

describe('an archive whose checksums are 0, as of torch.serialization.set_crc32_options(False)', () => {
  const archive = (sums: readonly [pickle: number | undefined, storage: number]) =>
    rawZip([
      { name: 'archive/data.pkl', data: viewsPickle({}), ...(sums[0] !== undefined && { sum: sums[0] }) },
      { name: 'archive/data/0', data: sixFloats, sum: sums[1] },
    ])

  test('is one without checksums', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    await writeFile(path, archive([0, 0]))
    const [tensor] = await readViews(path)
    expect([...toFloat32(tensor!)]).toEqual([0, 1, 2, 3, 4, 5])
  })

  test('is damaged where another entry has one', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    await writeFile(path, archive([undefined, 0]))
    await expect(readViews(path)).rejects.toThrow(/"archive\/data\/0" does not match its CRC-32/)
  })
})

test('a class on inertGlobals is kept as plain data', async () => {
  const path = join(temporaryFolder(), 'a.pt')
  const pickle = Buffer.from('cmy.config\nConfig\n(K\x01tR}Vdepth\nK\x0csb.', 'latin1')
  await writeArchive(path, pickle)
  await using checkpoint = await TorchCheckpoint.open(path, { inertGlobals: ['my.config.Config'] })
  const object = checkpoint.value as InertObject
  expect(object).toBeInstanceOf(InertObject)
  expect([object.className, object.args, object.state]).toEqual(['my.config.Config', [1], new Map([['depth', 12]])])
})

describe('state dicts', () => {
  const tensor = patternTensor('f32', [2])
  const value = { model: { a: tensor }, ema: { 'module.a': tensor }, opt: { state: {} }, steps: 3 }
  test.each<[string, readonly string[], RegExp]>([
    ['the top level', [], /top level is no state dict.*there is model \(state dict of 1 tensors\), .*steps \(3\)/],
    ['a key that is not there', ['eam'], /the top level has no "eam"; there is model .*ema/],
    ['a key below', ['model', 'a', 'b'], /\["model"\]\["a"\] has no "b"; it is tensor f32 \[2\]/],
    ['a dictionary of something else', ['opt'], /\["opt"\] is no state dict.*there is state \(dictionary of 0\)/],
    ['a number', ['steps'], /\["steps"\] is no state dict.*it is 3/],
  ])('%s: the error lists what is there', async (_, path, message) => {
    const file = join(temporaryFolder(), 'a.pt')
    await writeTorchCheckpoint(file, value)
    await using checkpoint = await TorchCheckpoint.open(file)
    expect([...checkpoint.stateDict(['ema']).keys()]).toEqual(['module.a'])
    expect(() => checkpoint.stateDict(path)).toThrow(message)
  })

  test('the parameters of a TorchScript module, by their dotted names', async () => {
    const path = join(temporaryFolder(), 'a.pt')
    const module = (name: string, ...attributes: Uint8Array[]) =>
      Buffer.concat([Buffer.from(`c__torch__.net\n${name}\n)\x81}(`, 'latin1'), ...attributes, Buffer.from('ub')])
    const attribute = (name: string, item: Uint8Array) => Buffer.concat([Buffer.from(`V${name}\n`), item])
    // A tensor's instructions: its list's pickle without PROTO, EMPTY_LIST, BINPUT, MARK and APPENDS, STOP.
    const weight = viewsPickle({}).slice(6, -2)
    const flag = Buffer.from([0x88])
    const linear = module('Linear', attribute('training', flag), attribute('weight', weight))
    const pickle = Buffer.concat([
      module('Net', attribute('training', flag), attribute('fc', linear)),
      Buffer.from('.'),
    ])
    await writeArchive(path, pickle, { 'data/0': sixFloats, 'constants.pkl': ').' })
    await using checkpoint = await TorchCheckpoint.open(path)
    expect([...checkpoint.stateDict().keys()]).toEqual(['fc.weight'])
    expect([...checkpoint.stateDict(['fc']).keys()]).toEqual(['weight'])
    const plainArchive = join(temporaryFolder(), 'b.pt')
    await writeArchive(plainArchive, pickle, { 'data/0': sixFloats })
    await expect(TorchCheckpoint.open(plainArchive)).rejects.toThrow(/names "__torch__\.net\.Net"/)
  })
})

test('a checkpoint of 10 GB opens in milliseconds', async () => {
  const path = join(temporaryFolder(), 'big.pt')
  const data = new Uint8Array(2 ** 28)
  const tensors = Array.from({ length: 40 }, (_, i): [string, WritableTorchValue] => {
    return [`t${i}`, { dtype: 'f32', shape: [data.length / DTYPE_BYTES.f32], data: async () => data }]
  })
  tensors.push(['last', patternTensor('f32', [3])])
  await writeTorchCheckpoint(path, new Map(tensors), { fileSystem: sparseFileSystem })
  const times: number[] = []
  for (let i = 0; i < 5; i++) {
    const begin = performance.now()
    const checkpoint = await TorchCheckpoint.open(path)
    times.push(performance.now() - begin)
    expectSameTensor(await checkpoint.read(checkpoint.stateDict().get('last')!), patternTensor('f32', [3]), 'last')
    await checkpoint.close()
  }
  expect(Math.min(...times)).toBeLessThan(50)
})
