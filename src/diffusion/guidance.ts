import type { DiffusionTransformer, TransformerOutput } from '../models/diffusion-transformer.ts'
import { native } from '../native.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Classifier-free guidance: the prediction u + scale · (c − u), from the conditional one c and the unconditional one u. */
export interface Guidance {
  /** 1: none. */
  readonly scale: number
  /** Active while low ≤ t ≤ high, t being the step's beginning: 0 at the data, 1 at the noise. */
  readonly low: number
  readonly high: number
  /** How many of the first channels are guided. Default: as many as the model's own code guides. */
  readonly channels?: number
  /** Scale of a class token that is sampled along (REG), in the same interval; 0: the conditional prediction. Default: `scale`. */
  readonly classTokenScale?: number
  /** The label of the unconditional half; by default the model's null class. */
  readonly nullLabel?: number
}

/** How many channels are guided, of those that the model's input has. */
export function guidedChannels(model: DiffusionTransformer, { channels = model.guidedChannels }: Guidance): number {
  return Math.min(channels, model.config.channels)
}

/** Whether guidance is active at any time. */
export function isGuided(guidance: Guidance | undefined): guidance is Guidance {
  return guidance !== undefined && guidance.scale > 1
}

/** Whether guidance is active at a time from 0 (data) to 1 (noise). */
export function isGuidedAt(guidance: Guidance | undefined, time: number): guidance is Guidance {
  return isGuided(guidance) && time >= guidance.low && time <= guidance.high
}

type Predictions = Pick<TransformerOutput, 'prediction' | 'classToken'>

/** A model and the labels of a batch, asked with them alone or also without. */
export class ConditionalModel implements Disposable {
  readonly model: DiffusionTransformer
  readonly #labels: Tensor
  readonly #doubledLabels: Tensor

  /** @throws {RangeError} for a label that is none of the model's, the null label among them where there is guidance */
  constructor(model: DiffusionTransformer, labels: Int32Array, guidance?: Guidance) {
    const nullLabel = guidance?.nullLabel ?? model.nullClass
    requireLabels(model, labels)
    if (isGuided(guidance)) requireNullLabel(model, nullLabel, guidance.scale)
    this.model = model
    const doubled = new Int32Array(2 * labels.length).fill(nullLabel)
    doubled.set(labels)
    this.#labels = keep(Tensor.from(labels, [labels.length], model.device))
    this.#doubledLabels = keep(Tensor.from(doubled, [doubled.length], model.device))
  }

  /** What the model says of x [B, C, H, W], and of a class token [B, z] where it has one, at a time, with the labels. */
  predict(x: Tensor, t: number, classToken?: Tensor): Predictions {
    return this.#ask(x, t, this.#labels, classToken)
  }

  /** The same for twice as many samples: with the labels, then without. */
  predictBoth(x: Tensor, t: number, classToken?: Tensor): Predictions {
    return this.#ask(twice(x), t, this.#doubledLabels, classToken && twice(classToken))
  }

  #ask(x: Tensor, t: number, labels: Tensor, classToken: Tensor | undefined): Predictions {
    return this.model.forward(x, Tensor.full([x.shape[0]!], t, x.device), labels, { classToken })
  }

  [Symbol.dispose](): void {
    this.#labels.dispose()
    this.#doubledLabels.dispose()
  }
}

/** x [B, ...], and again: [2B, ...]. */
function twice(x: Tensor): Tensor {
  const [batch, ...rest] = x.shape
  const doubled = Tensor.empty([2 * batch!, ...rest], x.device)
  native().copy(doubled.slice(0, batch!).handle, x.handle)
  native().copy(doubled.slice(batch!, 2 * batch!).handle, x.handle)
  return doubled
}

/** A label without a row in the table would be an embedding of NaN, and every pixel with it. */
function hasRow({ config: { classes, classDropout } }: DiffusionTransformer, label: number): boolean {
  return label >= 0 && label < (classDropout > 0 ? classes + 1 : classes)
}

function requireLabels(model: DiffusionTransformer, labels: Int32Array): void {
  const { classes, classDropout } = model.config
  const wrong = labels.find((label) => !hasRow(model, label))
  if (wrong === undefined) return
  const orNone = classDropout > 0 ? `, and ${classes} for none` : ''
  throw new RangeError(`There is no class ${wrong}: the model has the classes 0 to ${classes - 1}${orNone}.`)
}

function requireNullLabel(model: DiffusionTransformer, nullLabel: number, scale: number): void {
  if (hasRow(model, nullLabel)) return
  throw new RangeError(
    `Guidance of scale ${scale} needs a null class, and there is no ${nullLabel}` +
      `${model.config.classDropout > 0 ? '.' : ': the model was made without label dropout. Sample it with a scale of 1.'}`,
  )
}
