/**
 * Element types. `f32 bf16 f16 i32 u8` compute on every device, `f64` only in samplers' states and test references; the
 * rest are what files hold.
 */
export type DType = 'f64' | 'f32' | 'bf16' | 'f16' | 'i64' | 'i32' | 'i16' | 'i8' | 'u8' | 'bool'

/** In what a model's activations and products are: f32 on the CPU, any of them on a GPU. */
export const COMPUTE_DTYPES = ['f32', 'bf16', 'f16'] as const
export type ComputeDType = (typeof COMPUTE_DTYPES)[number]

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  f64: 8,
  f32: 4,
  bf16: 2,
  f16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
}

/** Number of elements of a shape; 1 for the scalar shape `[]`. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1)
}
