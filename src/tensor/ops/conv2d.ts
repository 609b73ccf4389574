import { type ConvActivation, native, type PoolKind } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { computeDType, Tensor } from '../tensor.ts'

/** Weight [O, kernelHeight, kernelWidth, C], in the dtype in which the model computes, and bias [O] (f32). */
export interface Conv2dWeights {
  readonly weight: Tensor
  readonly bias: Tensor | undefined
}

/** A GroupNorm that is applied where the convolution reads its input: the normalised image is never stored on a CPU. */
export interface ConvNorm {
  /** [N, 2, C], from `groupNormCoefficients`. */
  readonly coefficients: Tensor
  readonly activation: ConvActivation
}

/** Zeros above, below, left and right of the image. */
export type Padding = readonly [top: number, bottom: number, left: number, right: number]

export interface Conv2dOptions {
  readonly norm?: ConvNorm
  /** 2: the convolution sees every pixel twice in each direction (nearest neighbour). Default 1. */
  readonly upsample?: 1 | 2
  /** Default 1. */
  readonly stride?: number | readonly [rows: number, columns: number]
  /** A number for all four sides. Default: half of the kernel, rounded down, which keeps the size of an odd kernel's image. */
  readonly padding?: number | Padding
  /** Of the result's shape, f32: added before the activation. */
  readonly residual?: Tensor
  /** The result takes the residual's memory, whose values are gone then. */
  readonly intoResidual?: boolean
  /** Default `none`. */
  readonly activation?: ConvActivation
  /** Of the result; default f32. */
  readonly dtype?: ComputeDType
}

/** torch's conv2d, channels last: x [N, H, W, C] → [N, H', W', O]. Not differentiable. */
export function conv2d(x: Tensor, { weight, bias }: Conv2dWeights, options: Conv2dOptions = {}): Tensor {
  const { norm, upsample = 1, stride = 1, residual, intoResidual = false, activation = 'none', dtype = 'f32' } = options
  const [, kernelHeight, kernelWidth] = weight.shape
  const [rows, columns] = [Math.floor(kernelHeight! / 2), Math.floor(kernelWidth! / 2)]
  const { padding = [rows, rows, columns, columns] } = options
  const handle = native().conv2d(
    x.handle,
    norm?.coefficients.handle ?? null,
    norm?.activation ?? 'none',
    upsample,
    weight.handle,
    bias?.handle ?? null,
    typeof stride === 'number' ? [stride, stride] : stride,
    typeof padding === 'number' ? [padding, padding, padding, padding] : padding,
    residual?.handle ?? null,
    intoResidual,
    activation,
    dtype,
  )
  return new Tensor(handle, x.device)
}

/** torch's max_pool2d and avg_pool2d (floor mode), channels last: x [N, H, W, C] f32 → [N, H', W', C]. Not differentiable. */
export function pool2d(
  x: Tensor,
  options: {
    kind: PoolKind
    kernel: readonly [rows: number, columns: number]
    stride: readonly [rows: number, columns: number]
    padding?: Padding
  },
): Tensor {
  const { kind, kernel, stride, padding = [0, 0, 0, 0] } = options
  return new Tensor(native().pool2d(x.handle, kind, kernel, stride, padding), x.device)
}

/** torch's adaptive_avg_pool2d to one pixel: [N, H, W, C] f32 → [N, C]. Not differentiable. */
export function averageOfPixels(x: Tensor): Tensor {
  const [count, height, width, channels] = x.shape as [number, number, number, number]
  using pooled = pool2d(x, { kind: 'average', kernel: [height, width], stride: [1, 1] })
  return pooled.reshape([count, channels])
}

/** In what a convolution computes. */
export function convDType({ weight }: Conv2dWeights): ComputeDType {
  return computeDType(weight)
}
