import { alignmentLoss } from '../alignment/repa.ts'
import type { SiT } from '../models/sit.ts'
import type { InterpolantPath } from '../native.ts'
import { interpolant } from '../tensor/ops/interpolant.ts'
import { velocityLoss } from '../tensor/ops/loss.ts'
import { scope } from '../tensor/scope.ts'
import { Tape } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What one training pass is made of, on the device. */
export interface TrainingBatch {
  /** Clean latents [B, C, H, W]. */
  readonly latents: Tensor
  /** Labels i32 [B], already dropped. */
  readonly labels: Tensor
  /** Times [B]. */
  readonly t: Tensor
  /** N(0, 1) [B, C, H, W]. */
  readonly noise: Tensor
  /** Features [B, T, z] of each encoder; empty: no alignment. */
  readonly targets: readonly Tensor[]
}

export interface ObjectiveOptions {
  readonly path: InterpolantPath
  /** Weight of the alignment loss (proj_coeff). */
  readonly alignWeight: number
  /** An optimizer's state (`AdamW.scaling`), by whose loss scale all gradients are multiplied. */
  readonly scaling?: Tensor
  /** Add to the gradients of an earlier pass. */
  readonly accumulate?: boolean
  /** Shown the pass's tensors: `interpolated`, `velocity` (the prediction), `projections.K`. */
  readonly observe?: (name: string, tensor: Tensor) => void
}

export interface Losses {
  /** Per sample, the mean squared error of the velocity [B]. */
  readonly denoising: Tensor
  /** The projection loss, a scalar f64; undefined without encoders. */
  readonly alignment: Tensor | undefined
}

/** REPA's training loss and its gradients: mean(denoising) + alignWeight · alignment (loss.py). The caller disposes the losses. */
export function forwardBackward(model: SiT, batch: TrainingBatch, options: ObjectiveOptions): Losses {
  const { path, alignWeight, scaling, observe } = options
  return scope(() => {
    const { interpolated, velocity } = interpolant(batch.latents, batch.noise, batch.t, path)
    observe?.('interpolated', interpolated)
    using tape = new Tape({ accumulate: options.accumulate })
    const losses = tape.record((): Losses => {
      const project = batch.targets.length > 0
      const output = model.forward(interpolated, batch.t, batch.labels, { project })
      observe?.('velocity', output.velocity)
      output.projections.forEach((projection, k) => {
        observe?.(`projections.${k}`, projection)
      })
      return {
        denoising: velocityLoss(output.velocity, velocity, 1, scaling),
        alignment: project ? alignmentLoss(output.projections, batch.targets, alignWeight, scaling) : undefined,
      }
    })
    tape.backward(model.arena.parameters).dispose()
    return losses
  })
}
