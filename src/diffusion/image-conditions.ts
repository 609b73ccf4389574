import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { randomUniform } from '../tensor/random.ts'
import { type ImageConditions, type Prompts, requirePromptEncoder } from './sample-images.ts'

export interface WantedConditions {
  readonly count: number
  readonly seed: number
  /** In turn; drawn uniformly from the seed where neither they nor prompts are given. */
  readonly classes?: readonly number[] | undefined
  /** In turn. */
  readonly prompts?: Prompts | undefined
}

/**
 * What each of so many images is of.
 *
 * @throws {RangeError} for classes or captions that are none of the model's
 */
export async function conditionsFor(
  model: AnyTransformer,
  { count, seed, classes, prompts }: WantedConditions,
): Promise<ImageConditions> {
  if (!prompts) return { labels: await labelsFor(model, count, classes, seed) }
  return { prompts: { captions: captionsFor(model, prompts, count, classes), encoder: prompts.encoder } }
}

/** Those of some of the images. */
export function conditionsOf(all: ImageConditions, begin: number, end: number): ImageConditions {
  if (!all.prompts) return { labels: all.labels.subarray(begin, end) }
  const { captions, encoder } = all.prompts
  return { prompts: { captions: captions.slice(begin, end), encoder } }
}

function captionsFor(
  model: AnyTransformer,
  { captions, encoder }: Prompts,
  count: number,
  classes: readonly number[] | undefined,
): string[] {
  if (!model.text) throw new RangeError('The model is told classes, and captions were given; give it classes.')
  if (classes) throw new RangeError('The model is told captions, and classes were given too; leave them out.')
  if (captions.length === 0) throw new RangeError('There is no caption to sample an image of; give one at least.')
  requirePromptEncoder(model, encoder)
  return Array.from({ length: count }, (_, i) => captions[i % captions.length]!)
}

async function labelsFor(
  model: AnyTransformer,
  count: number,
  classes: readonly number[] | undefined,
  seed: number,
): Promise<Int32Array> {
  if (model.text) throw new RangeError('The model is told captions, and has no classes; give it prompts.')
  const total = model.config.classes
  if (classes) {
    const wrong = classes.find((label) => !(label >= 0 && label < total))
    if (wrong !== undefined || classes.length === 0) {
      throw new RangeError(`There is no class ${wrong ?? '(none given)'}: the model has the classes 0 to ${total - 1}.`)
    }
    return Int32Array.from({ length: count }, (_, i) => classes[i % classes.length]!)
  }
  using uniform = randomUniform([count], { seed, stream: 'sampleLabels', step: 0 }, model.device)
  return Int32Array.from(await uniform.data(), (u) => Math.min(total - 1, Math.floor(u * total)))
}
