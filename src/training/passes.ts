/**
 * A step and the equal passes that it may be made in (gradient accumulation): what each sees of the batch, and what they say together.
 *
 *   Batch           what the loader reads of the step's samples, on the host
 *   StepInputs      on the device, with everything that is drawn for them; what a captured step reads
 *   EncodedInputs   their latents are there, be it that an autoencoder has just made them
 *   TrainingBatch   of one pass: what the model is shown and told, and what it is compared with
 */
import { cast } from '../tensor/ops/cast.ts'
import { linearCombination } from '../tensor/ops/float64.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What a step starts from, on the device. */
export type StepInputs = SampleInputs & {
  /** f64 [1]; undefined where the learning rate is the same at every step. */
  readonly learningRateFactor: Tensor | undefined
}

/** With latents, the data's or those that were made of the images. */
export type EncodedInputs = SampleInputs & { readonly stored: Tensor }

/** The samples, and what is drawn for them. The leading axis of each is the batch. */
export type SampleInputs = EachSample & ConditionInputs & RouteInputs

/** What the model is told of each sample, already dropped: its class, or the tokens [B, L] of one of its captions. i32. */
type ConditionInputs =
  | { readonly labels: Tensor; readonly captionIds: undefined }
  | { readonly labels: undefined; readonly captionIds: Tensor }

/** What `randomTokens` draws for a route, where there is one. */
type RouteInputs =
  | { readonly keptIds: Tensor; readonly keptPlaces: Tensor }
  | { readonly keptIds: undefined; readonly keptPlaces: undefined }

type EachSample = {
  /** Latents, or their posterior's moments, as the data hold them; undefined where they are made of the images. */
  readonly stored: Tensor | undefined
  readonly posteriorNoise: Tensor | undefined
  /** Undefined where neither an encoder nor an autoencoder runs. */
  readonly images: Tensor | undefined
  /** Cached features, by the encoder's place among those that are cached. */
  readonly [cached: `features${number}`]: Tensor | undefined
  readonly t: Tensor
  /** Undefined without self-alignment. */
  readonly teacherT: Tensor | undefined
  readonly noise: Tensor
  /** Places i32 in the whole batch, of all processes; undefined where flows are not contrasted. */
  readonly negatives: Tensor | undefined
  /** Undefined where no class token is denoised. */
  readonly classTokenNoise: Tensor | undefined
}

/** Means over the batch, one number (f32) each. */
export type StepLosses = {
  readonly denoising: Tensor
  readonly vb: Tensor | undefined
  readonly velocityCosine: Tensor | undefined
  readonly alignment: Tensor | undefined
  readonly attentionAlignment: Tensor | undefined
  readonly selfAlignment: Tensor | undefined
  readonly dispersive: Tensor | undefined
  readonly contrastive: Tensor | undefined
  readonly classToken: Tensor | undefined
}

/** The samples of pass `pass`, from 0, of `passes`: views, with everything that was drawn for them in the whole batch. */
export function inputsOfPass<Inputs extends SampleInputs>(inputs: Inputs, pass: number, passes: number): Inputs {
  if (passes === 1) return inputs
  const part = (tensor: Tensor) => {
    const samples = tensor.shape[0]! / passes
    return tensor.slice(pass * samples, (pass + 1) * samples)
  }
  return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor && part(tensor)])) as Inputs
}

/**
 * A process's share of the batch's means, from those of its passes, which have equally many samples: the processes' shares add up to them.
 * With one process these are the means.
 */
export function lossesOfPasses(passes: readonly StepLosses[], processes: number): StepLosses {
  const [first] = passes
  const count = passes.length * processes
  if (count === 1) return first!
  return scope(() => {
    const entries = Object.entries(first!).map(([name, loss]) => [
      name,
      loss && cast(linearCombination(passes.map((losses) => [1 / count, losses[name as keyof StepLosses]!])), 'f32'),
    ])
    return Object.fromEntries(entries) as StepLosses
  })
}
