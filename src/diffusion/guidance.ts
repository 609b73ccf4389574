import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import type { TransformerOutput } from '../models/transformer-network.ts'
import { unchangedParameters } from '../models/unchanged-parameters.ts'
import type { InterpolantPath } from '../native.ts'
import { joinBatches, repeatBatch } from '../tensor/ops/batch.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/**
 * Classifier-free guidance: the prediction u + scale · (c − u), from the conditional one c and the unconditional one u. With a `guide` u is
 * that model's conditional prediction: autoguidance (arXiv 2406.02507).
 */
export interface Guidance {
  /** Above 1; 1: none. */
  readonly scale: number
  /** Active while low ≤ t ≤ high, t being the step's beginning: 0 at the data, 1 at the noise. */
  readonly low: number
  readonly high: number
  /** How many of the first channels are guided. Default: as many as the model's own code guides; with a `guide` all. */
  readonly channels?: number
  /** Scale of a class token that is sampled along (REG), in the same interval; 0: the conditional prediction. Default: `scale`. */
  readonly classTokenScale?: number
  /** The label of the unconditional half; by default the model's null class. */
  readonly nullLabel?: number
  /**
   * A worse model of the same images, smaller or trained less, that is asked with the labels too: what both get wrong, but it more, is what
   * guidance leads away from. It needs no null class, and stays the caller's to dispose.
   */
  readonly guide?: DiffusionTransformer
  /** The path that the guide learned, of a SiT. One of another than is sampled along is refused. Default: not known. */
  readonly guidePath?: InterpolantPath | undefined
  /** Digests of what the latents of both were standardised by, as `loadModel` says. A guide of others is refused. Default: not known. */
  readonly latentStatistics?: { readonly model?: string | undefined; readonly guide?: string | undefined }
}

