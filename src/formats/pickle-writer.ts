import { dataViewOf } from './byte-order.ts'
import { Opcode } from './pickle-opcodes.ts'

/** A class or function to be named in a pickle. */
export interface GlobalName {
  readonly module: string
  readonly name: string
}

/** The protocol that torch.save writes; torch's safe loader knows its instructions. */
const PROTOCOL = 2

const INITIAL_BYTES = 1 << 16

/** Writes the instructions of one pickle of protocol 2, which every Python since 2.3 reads. */
export class PickleWriter {
  #bytes = new Uint8Array(INITIAL_BYTES)
  #view = dataViewOf(this.#bytes)
  #length = 0
  /** Objects already written, by identity (text and globals by their own text), and their memo's index. */
  readonly #memo = new Map<unknown, number>()

  constructor() {
    this.#op(Opcode.PROTO)
    this.#u8(PROTOCOL)
  }

  /** The finished pickle. */
  finish(): Uint8Array {
    this.#op(Opcode.STOP)
    return this.#bytes.slice(0, this.#length)
  }

  none(): void {
    this.#op(Opcode.NONE)
  }

  boolean(value: boolean): void {
    this.#op(value ? Opcode.NEWTRUE : Opcode.NEWFALSE)
  }

  /** A Python float. */
  float(value: number): void {
    this.#op(Opcode.BINFLOAT)
    this.#reserve(8)
    this.#view.setFloat64(this.#length, value, false)
    this.#length += 8
  }

  /** A Python int of any size. */
  integer(value: number | bigint): void {
    if (value >= 0 && value <= 0xff) {
      this.#op(Opcode.BININT1)
      this.#u8(Number(value))
    } else if (value >= 0 && value <= 0xffff) {
      this.#op(Opcode.BININT2)
      this.#reserve(2)
      this.#view.setUint16(this.#length, Number(value), true)
      this.#length += 2
    } else if (value >= -0x80000000 && value <= 0x7fffffff) {
      this.#op(Opcode.BININT)
      this.#reserve(4)
      this.#view.setInt32(this.#length, Number(value), true)
      this.#length += 4
    } else {
      this.#long(BigInt(value))
    }
  }

  text(value: string): void {
    if (this.recall(`text ${value}`)) return
    const encoded = new TextEncoder().encode(value)
    this.#op(Opcode.BINUNICODE)
    this.#u32(encoded.length)
    this.#raw(encoded)
    this.memorise(`text ${value}`)
  }

  global({ module, name }: GlobalName): void {
    const key = `global ${module} ${name}`
    if (this.recall(key)) return
    this.#op(Opcode.GLOBAL)
    this.#raw(new TextEncoder().encode(`${module}\n${name}\n`))
    this.memorise(key)
  }

  /** A tuple of what `items` writes. */
  tuple(items: () => void): void {
    this.#op(Opcode.MARK)
    items()
    this.#op(Opcode.TUPLE)
  }

  emptyTuple(): void {
    this.#op(Opcode.EMPTY_TUPLE)
  }

  /** A list, memorised as `identity` before its items are written, so that they may refer to it. */
  list(identity: unknown, items: () => void): void {
    this.#op(Opcode.EMPTY_LIST)
    this.memorise(identity)
    this.#op(Opcode.MARK)
    items()
    this.#op(Opcode.APPENDS)
  }

  /** A dictionary; `items` writes key, value, key, value, … */
  dictionary(identity: unknown, items: () => void): void {
    this.#op(Opcode.EMPTY_DICT)
    this.memorise(identity)
    this.#op(Opcode.MARK)
    items()
    this.#op(Opcode.SETITEMS)
  }

  /** Calls the function below the arguments' tuple on the stack. */
  reduce(): void {
    this.#op(Opcode.REDUCE)
  }

  /** Turns the tuple on the stack into what the reader keeps under it. */
  persistentId(): void {
    this.#op(Opcode.BINPERSID)
  }

  /** Keeps the value on the stack for `recall`. */
  memorise(identity: unknown): void {
    const index = this.#memo.size
    this.#memo.set(identity, index)
    if (index <= 0xff) {
      this.#op(Opcode.BINPUT)
      this.#u8(index)
    } else {
      this.#op(Opcode.LONG_BINPUT)
      this.#u32(index)
    }
  }

  /** Refers to a value that was memorised; false where there is none. */
  recall(identity: unknown): boolean {
    const index = this.#memo.get(identity)
    if (index === undefined) return false
    if (index <= 0xff) {
      this.#op(Opcode.BINGET)
      this.#u8(index)
    } else {
      this.#op(Opcode.LONG_BINGET)
      this.#u32(index)
    }
    return true
  }

  /** Two's complement, little-endian, in as few bytes as hold the sign. */
  #long(value: bigint): void {
    let count = 8
    while (BigInt.asIntN(8 * count, value) !== value) count++
    if (count > 0xff) throw new RangeError('An integer of more than 255 bytes cannot be written.')
    const hex = BigInt.asUintN(8 * count, value)
      .toString(16)
      .padStart(2 * count, '0')
    this.#op(Opcode.LONG1)
    this.#u8(count)
    this.#raw(Buffer.from(hex, 'hex').reverse())
  }

  #op(opcode: number): void {
    this.#u8(opcode)
  }

  #u8(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  #u32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  #raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + count))
    grown.set(this.#bytes)
    this.#bytes = grown
    this.#view = dataViewOf(grown)
  }
}
