/**
 * One pass of training: an objective noises the latents and takes the losses of what the model says of them, REPA's alignment is added,
 * and the gradients follow.
 */
import { attentionLoss } from '../alignment/attention-alignment.ts'
import { type Dispersive, dispersiveLoss } from '../alignment/dispersive.ts'
import { alignmentLoss, type FeatureLoss } from '../alignment/repa.ts'
import { type SelfAlignment, selfAlignmentLoss } from '../alignment/self-alignment.ts'
import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { isInside } from '../models/token-route.ts'
import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'
import { cast } from '../tensor/ops/cast.ts'
import { takeSubset } from '../tensor/ops/token-subset.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { scope } from '../tensor/scope.ts'
import { Tape, type TapeOptions } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { contrastiveLoss } from './contrastive-flow.ts'
import type { DenoisingLosses, Objective, TrainingBatch } from './objective.ts'

export interface Losses extends DenoisingLosses {
  /** The projection loss, a scalar f64; undefined without encoders. */
  readonly alignment: Tensor | undefined
  /** A scalar f64; undefined where no attention is compared. */
  readonly attentionAlignment?: Tensor | undefined
  /** A scalar f64; undefined without self-alignment. */
  readonly selfAlignment?: Tensor | undefined
  /** One number; undefined where nothing is dispersed. */
  readonly dispersive?: Tensor | undefined
  /** The mean squared distance from the negatives, [B]; undefined where flows are not contrasted. */
  readonly contrastive?: Tensor | undefined
  /** Per sample [B]; undefined where no class token is denoised. */
  readonly classToken?: Tensor | undefined
}

export interface PassOptions {
  readonly objective: Objective
  /** Weight of the alignment loss (proj_coeff). */
  readonly alignWeight: number
  /** Default: REPA's negative cosine. */
  readonly featureLoss?: FeatureLoss
  /** Of the batch's `attentionTargets`, and of the model's as many blocks up to `alignDepth`. */
  readonly attention?: { readonly weight: number; readonly heads: number } | undefined
  /** Takes part where the batch has a teacher's states. */
  readonly selfAlignment?: Pick<SelfAlignment, 'weight' | 'depth'>
  readonly dispersive?: Dispersive
  /** Of the distance from the batch's negatives, which is subtracted. Default 0. */
  readonly contrastiveWeight?: number
  /** Weight of the class token's loss, where the batch has one. Default 0. */
  readonly classTokenWeight?: number
  /** An optimizer's state (`AdamW.scaling`), by whose loss scale all gradients are multiplied. */
  readonly scaling?: Tensor
  /** Add to the gradients of an earlier pass. */
  readonly accumulate?: boolean
  /** What is computed again in the backward pass instead of being kept: the same bits in less memory. Default: nothing. */
  readonly recompute?: Recomputation
  /** Told of parameters whose gradients are final, while the backward pass makes the rest (`TapeOptions.onFinal`). */
  readonly onFinal?: TapeOptions['onFinal']
  /** Shown the pass's tensors: the model's `input` and `prediction`, `projections.K`. */
  readonly observe?: (name: string, tensor: Tensor) => void
}

/**
 * The training loss, mean(denoising) [+ mean(vb)] [+ weight · mean(velocityCosine)] + alignWeight · alignment (REPA's loss.py) and what the
 * options add, each by its weight; and its gradients. The caller disposes the losses.
 */
export function forwardBackward(model: DiffusionTransformer, batch: TrainingBatch, options: PassOptions): Losses {
  const { objective, alignWeight, scaling, observe, dispersive, contrastiveWeight = 0, classTokenWeight = 0 } = options
  const { negatives, route } = batch
  const { alignDepth } = model.config
  const attention = options.attention &&
    batch.attentionTargets && { ...options.attention, targets: batch.attentionTargets }
  const selfAlignment = batch.teacher && options.selfAlignment
  /** Of the tokens that leave block `depth`. */
  const leaving = (features: Tensor, depth: number) =>
    route && isInside(route, depth) ? takeSubset(cast(features, 'f32'), route.kept) : features
  return scope(() => {
    const noised = objective.noised(batch)
    const targets = batch.targets.map((features) => leaving(features, alignDepth))
    const teacher = selfAlignment && leaving(batch.teacher!, selfAlignment.depth)
    observe?.('input', noised.input)
    const token = batch.classToken && objective.noisedClassToken!(batch.classToken, batch.t)
    using tape = new Tape(options)
    const losses = tape.record((): Losses => {
      const project = targets.length > 0
      const hidden = new Map<string, Tensor>()
      const shown: PackedHeads[] = []
      const { prediction, projections, classToken } = model.forward(noised.input, noised.t, batch.condition, {
        project,
        classToken: token?.input,
        route,
        attention: attention && {
          from: alignDepth - attention.targets.length + 1,
          to: alignDepth,
          show: (heads) => shown.push(heads),
        },
        ...((selfAlignment || dispersive) && { observe: (name, tensor) => hidden.set(name, tensor) }),
      })
      const after = (depth: number) => hidden.get(`blocks.${depth - 1}`)!
      observe?.('prediction', prediction)
      projections.forEach((projection, k) => {
        observe?.(`projections.${k}`, projection)
      })
      return {
        ...noised.losses(prediction, scaling),
        alignment: project ? alignmentLoss(projections, targets, alignWeight, scaling, options.featureLoss) : undefined,
        attentionAlignment:
          attention && attentionLoss(shown, attention.targets, attention.heads, attention.weight, scaling),
        selfAlignment:
          selfAlignment &&
          selfAlignmentLoss(model, after(selfAlignment.depth), teacher!, selfAlignment.weight, scaling),
        dispersive: dispersive && dispersiveLoss(after(dispersive.depth), dispersive, scaling),
        contrastive: negatives && contrastiveLoss(prediction, negatives, contrastiveWeight, scaling),
        classToken: token?.loss(classToken!, classTokenWeight, scaling),
      }
    })
    tape.backward(model.arena.parameters).dispose()
    return losses
  })
}
