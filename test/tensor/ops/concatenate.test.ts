import { concatenate } from '../../../src/tensor/ops/concatenate.ts'
import { fromValues, type NdArray, random } from '../../reference/array.ts'
import { opCase, testOps } from './op-case.ts'

const EXACT = { roundings: 0, scale: 0 }

/** torch.cat(parts, -1). */
function concatenated(parts: readonly NdArray[]): NdArray {
  const shape = parts[0]!.shape.slice(0, -1)
  const rows = shape.reduce((product, size) => product * size, 1)
  const width = parts.reduce((sum, part) => sum + part.shape.at(-1)!, 0)
  const values: number[] = []
  for (let row = 0; row < rows; row++) {
    for (const part of parts) {
      const own = part.shape.at(-1)!
      values.push(...part.data.slice(row * own, (row + 1) * own))
    }
  }
  return fromValues([...shape, width], values)
}

const SHAPES: readonly { leading: readonly number[]; widths: readonly number[] }[] = [
  { leading: [1], widths: [1] },
  { leading: [3], widths: [1, 2] },
  { leading: [2, 17, 17], widths: [64, 48, 96, 3] },
  { leading: [257], widths: [7, 0, 130] },
  { leading: [5, 1, 3], widths: [33, 33, 33, 1, 320] },
  { leading: [0, 4], widths: [2, 3] },
]

testOps(
  'concatenate',
  SHAPES.map(({ leading, widths }) => {
    const inputs = Object.fromEntries(widths.map((width, i) => [`part${i}`, random([...leading, width], i + 1)]))
    return opCase({
      name: `[${leading}] of ${widths.join(' + ')}`,
      inputs,
      op: (tensors) => concatenate(widths.map((_, i) => tensors[`part${i}`]!)),
      forward: () => concatenated(Object.values(inputs)),
      rounding: () => ({ out: EXACT }),
    })
  }),
)
