import type { Precision } from '../training/precision.ts'

/** Dense bf16 (and fp16) FLOP per second by NVIDIA's data sheets, which the field's MFU is a share of. */
const DENSE_16_BIT: readonly (readonly [name: RegExp, rate: number])[] = [
  [/H100 PCIe/, 756e12],
  [/H100 NVL/, 835e12],
  [/H[12]00|GH200/, 989.4e12],
  [/A100/, 312e12],
]

/**
 * Of a GPU by CUDA's name for it, tf32 being half as fast as 16 bits on all of them. Undefined for one that is not in the table, and for fp32,
 * which the tensor cores do not compute.
 */
export function dataSheetRate(name: string, precision: Precision): number | undefined {
  const rate = DENSE_16_BIT.find(([pattern]) => pattern.test(name))?.[1]
  return precision === 'fp32' || rate === undefined ? undefined : precision === 'tf32' ? rate / 2 : rate
}
