import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

export interface DistillationOptions {
  /** Of the student's softmax. */
  readonly temperature: number
  /** Which of an image's views the student's first is; the teacher's are the first of all. Default 0. */
  readonly firstView?: number
  /** Of one row's loss in the caller's total. Default 1. */
  readonly weight?: number
  /** An optimizer's state (`AdamW.scaling`), by whose loss scale the gradient is multiplied. */
  readonly scaling?: Tensor | undefined
}

/**
 * DINO's cross entropies (arXiv 2104.14294, eq. 3): logits student [V, B, K] against distributions targets [G, B, K] → [V, B], in each
 * row those with the targets of all views but its own, added. While a tape records, also seeds its backward pass with the gradient of
 * `weight` times the sum of the losses, made in the same pass. The targets get no gradient. All f32.
 */
export function distillationLoss(
  student: Tensor,
  targets: Tensor,
  { temperature, firstView = 0, weight = 1, scaling }: DistillationOptions,
): Tensor {
  const tape = recordingTape(student)
  const [loss, gradient] = native().distillationLoss(
    student.handle,
    targets.handle,
    firstView,
    temperature,
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(student, new Tensor(gradient, student.device))
  return new Tensor(loss, student.device)
}

/** Of distributions p [..., K] f32 → [...]: −Σ p log p, from 0 to log K. Not differentiable. */
export function entropy(p: Tensor): Tensor {
  return new Tensor(native().entropy(p.handle), p.device)
}

/** softmax(logits / temperature) over the last axis, f32. Not differentiable. */
export function sharpened(logits: Tensor, temperature: number): Tensor {
  return new Tensor(native().softmax(logits.handle, 1 / temperature, 'f32'), logits.device)
}
