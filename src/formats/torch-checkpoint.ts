import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { DTYPE_BYTES, elementCount } from '../tensor/dtype.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { swapByteOrder } from './byte-order.ts'
import { FileFormatError } from './errors.ts'
import { InertObject, PickleGlobal, type PickleValue } from './pickle-values.ts'
import { RandomAccessFile } from './random-access-file.ts'
import { isContiguous, stridedExtent, toContiguous } from './strided.ts'
import type { OpenedCheckpoint, TorchOpenOptions, TorchStorageReader } from './torch-archive.ts'
import { TorchStorage, TorchTensor } from './torch-tensor.ts'

/** What a checkpoint holds: see PickleValue for how Python's objects appear. */
export type TorchValue = PickleValue<TorchTensor | TorchStorage>

/** A larger storage is verified in a stream and then read by parts, instead of being held as a whole. */
const WHOLE_STORAGE_BYTES = 2 ** 30

/** An expanded view may have more elements than its storage, but not without end. */
const MAX_EXPANDED_BYTES = 2 ** 31

const openSchema = whenNeeded(() =>
  z.strictObject({ inertGlobals: z.array(z.string()).optional() } satisfies Record<keyof TorchOpenOptions, z.ZodType>),
)
const keysSchema = whenNeeded(() => z.array(z.string(), 'expected an array of keys'))

/**
 * A file that `torch.save` wrote, in the zip format or the one before torch 1.6, or a TorchScript archive. Opening reads
 * the structure and no tensor. No code of the file is ever run: a class or function that is not on the list of what
 * checkpoints may hold is refused by name.
 */
export class TorchCheckpoint {
  readonly path: string
  readonly value: TorchValue
  readonly #reader: TorchStorageReader
  readonly #isTorchScript: boolean
  readonly #storages: ReadonlySet<TorchStorage>
  /** How many tensors use each storage. */
  readonly #uses = new Map<string, number>()
  /** Storages that several tensors share, kept from the first read to the last. */
  readonly #shared = new Map<string, { readonly bytes: Promise<Uint8Array>; readonly readers: Set<TorchTensor> }>()
  readonly #verified = new Map<string, Promise<void>>()

  private constructor(path: string, opened: OpenedCheckpoint) {
    this.path = path
    // What the allow-list can make is exactly what the type says.
    this.value = opened.value as TorchValue
    this.#reader = opened.reader
    this.#isTorchScript = opened.isTorchScript
    this.#storages = new Set(opened.storages)
    for (const { key } of opened.storages) this.#uses.set(key, (this.#uses.get(key) ?? 0) + 1)
  }

  /**
   * @throws FileFormatError for damage, and for globals outside of the allow-list, by name; {ConfigurationError} for options that are none
   */
  static async open(path: string, options: TorchOpenOptions = {}): Promise<TorchCheckpoint> {
    parseConfiguration(openSchema(), options, 'the options of TorchCheckpoint.open')
    const opened = await openByMagic(path, options)
    try {
      checkStorages(path, opened)
      return new TorchCheckpoint(path, opened)
    } catch (error) {
      await opened.reader.close()
      throw error
    }
  }

  /**
   * The state dict (a dictionary of nothing but tensors) at a path of keys, such as `['ema']`; without a path, the file
   * itself. The parameters and buffers of a TorchScript module are its state dict.
   *
   * @throws FileFormatError that lists what is there instead.
   */
  stateDict(path: readonly string[] = []): Map<string, TorchTensor> {
    parseConfiguration(keysSchema(), path, 'the path of a state dict')
    let value: TorchValue = this.value
    for (const [depth, key] of path.entries()) {
      const next = value instanceof Map ? value.get(key) : undefined
      if (next === undefined) {
        throw new FileFormatError(
          this.path,
          `${place(path.slice(0, depth))} has no ${JSON.stringify(key)}; ${inventory(value)}.`,
        )
      }
      value = next
    }
    const tensors = this.#isTorchScript ? moduleTensors(value) : stateDictOf(value)
    if (tensors === undefined) {
      throw new FileFormatError(
        this.path,
        `${place(path)} is no state dict (a dictionary of tensors by name); ${inventory(value)}.`,
      )
    }
    return tensors
  }

