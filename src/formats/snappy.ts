import { readVarint } from './varint.ts'

/** What three bytes stand for at most: a copy of 64. */
const MAX_EXPANSION = 64 / 3

/** Shorter ones are copied in less time than it takes to call what copies. */
const SHORT_BYTES = 16

/**
 * Unpacks Snappy's format without frames, https://github.com/google/snappy/blob/main/format_description.txt.
 *
 * @param size in bytes, of the result
 * @throws {RangeError} where it is damaged or of another size
 */
export function unpackSnappy(packed: Uint8Array, size: number): Uint8Array {
  const { value: declared, end } = readVarint(packed, 0)
  if (declared !== size) throw new RangeError(`it is packed from ${declared} bytes; ${size} were expected`)
  if (size > packed.length * MAX_EXPANSION) throw new RangeError(`${packed.length} bytes cannot be packed from ${size}`)
  // Not zeroed first: every byte is written, or this throws.
  const out = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)
  let at = end
  let done = 0
  const number = (bytes: number): number => {
    if (at + bytes > packed.length) throw cutOff()
    let value = 0
    for (let i = 0; i < bytes; i++) value += packed[at + i]! * 2 ** (8 * i)
    at += bytes
    return value
  }
  while (at < packed.length) {
    const tag = packed[at++]!
    const kind = tag & 3
    const head = tag >> 2
    if (kind === 0) {
      const length = 1 + (head < 60 ? head : number(head - 59))
      if (at + length > packed.length) throw cutOff()
      if (done + length > size) throw tooLong(size)
      if (length < SHORT_BYTES) for (let i = 0; i < length; i++) out[done + i] = packed[at + i]!
      else out.set(packed.subarray(at, at + length), done)
      at += length
      done += length
    } else {
      const length = kind === 1 ? 4 + (head & 7) : 1 + head
      const back = kind === 1 ? 256 * (head >> 3) + number(1) : number(kind === 2 ? 2 : 4)
      if (back === 0 || back > done) throw new RangeError(`a copy goes ${back} bytes back from byte ${done}`)
      if (done + length > size) throw tooLong(size)
      // One at a time: a copy may go on into what it has written.
      for (let i = 0; i < length; i++) out[done + i] = out[done + i - back]!
      done += length
    }
  }
  if (done < size) throw new RangeError(`it has ${done} bytes unpacked; ${size} were expected`)
  return out
}

function cutOff(): RangeError {
  return new RangeError('it is cut off')
}

function tooLong(size: number): RangeError {
  return new RangeError(`it has more than ${size} bytes unpacked`)
}
