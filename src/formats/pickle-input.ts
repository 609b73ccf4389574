import { dataViewOf } from './byte-order.ts'
import { FileFormatError } from './errors.ts'
import { latin1String } from './pickle-literals.ts'

/** Thrown when the bytes end before the pickle does. */
export class TruncatedPickleError extends FileFormatError {}

/** The bytes of a pickle and the arguments of its instructions, read one after another. */
export class PickleInput {
  /** Of the next byte. */
  position = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #where: { readonly path: string; readonly part: string }

  constructor(bytes: Uint8Array, where: { readonly path: string; readonly part: string }) {
    // A plain Uint8Array: a Buffer's slice would be a view, and change when the Buffer does.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = dataViewOf(bytes)
    this.#where = where
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true)
  }

  i32(): number {
    return this.#view.getInt32(this.#advance(4), true)
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true)
  }

  /** Floats alone are big-endian. */
  f64BigEndian(): number {
    return this.#view.getFloat64(this.#advance(8), false)
  }

  /** A 64-bit length; one past 2^53 loses digits but is far past the end all the same. */
  length64(): number {
    return Number(this.#view.getBigUint64(this.#advance(8), true))
  }

  /** A view of the next bytes, not a copy. */
  take(count: number): Uint8Array {
    const at = this.#advance(count)
    return this.#bytes.subarray(at, at + count)
  }

  /** The text up to the next newline, each byte one character. */
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.position)
    const begin = this.#advance(end < 0 ? this.#bytes.length + 1 : end - this.position + 1)
    return latin1String(this.#bytes.subarray(begin, end))
  }

  /** A memo's index as text. */
  decimalIndex(): number {
    const text = this.line()
    if (!/^\d{1,10}$/.test(text)) {
      throw new FileFormatError(
        this.#where.path,
        `${this.#where.part} has a memo index that is no number: it is damaged.`,
      )
    }
    return Number(text)
  }

  #advance(count: number): number {
    const at = this.position
    if (at + count > this.#bytes.length) {
      throw new TruncatedPickleError(
        this.#where.path,
        `${this.#where.part} ends in the middle, at byte ${this.#bytes.length}: the file is truncated or damaged.`,
      )
    }
    this.position = at + count
    return at
  }
}
