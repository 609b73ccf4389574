import type { PackedNumbers } from './packed-numbers.ts'

/** So few numbers are as short, and can be read, as they are. */
const FEW = 64

/** Finite numbers for a page's data, to float32's precision where they are many. Steps (whole and rising) stay exact. */
export function packNumbers(numbers: Float64Array): PackedNumbers {
  const count = numbers.length
  if (count <= FEW) return Array.from(numbers, (value) => Number(value.toPrecision(7)))
  const first = numbers[0]!
  const distance = numbers[1]! - first
  if (numbers.every((value, i) => value === first + i * distance)) return { first, distance, count }
  const distances = new DataView(new ArrayBuffer(2 * (count - 1)))
  const areSteps = numbers.every((value, i) => {
    if (i === 0) return Number.isInteger(value)
    const step = value - numbers[i - 1]!
    if (!Number.isInteger(step) || step < 0 || step > 0xffff) return false
    distances.setUint16(2 * (i - 1), step, true)
    return true
  })
  if (areSteps) return { first, distances: base64(distances) }
  const values = new DataView(new ArrayBuffer(4 * count))
  for (let i = 0; i < count; i++) values.setFloat32(4 * i, numbers[i]!, true)
  return { float32: base64(values) }
}

function base64({ buffer }: DataView): string {
  return Buffer.from(buffer as ArrayBuffer).toString('base64')
}
