/** GPUs by NVIDIA's data sheets: what one can be planned for with, without being here, and what a measured rate is a share of. */
import type { Precision } from '../training/precision.ts'

export interface Gpu {
  readonly name: string
  /** What CUDA calls it. The first of the table that fits is meant. */
  readonly cudaName: RegExp
  readonly computeCapability: string
  readonly memoryGiB: number
  readonly multiprocessors: number
  /** Dense FLOP/s of the tensor cores in bf16 and fp16, with sums in fp32. */
  readonly tensorFlops: number
  /** FLOP/s in fp32 without tensor cores, which our fp32 products do not use. */
  readonly floatFlops: number
}

/** A row of the table. */
function gpu(
  name: string,
  cudaName: RegExp,
  computeCapability: string,
  memoryGiB: number,
  multiprocessors: number,
  tensorFlops: number,
  floatFlops: number,
): Gpu {
  return { name, cudaName, computeCapability, memoryGiB, multiprocessors, tensorFlops, floatFlops }
}

export const GPUS: readonly Gpu[] = [
  gpu('A100', /A100/, '8.0', 80, 108, 312e12, 19.5e12),
  gpu('H100-PCIe', /H100 PCIe/, '9.0', 80, 114, 756e12, 51e12),
  gpu('H100-NVL', /H100 NVL/, '9.0', 94, 132, 835e12, 60e12),
  gpu('H100', /H100/, '9.0', 80, 132, 989.4e12, 67e12),
  // The GH200's half of that name too.
  gpu('H200', /H200/, '9.0', 141, 132, 989.4e12, 67e12),
  gpu('L40S', /L40S/, '8.9', 48, 142, 362e12, 91.6e12),
  gpu('A10', /A10$/, '8.6', 24, 72, 125e12, 31.2e12),
  gpu('RTX-A6000', /RTX A6000/, '8.6', 48, 84, 154.8e12, 38.7e12),
  gpu('RTX-3090', /RTX 3090/, '8.6', 24, 82, 71e12, 35.6e12),
  gpu('RTX-4090', /RTX 4090/, '8.9', 24, 128, 165.2e12, 82.6e12),
  gpu('RTX-5090', /RTX 5090/, '12.0', 32, 170, 209.5e12, 104.8e12),
]

/** Whether a GPU runs the kernels of sm_90a. */
export const isHopper = ({ computeCapability }: Pick<Gpu, 'computeCapability'>) => computeCapability === '9.0'

export const GPU_NAMES = GPUS.map(({ name }) => name)

/** The GPU that CUDA calls so; undefined for one that is not in the table. */
export const gpuByCudaName = (cudaName: string) => GPUS.find((entry) => entry.cudaName.test(cudaName))

/** The tensor cores of all of these multiply tf32 at half the rate of bf16. */
export const peakFlops = (entry: Gpu, precision: Precision) =>
  ({ fp32: entry.floatFlops, tf32: entry.tensorFlops / 2, bf16: entry.tensorFlops, fp16: entry.tensorFlops })[precision]