/** How many channels are guided, of those that the model's input has. */
export function guidedChannels(model: DiffusionTransformer, { channels, guide }: Guidance): number {
  const all = model.config.channels
  return Math.min(channels ?? (guide ? all : model.guidedChannels), all)
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

/** The hidden states of a batch's captions [B, L, W], and of the empty caption [1, L, W]; the caller's to dispose. */
export interface TextCondition {
  readonly text: Tensor
  readonly none: Tensor
}

/** What each sample of a batch is of: a class, or of a model of text a caption. */
export type SampledCondition = Int32Array | TextCondition

/** A model and what it is told of a batch, asked with that alone or for what guides it too. */
export class ConditionalModel implements Disposable {
  readonly model: DiffusionTransformer
  readonly #guide: DiffusionTransformer | undefined
  /** Throws where the model, or its guide, is no longer what it was at first. */
  readonly #requireUnchanged: () => void
  readonly #condition: Tensor
  /** And for as many samples again the null class or the empty caption; undefined where nothing asks for them. */
  readonly #doubled: Tensor | undefined

  /**
   * @throws {RangeError} for labels of a model of text, or text of a model of classes; for a label that is none of the model's, the null
   *   label among them where there is guidance, and for a guide that predicts something else than the model
   */
  constructor(model: DiffusionTransformer, condition: SampledCondition, guidance?: Guidance, path?: InterpolantPath) {
    requireKindOfCondition(model, condition)
    requireGuidance(model, guidance, path)
    this.model = model
    const guided = isGuided(guidance) ? guidance : undefined
    const guide = guided?.guide
    this.#guide = guide
    this.#requireUnchanged = unchangedModels(model, guidance)
    // Away from the null class or the empty caption.
    const unconditional = guide ? undefined : guided
    if (condition instanceof Int32Array) {
      for (const asked of guide ? [model, guide] : [model]) requireLabels(asked, condition)
      const { length } = condition
      this.#condition = keep(Tensor.from(condition, [length], model.device))
      if (unconditional) {
        const doubled = new Int32Array(2 * length).fill(unconditional.nullLabel ?? model.nullClass)
        doubled.set(condition)
        this.#doubled = keep(Tensor.from(doubled, [2 * length], model.device))
      }
      return
    }
    const { text, none } = condition
    if (unconditional) {
      using nothing = repeatBatch(none, text.shape[0]!)
      this.#doubled = keep(joinBatches(text, nothing))
    }
    this.#condition = keep(text.alias())
  }

  /** What the model says of x [B, C, H, W], and of a class token [B, z] where it has one, at a time, with the condition. */
  predict(x: Tensor, t: number, classToken?: Tensor): Predictions {
    return this.#ask(this.model, x, t, this.#condition, classToken)
  }

  /** The same for twice as many samples, where there is guidance: with the condition, then without it or by the guide. */
  predictBoth(x: Tensor, t: number, classToken?: Tensor): Predictions {
    if (!this.#guide) return this.#ask(this.model, twice(x), t, this.#doubled!, classToken && twice(classToken))
    const own = this.predict(x, t, classToken)
    const guiding = this.#ask(this.#guide, x, t, this.#condition, classToken)
    return {
      prediction: joinBatches(own.prediction, guiding.prediction),
      classToken: own.classToken && joinBatches(own.classToken, guiding.classToken!),
    }
  }

  #ask(
    model: DiffusionTransformer,
    x: Tensor,
    t: number,
    condition: Tensor,
    classToken: Tensor | undefined,
  ): Predictions {
    this.#requireUnchanged()
    return model.forward(x, Tensor.full([x.shape[0]!], t, x.device), condition, { classToken })
  }

  [Symbol.dispose](): void {
    this.#condition.dispose()
    this.#doubled?.dispose()
  }
}

/** As `unchangedParameters`, of all models that are asked in a sampling: what this returns throws where one of them is no longer what it is now. */
export function unchangedModels(model: DiffusionTransformer, guidance: Guidance | undefined): () => void {
  const ofModel = unchangedParameters(model, 'A sampling')
  const guide = isGuided(guidance) ? guidance.guide : undefined
  const ofGuide = guide && unchangedParameters(guide, 'The guide of a sampling')
  return () => {
    ofModel()
    ofGuide?.()
  }
}

/** x [B, ...], and again: [2B, ...]. */
const twice = (x: Tensor): Tensor => joinBatches(x, x)

/**
 * Of guidance that is active, whatever it is that is sampled. `path` is the one that is sampled along; a DiT has none.
 *
 * @throws {RangeError} for a null label that the model has not, and for a guide that predicts something else than the model
 */
export function requireGuidance(
  model: DiffusionTransformer,
  guidance: Guidance | undefined,
  path: InterpolantPath | undefined,
): void {
  if (!isGuided(guidance)) return
  const { guide, nullLabel, scale } = guidance
  if (guide) requireGuide(model, guide, guidance, path)
  else if (!model.text) requireNullLabel(model, nullLabel ?? model.nullClass, scale)
  if (model.text && nullLabel !== undefined)
    throw new RangeError(`A model of text is guided away from the empty caption, and has no label ${nullLabel}.`)
}

function requireKindOfCondition({ text }: DiffusionTransformer, condition: SampledCondition): void {
  const isText = typeof condition === 'object' && condition !== null && 'text' in condition && 'none' in condition
  if (!isText && !(condition instanceof Int32Array)) {
    throw new TypeError(
      'Each sample of a batch is of a label, in an Int32Array, or of a caption, as the hidden states { text, none }; neither was given.',
    )
  }
  if ((text === undefined) === condition instanceof Int32Array) return
  throw new RangeError(
    text
      ? 'The model is told captions, and labels were given; give it the text of captions.'
      : 'The model is told classes, and captions were given; give it labels.',
  )
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

/** What a model's predictions are of and mean, by the settings that say so: sizes of its network are not among them. */
function predictedBy({ config, device }: DiffusionTransformer): Readonly<Record<string, string>> {
  const { channels, inputSize, classes, learnSigma, classTokenWidth, text } = config
  const { kind, convention } = config as { kind?: string; convention?: string }
  return {
    kind: String(kind),
    channels: String(channels),
    'input size': inputSize.join(' x '),
    classes: String(classes),
    'learned variance': String(learnSigma),
    'class token': String(classTokenWidth ?? 'none'),
    text: text ? `${text.tokens} x ${text.width}` : 'none',
    'convention of time': String(convention ?? 'none'),
    device,
  }
}

/** Whether both are known and not the same. */
const differ = (own: string | undefined, others: string | undefined) =>
  own !== undefined && others !== undefined && own !== others

function requireGuide(
  model: DiffusionTransformer,
  guide: DiffusionTransformer,
  { nullLabel, guidePath, latentStatistics }: Guidance,
  path: InterpolantPath | undefined,
): void {
  if (nullLabel !== undefined) {
    throw new RangeError(
      `A guide is asked with the labels, and nullLabel ${nullLabel} is of guidance without one; give one of them.`,
    )
  }
  const [own, others] = [predictedBy(model), predictedBy(guide)]
  const wrong = Object.keys(own).filter((name) => own[name] !== others[name])
  const differences = [
    ...wrong.map((name) => `its ${name} is ${others[name]}, not ${own[name]}`),
    ...(differ(path, guidePath) ? [`its path is ${guidePath}, not ${path}`] : []),
    ...(differ(latentStatistics?.model, latentStatistics?.guide)
      ? ['its latents were standardised by other statistics']
      : []),
  ]
  if (differences.length > 0) {
    throw new RangeError(`The guide does not predict what the model does: ${differences.join('; ')}.`)
  }
}
