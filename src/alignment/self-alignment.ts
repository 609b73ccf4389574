/**
 * SRA (arXiv 2505.02831): hidden states of the model in training are pulled towards deeper ones of its own average (EMA) that sees
 * the same images with less noise. It needs no encoder.
 */
import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { mean } from '../tensor/ops/loss.ts'
import { smoothL1Loss } from '../tensor/ops/smooth-l1.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface SelfAlignment {
  /** In the training loss. */
  readonly weight: number
  /** Block of the model whose output is pulled, from 1. */
  readonly depth: number
  /** Block of its average that it is pulled towards. */
  readonly teacherDepth: number
  /** The average's time is earlier by up to this much of the whole, drawn uniformly (t_max). */
  readonly timeOffset: number
}

/** Where smooth L1 turns from a square to a line. */
const BETA = 0.05

/** What the averaged model makes of its input [B, C, H, W], after a block: [B, T, D]. Records nothing. */
export function teacherStates(
  model: DiffusionTransformer,
  { input, t, condition }: { readonly input: Tensor; readonly t: Tensor; readonly condition: Tensor },
  teacherDepth: number,
): Tensor {
  using _average = model.arena.useMeanwhile('ema')
  return scope(() => model.hiddenStates(input, t, condition, teacherDepth))
}

/**
 * The mean smooth L1 distance of the model's states `hidden` [B, T, D], by its head, from the teacher's: a scalar (f64). While a tape
 * records, the gradient of `weight` times it is seeded.
 */
export function selfAlignmentLoss(
  model: DiffusionTransformer,
  hidden: Tensor,
  teacher: Tensor,
  weight: number,
  scaling?: Tensor,
): Tensor {
  return scope(() => mean(smoothL1Loss(model.selfAlignmentProjection(hidden), teacher, BETA, weight, scaling)))
}
