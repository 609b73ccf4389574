import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { elementCount } from '../tensor/dtype.ts'
import { type AtomicWriteOptions, atomicWriteOptions } from './atomic-file.ts'
import { PickleWriter } from './pickle-writer.ts'
import { contiguousStride } from './strided.ts'
import { sourceByteLength, sourcePieces, type TensorSource } from './tensor-source.ts'
import { STORAGE_CLASS } from './torch-tensor.ts'
import { ZipWriter } from './zip-writer.ts'

/**
 * What `writeTorchCheckpoint` can write: dictionaries (Maps, or plain objects), lists, numbers, text, booleans, null and
 * tensors. A number without a fraction is written as a Python int, and any other as a float. A HostTensor is a
 * TensorSource.
 */
export type WritableTorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | TensorSource
  | readonly WritableTorchValue[]
  | ReadonlyMap<string | number, WritableTorchValue>
  | { readonly [key: string]: WritableTorchValue }

/** torch.save starts each storage at a multiple of this, so that it can be mapped into memory. */
const STORAGE_ALIGNMENT = 64

const MAX_DEPTH = 500

const optionsSchema = whenNeeded(() => z.strictObject(atomicWriteOptions()))

/**
 * Writes a checkpoint that `torch.load` reads, with `weights_only=True` too: the zip format of torch 1.6 and later, its
 * pickle naming nothing but tensors. Storages are written one at a time. One tensor object that stands in several places
 * is stored once. The file appears under its name only when it is whole.
 *
 * @throws {ConfigurationError} for options that are none; TypeError or RangeError for what cannot be written, naming its place;
 *   FileAccessError where the system refuses
 */
export async function writeTorchCheckpoint(
  path: string,
  value: WritableTorchValue,
  options: AtomicWriteOptions = {},
): Promise<void> {
  parseConfiguration(optionsSchema(), options, 'the options of writeTorchCheckpoint')
  const { pickle, tensors } = picklePart(value)
  const zip = await ZipWriter.create(path, { ...options, alignment: STORAGE_ALIGNMENT })
  try {
    const encoder = new TextEncoder()
    await zip.add('archive/data.pkl', pickle)
    await zip.add('archive/byteorder', encoder.encode('little'))
    for (const [key, { source, place }] of tensors.entries()) {
      const entry = await zip.open(`archive/data/${key}`, sourceByteLength(source, place))
      for await (const piece of sourcePieces(source, place)) await entry.write(piece)
      await entry.close()
    }
    // The version of the container, which torch checks.
    await zip.add('archive/version', encoder.encode('3\n'))
  } catch (error) {
    await zip.abort()
    throw error
  }
  await zip.close()
}

interface PlacedTensor {
  readonly source: TensorSource
  /** For error messages. */
  readonly place: string
}

/** The pickle of the value, and the tensors that it refers to: each one's index is its storage's key. */
function picklePart(root: WritableTorchValue): { pickle: Uint8Array; tensors: readonly PlacedTensor[] } {
  const writer = new PickleWriter()
  const tensors: PlacedTensor[] = []
  const open = new Set<object>()

  const write = (value: WritableTorchValue, place: string): void => {
    if (value === null) writer.none()
    else if (typeof value === 'boolean') writer.boolean(value)
    else if (typeof value === 'bigint') writer.integer(value)
    else if (typeof value === 'number') writeNumber(writer, value)
    else if (typeof value === 'string') writer.text(value)
    else if (typeof value === 'object') writeObject(value, place)
    else throw new TypeError(`${place} is a ${typeof value}, which a checkpoint cannot hold.`)
  }

  const writeObject = (
    value: Exclude<WritableTorchValue, null | boolean | number | bigint | string>,
    place: string,
  ) => {
    if (open.has(value)) throw new TypeError(`${place} contains itself, which a checkpoint cannot.`)
    if (open.size >= MAX_DEPTH) throw new RangeError(`${place} is nested more than ${MAX_DEPTH} levels deep.`)
    if (writer.recall(value)) return
    open.add(value)
    if (isTensorSource(value)) {
      sourceByteLength(value, place)
      writeTensor(writer, value, tensors.length)
      writer.memorise(value)
      tensors.push({ source: value, place })
    } else if (isList(value)) {
      writer.list(value, () => {
        for (const [i, item] of value.entries()) write(item, `${place}[${i}]`)
      })
    } else {
      const entries: Iterable<[string | number, WritableTorchValue]> =
        value instanceof Map ? value : Object.entries(requirePlain(value, place))
      writer.dictionary(value, () => {
        for (const [key, item] of entries) {
          if (typeof key !== 'string' && typeof key !== 'number') {
            throw new TypeError(`${place} has a key that is neither text nor a number.`)
          }
          write(key, place)
          write(item, `${place}[${JSON.stringify(key)}]`)
        }
      })
    }
    open.delete(value)
  }

  write(root, 'checkpoint')
  return { pickle: writer.finish(), tensors }
}

function writeNumber(writer: PickleWriter, value: number): void {
  // -0 is a float: an int has no sign of zero.
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.integer(value)
  else writer.float(value)
}

/** torch._utils._rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks) */
function writeTensor(writer: PickleWriter, { dtype, shape }: TensorSource, key: number): void {
  writer.global({ module: 'torch._utils', name: '_rebuild_tensor_v2' })
  writer.tuple(() => {
    writer.tuple(() => {
      writer.text('storage')
      writer.global({ module: 'torch', name: STORAGE_CLASS[dtype] })
      writer.text(String(key))
      writer.text('cpu')
      writer.integer(elementCount(shape))
    })
    writer.persistentId()
    writer.integer(0)
    writer.tuple(() => {
      for (const size of shape) writer.integer(size)
    })
    writer.tuple(() => {
      for (const step of contiguousStride(shape)) writer.integer(step)
    })
    writer.boolean(false)
    writer.global({ module: 'collections', name: 'OrderedDict' })
    writer.emptyTuple()
    writer.reduce()
  })
  writer.reduce()
}

function isTensorSource(value: object): value is TensorSource {
  return (
    'dtype' in value &&
    'shape' in value &&
    'data' in value &&
    Array.isArray(value.shape) &&
    (value.data instanceof Uint8Array || typeof value.data === 'function')
  )
}

function isList(value: object): value is readonly WritableTorchValue[] {
  return Array.isArray(value)
}

function requirePlain(value: object, place: string): { readonly [key: string]: WritableTorchValue } {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null)
    return value as { readonly [key: string]: WritableTorchValue }
  throw new TypeError(`${place} is a ${value.constructor.name}, which a checkpoint cannot hold.`)
}
