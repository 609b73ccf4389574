import { expect } from 'vitest'
import { DTYPE_BYTES, type DType, elementCount } from '../../src/tensor/dtype.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'

export const ALL_DTYPES = Object.keys(DTYPE_BYTES) as DType[]

/** Shapes that have been got wrong somewhere: scalar, empty in each place, one, odd. */
export const SHAPES: readonly (readonly number[])[] = [[], [0], [3, 0], [0, 2], [1], [5], [2, 3], [1, 3, 1, 2]]

/** A tensor whose bytes all differ from their neighbours; `bool` stays 0 or 1. */
export function patternTensor(dtype: DType, shape: readonly number[], seed = 0): HostTensor {
  const data = new Uint8Array(elementCount(shape) * DTYPE_BYTES[dtype])
  for (let i = 0; i < data.length; i++) data[i] = dtype === 'bool' ? (i + seed) % 2 : (i * 37 + seed * 11 + 5) % 251
  return { dtype, shape, data }
}

/** Bit for bit the same. (`toEqual` walks byte arrays element by element, a thousand times slower.) */
export function expectSameTensor(actual: HostTensor, expected: HostTensor, what: string): void {
  expect({ what, dtype: actual.dtype, shape: actual.shape }).toEqual({
    what,
    dtype: expected.dtype,
    shape: expected.shape,
  })
  if (Buffer.from(actual.data).equals(expected.data)) return
  const first = expected.data.findIndex((byte, i) => byte !== actual.data[i])
  expect.fail(
    `${what}: ${actual.data.length} bytes, expected ${expected.data.length}; they differ from byte ${first} on.`,
  )
}
