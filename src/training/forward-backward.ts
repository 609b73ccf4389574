/**
 * One pass of training: an objective noises the latents and takes the losses of what the model says of them, REPA's alignment is added,
 * and the gradients follow.
 */
import * as z from 'zod'
import { attentionLoss } from '../alignment/attention-alignment.ts'
import { type Dispersive, dispersiveLoss } from '../alignment/dispersive.ts'
import { alignmentLoss, type FeatureLoss } from '../alignment/repa.ts'
import { type SelfAlignment, selfAlignmentLoss } from '../alignment/self-alignment.ts'
import { aFunction, anObjectWith } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { isInside } from '../models/token-route.ts'
import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'
import { cast } from '../tensor/ops/cast.ts'
import { takeSubset } from '../tensor/ops/token-subset.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { scope } from '../tensor/scope.ts'
import { Tape, type TapeOptions, tapeOptions } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { aTensor } from '../tensor/tensor-schema.ts'
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

const batchSchema = whenNeeded(() => {
  /** What is checked where it is used. */
  const elsewhere = z.unknown().optional()
  return z.strictObject({
    latents: aTensor(),
    condition: aTensor(),
    t: aTensor(),
    noise: aTensor(),
    targets: z.array(aTensor()),
    attentionTargets: elsewhere,
    teacher: aTensor().optional(),
    negatives: aTensor().optional(),
    route: elsewhere,
    classToken: elsewhere,
  } satisfies Record<keyof TrainingBatch, z.ZodType>)
})

const optionsSchema = whenNeeded(() => {
  const weight = z.number()
  const depth = z.int().positive()
  return z.strictObject({
    ...tapeOptions(),
    objective: anObjectWith('noised', 'an objective, as objectiveFor gives it'),
    alignWeight: weight,
    featureLoss: aFunction().optional(),
    attention: z.strictObject({ weight, heads: z.int().positive() }).optional(),
    // A trainer's has more.
    selfAlignment: z.looseObject({ weight, depth }).optional(),
    dispersive: z.strictObject({ weight, depth, temperature: z.number().positive() }).optional(),
    contrastiveWeight: weight.optional(),
    classTokenWeight: weight.optional(),
    scaling: aTensor("an optimizer's state").optional(),
    observe: aFunction().optional(),
  } satisfies Record<keyof PassOptions, z.ZodType>)
})

/** Throws for what a pass would pass over: a misspelt weight leaves no trace but in the weights. */
function requirePass({ config }: DiffusionTransformer, batch: TrainingBatch, options: PassOptions): void {
  parseConfiguration(batchSchema(), batch, 'the batch of forwardBackward')
  parseConfiguration(optionsSchema(), options, 'the options of forwardBackward')
  const depths = { dispersive: options.dispersive?.depth, selfAlignment: batch.teacher && options.selfAlignment?.depth }
  for (const [name, depth] of Object.entries(depths)) {
    if (depth !== undefined && depth > config.depth)
      throw new RangeError(`forwardBackward: ${name}.depth is ${depth}, and the model has ${config.depth} blocks.`)
  }
}

/**
 * The training loss, mean(denoising) [+ mean(vb)] [+ weight · mean(velocityCosine)] + alignWeight · alignment (REPA's loss.py) and what the
 * options add, each by its weight; and its gradients. The caller disposes the losses.
 *
 * @throws {ConfigurationError} naming what of the batch or the options is wrong; {RangeError} for a depth that the model has not
 */
export function forwardBackward(model: DiffusionTransformer, batch: TrainingBatch, options: PassOptions): Losses {
  requirePass(model, batch, options)
  const { objective, alignWeight, scaling, observe, dispersive, contrastiveWeight = 0, classTokenWeight = 0 } = options
  const { accumulate, recompute, onFinal } = options
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
    using tape = new Tape({ accumulate, recompute, onFinal })
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
