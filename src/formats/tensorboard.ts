import { type FileHandle, open } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { dataViewOf } from './byte-order.ts'
import { maskedCrc32c } from './crc32c.ts'
import { FileAccessError } from './errors.ts'
import { makeFolder } from './make-folder.ts'
import { readPngHeader } from './png-header.ts'
import { bytesField, doubleField, floatField, varintField } from './protobuf.ts'
import {
  DIMENSION,
  DT_STRING,
  EVENT,
  FILE_VERSION,
  IMAGE,
  METADATA,
  PLUGIN_DATA,
  RECORD_FOOTER_BYTES,
  RECORD_HEADER_BYTES,
  SESSION_LOG,
  SESSION_START,
  SUMMARY,
  TENSOR,
  TENSOR_SHAPE,
  VALUE,
} from './tensorboard-protocol.ts'

export interface EventWriterOptions {
  /** Seconds since 1970, for every event and the file's name. Default: the clock. */
  readonly now?: () => number
  readonly host?: string
  /** For a run that goes on from this step: TensorBoard then drops what older files have at it and after it. */
  readonly purgeStep?: number
}

/** Written without being asked once so much has gathered, so that a long run does not hold it all. */
const AUTOMATIC_FLUSH_BYTES = 2 ** 18

/** So that two writers of one process and second have files of their own. */
let filesCreated = 0

/**
 * Writes an event file for TensorBoard. Adding never waits: events gather in memory until `flush`, `close`, or a quarter
 * of a megabyte. If writing failed, the next call says so.
 */
export class EventWriter {
  readonly path: string
  readonly #handle: FileHandle
  readonly #now: () => number
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  /** The write that is under way, after which the next one starts. */
  #writing: Promise<void> = Promise.resolve()
  #failure: FileAccessError | undefined
  #closed = false

  private constructor(path: string, handle: FileHandle, now: () => number) {
    this.path = path
    this.#handle = handle
    this.#now = now
  }

  /**
   * Creates the folder if need be, and in it `events.out.tfevents.<seconds>.<host>.<pid>.<number>.v2`. The number has zeros before it, for
   * TensorBoard reads a folder's files in the order of their names.
   */
  static async create(folder: string, options: EventWriterOptions = {}): Promise<EventWriter> {
    const now = options.now ?? (() => Date.now() / 1000)
    const seconds = String(Math.floor(now())).padStart(10, '0')
    const host = (options.host ?? hostname()).replace(/[^\w.-]/g, '_')
    const number = String(filesCreated++).padStart(6, '0')
    const path = join(folder, `events.out.tfevents.${seconds}.${host}.${process.pid}.${number}.v2`)
    const purge = options.purgeStep === undefined ? undefined : requireStep(options.purgeStep)
    let handle: FileHandle
    try {
      await makeFolder(folder)
      handle = await open(path, 'ax')
    } catch (error) {
      throw error instanceof FileAccessError ? error : new FileAccessError('write', path, error)
    }
    const writer = new EventWriter(path, handle, now)
    writer.#add(bytesField(EVENT.fileVersion, FILE_VERSION))
    if (purge !== undefined) {
      const start = varintField(SESSION_LOG.status, SESSION_START)
      writer.#add(varintField(EVENT.step, purge), bytesField(EVENT.sessionLog, start))
    }
    return writer
  }

  /** A number, kept as float32; NaN and infinities are shown as such. */
  scalar(tag: string, value: number, step: number): void {
    this.#summary(step, tag, floatField(VALUE.simpleValue, value))
  }

  /** A PNG image. @throws TypeError if the bytes do not begin like one. */
  image(tag: string, png: Uint8Array, step: number): void {
    const { width, height, colorspace } = pngShape(png)
    this.#summary(
      step,
      tag,
      bytesField(
        VALUE.image,
        varintField(IMAGE.height, height),
        varintField(IMAGE.width, width),
        varintField(IMAGE.colorspace, colorspace),
        bytesField(IMAGE.encodedImage, png),
      ),
    )
  }

  /** Text, shown as Markdown. */
  text(tag: string, text: string, step: number): void {
    const one = bytesField(TENSOR_SHAPE.dimension, varintField(DIMENSION.size, 1))
    const tensor = [
      varintField(TENSOR.dtype, DT_STRING),
      bytesField(TENSOR.shape, one),
      bytesField(TENSOR.stringValue, text),
    ]
    const plugin = bytesField(METADATA.pluginData, bytesField(PLUGIN_DATA.pluginName, 'text'))
    this.#summary(step, tag, bytesField(VALUE.tensor, ...tensor), bytesField(VALUE.metadata, plugin))
  }

  /** Waits until everything added so far is in the file. */
  async flush(): Promise<void> {
    this.#startWriting()
    await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      await this.flush()
    } finally {
      await this.#handle.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #summary(step: number, tag: string, ...value: Uint8Array[]): void {
    const summary = bytesField(SUMMARY.value, bytesField(VALUE.tag, tag), ...value)
    this.#add(varintField(EVENT.step, requireStep(step)), bytesField(EVENT.summary, summary))
  }

  #add(...fields: Uint8Array[]): void {
    if (this.#closed) throw new Error(`${this.path} is closed; nothing can be added to it.`)
    if (this.#failure !== undefined) throw this.#failure
    const record = frame(Buffer.concat([doubleField(EVENT.wallTime, this.#now()), ...fields]))
    this.#pending.push(record)
    this.#pendingBytes += record.length
    if (this.#pendingBytes >= AUTOMATIC_FLUSH_BYTES) this.#startWriting()
  }

  #startWriting(): void {
    if (this.#pendingBytes === 0) return
    const records = this.#pending
    this.#pending = []
    this.#pendingBytes = 0
    this.#writing = this.#writing.then(async () => {
      if (this.#failure !== undefined) return
      try {
        await this.#handle.appendFile(Buffer.concat(records))
      } catch (error) {
        this.#failure = new FileAccessError('write', this.path, error)
      }
    })
  }
}

/** One record of the file around the bytes of an event. */
function frame(event: Uint8Array): Uint8Array {
  const record = new Uint8Array(RECORD_HEADER_BYTES + event.length + RECORD_FOOTER_BYTES)
  const view = dataViewOf(record)
  view.setBigUint64(0, BigInt(event.length), true)
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true)
  record.set(event, RECORD_HEADER_BYTES)
  view.setUint32(RECORD_HEADER_BYTES + event.length, maskedCrc32c(event), true)
  return record
}

function requireStep(step: number): number {
  if (Number.isSafeInteger(step)) return step
  throw new RangeError(`A step must be a whole number; it is ${step}.`)
}

/** TensorBoard's colorspace is the number of channels. */
function pngShape(png: Uint8Array): { width: number; height: number; colorspace: number } {
  try {
    const { width, height, channels } = readPngHeader(png)
    return { width, height, colorspace: channels }
  } catch (cause) {
    throw new TypeError('The image is not a PNG; encode it first.', { cause })
  }
}
