import type { Precision } from '../training/precision.ts'

/** A GPU that can be planned for without being here: figures of NVIDIA's data sheets. */
export interface Gpu {
  readonly name: string
  readonly memoryGiB: number
  readonly multiprocessors: number
  /** Dense FLOP/s of the tensor cores in bf16 and fp16, with sums in fp32. */
  readonly tensorFlops: number
  /** FLOP/s in fp32 without tensor cores, which our fp32 products do not use. */
  readonly floatFlops: number
}

export const GPUS: readonly Gpu[] = [
  { name: 'A100', memoryGiB: 80, multiprocessors: 108, tensorFlops: 312e12, floatFlops: 19.5e12 },
  { name: 'H100', memoryGiB: 80, multiprocessors: 132, tensorFlops: 989e12, floatFlops: 67e12 },
  { name: 'H200', memoryGiB: 141, multiprocessors: 132, tensorFlops: 989e12, floatFlops: 67e12 },
  { name: 'L40S', memoryGiB: 48, multiprocessors: 142, tensorFlops: 362e12, floatFlops: 91.6e12 },
  { name: 'RTX-3090', memoryGiB: 24, multiprocessors: 82, tensorFlops: 71e12, floatFlops: 35.6e12 },
  { name: 'RTX-4090', memoryGiB: 24, multiprocessors: 128, tensorFlops: 165.2e12, floatFlops: 82.6e12 },
]

export const GPU_NAMES = GPUS.map(({ name }) => name)

/** What the driver, the kernels and the graph of a step take besides tensors: an allowance. */
export const RESERVED_BYTES = 2 ** 30

/** The tensor cores of all of these multiply tf32 at half the rate of bf16. */
export const peakFlops = (gpu: Gpu, precision: Precision) =>
  ({ fp32: gpu.floatFlops, tf32: gpu.tensorFlops / 2, bf16: gpu.tensorFlops, fp16: gpu.tensorFlops })[precision]