  /** Reads a tensor of this checkpoint: contiguous, little-endian, in a buffer of its own. */
  async read(tensor: TorchTensor): Promise<HostTensor> {
    this.#requireOwn(tensor)
    const { dtype, shape, stride, storage } = tensor
    const elementBytes = DTYPE_BYTES[dtype]
    const byteLength = elementCount(shape) * elementBytes
    if (byteLength > Math.max(storage.byteLength, MAX_EXPANDED_BYTES)) {
      throw new FileFormatError(
        this.path,
        `a tensor of shape [${shape}] expands ${storage.byteLength} bytes to ${byteLength}; that is refused.`,
      )
    }
    if (byteLength === 0) return { dtype, shape, data: new Uint8Array(0) }
    const begin = storage.byteOffset + tensor.storageOffset * elementBytes
    const extent = stridedExtent(shape, stride) * elementBytes
    const bytes = await this.#bytes(tensor, begin, extent)
    if (this.#reader.bigEndian) swapByteOrder(bytes, elementBytes)
    const data = isContiguous(shape, stride) ? bytes : toContiguous(bytes, shape, stride, elementBytes)
    return { dtype, shape, data }
  }

  /**
   * The bytes of a tensor as `read` gives them, piece by piece (each valid until the next is asked for) where it is all of its
   * storage as that stands in the file.
   */
  async *pieces(tensor: TorchTensor): AsyncGenerator<Uint8Array, void, undefined> {
    this.#requireOwn(tensor)
    const { storage, dtype, shape, stride } = tensor
    const byteLength = elementCount(shape) * DTYPE_BYTES[dtype]
    const isWhole = byteLength === storage.keyByteLength && isContiguous(shape, stride)
    if (byteLength > 0 && isWhole && !this.#reader.bigEndian) yield* this.#reader.pieces(storage.key)
    else yield (await this.read(tensor)).data
  }

  /** By the object, for the keys of storages are the same small numbers in every file. */
  #requireOwn(tensor: unknown): void {
    if (!(tensor instanceof TorchTensor)) {
      throw new TypeError(`${this.path}: expected one of its tensors, as stateDict() gives them; got ${typeof tensor}.`)
    }
    if (!this.#storages.has(tensor.storage)) throw new Error(`${this.path}: this tensor belongs to another checkpoint.`)
  }

  async close(): Promise<void> {
    this.#shared.clear()
    await this.#reader.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** A part of a storage, in a buffer that is the caller's to change. */
  async #bytes(tensor: TorchTensor, begin: number, length: number): Promise<Uint8Array> {
    const { key, keyByteLength } = tensor.storage
    if (keyByteLength > WHOLE_STORAGE_BYTES) {
      if (!this.#verified.has(key)) this.#verified.set(key, drained(this.#reader.pieces(key)))
      await this.#verified.get(key)
      return this.#reader.readRange(key, begin, length)
    }
    const uses = this.#uses.get(key)!
    if (uses === 1) {
      const whole = await this.#reader.read(key)
      return length === whole.length ? whole : whole.slice(begin, begin + length)
    }
    let shared = this.#shared.get(key)
    if (shared === undefined) {
      shared = { bytes: this.#reader.read(key), readers: new Set() }
      this.#shared.set(key, shared)
    }
    const whole = await shared.bytes
    shared.readers.add(tensor)
    if (shared.readers.size === uses) this.#shared.delete(key)
    return whole.slice(begin, begin + length)
  }
}

/** Reading to the end is what compares the checksum. */
async function drained(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of pieces) {
    // Nothing else.
  }
}

async function openByMagic(path: string, options: TorchOpenOptions): Promise<OpenedCheckpoint> {
  const file = await RandomAccessFile.open(path)
  let start: Uint8Array
  try {
    start = await file.read(0, Math.min(file.size, 512))
  } finally {
    await file.close()
  }
  // Loaded when a file is opened: importing the library waits for no reader of zips and pickles.
  if (start[0] === 0x50 && start[1] === 0x4b) {
    const { openTorchArchive } = await import('./torch-archive.ts')
    return openTorchArchive(path, options)
  }
  const { isTorchLegacy, openTorchLegacy } = await import('./torch-legacy.ts')
  if (isTorchLegacy(path, start)) return openTorchLegacy(path, options)
  throw new FileFormatError(path, `this is no file of torch.save: ${whatElse(start)}.`)
}

/** The files that most often stand where a checkpoint should. */
function whatElse(start: Uint8Array): string {
  const text = Buffer.from(start).toString('latin1')
  if (start.length === 0) return 'it is empty'
  if (text.startsWith('version https://git-lfs'))
    return 'it is a Git LFS pointer; fetch the file itself with `git lfs pull`'
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) return 'it is a web page, as of a download that failed'
  if (text[8] === '{') return 'it looks like a safetensors file'
  if (text.slice(257, 262) === 'ustar')
    return 'it is a tar archive (torch before 0.2); save it again with a newer torch'
  if (start[0] === 0x80) return 'it is a bare pickle'
  return 'it begins like neither its zip format nor the one before torch 1.6'
}

function checkStorages(path: string, { storages, reader }: OpenedCheckpoint): void {
  for (const { key, keyByteLength } of storages) {
    const stored = reader.byteLength(key)
    if (stored === keyByteLength) continue
    const found = stored === undefined ? 'is missing' : `has ${stored} bytes instead of ${keyByteLength}`
    throw new FileFormatError(path, `storage ${JSON.stringify(key)} ${found}: the file is damaged.`)
  }
}

function stateDictOf(value: TorchValue): Map<string, TorchTensor> | undefined {
  if (!(value instanceof Map) || value.size === 0) return undefined
  const tensors = new Map<string, TorchTensor>()
  for (const [name, tensor] of value) {
    if (typeof name !== 'string' || !(tensor instanceof TorchTensor)) return undefined
    tensors.set(name, tensor)
  }
  return tensors
}

/** The tensors of a TorchScript module and its submodules, by their dotted names. */
function moduleTensors(module: TorchValue, prefix = ''): Map<string, TorchTensor> | undefined {
  if (!(module instanceof Map)) return undefined
  const tensors = new Map<string, TorchTensor>()
  for (const [name, value] of module) {
    if (value instanceof TorchTensor) tensors.set(`${prefix}${name}`, value)
    for (const [inner, tensor] of moduleTensors(value, `${prefix}${name}.`) ?? []) tensors.set(inner, tensor)
  }
  return tensors.size > 0 || prefix !== '' ? tensors : undefined
}

function place(path: readonly string[]): string {
  return path.length === 0 ? 'the top level' : path.map((key) => `[${JSON.stringify(key)}]`).join('')
}

/** Entries that an error message lists at most. */
const LISTED_ENTRIES = 20

function inventory(value: TorchValue): string {
  if (!(value instanceof Map)) return `it is ${summary(value)}`
  const listed = [...value].slice(0, LISTED_ENTRIES).map(([key, item]) => `${String(key)} (${summary(item)})`)
  if (value.size > LISTED_ENTRIES) listed.push('…')
  return value.size === 0 ? 'it is an empty dictionary' : `there is ${listed.join(', ')}`
}

function summary(value: TorchValue): string {
  if (value instanceof TorchTensor) return `tensor ${value.dtype} [${value.shape}]`
  const tensors = stateDictOf(value)
  if (tensors !== undefined) return `state dict of ${tensors.size} tensors`
  if (value instanceof Map) return `dictionary of ${value.size}`
  if (value instanceof Set) return `set of ${value.size}`
  if (Array.isArray(value)) return `list of ${value.length}`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (value instanceof TorchStorage) return `storage of ${value.byteLength} bytes`
  if (value instanceof InertObject) return `object of ${value.className}`
  if (value instanceof PickleGlobal) return value.name
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'object' && value !== null) return `array ${value.dtype} [${value.shape}]`
  return String(value)
}
