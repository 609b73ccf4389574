/**
 * All that sampled images depend on, but for the weights of a caption encoder, of which there is the name: processes that share a sampling,
 * and calls that go on with one, have the same.
 */
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { makesLatents } from './sample-images.ts'
import type { SampleToFolderOptions } from './sample-to-folder.ts'
import { digestOf, samplingRecord } from './sampling-record.ts'
import { weightsDigest } from './weights-digest.ts'

/** [C, h, w] of the latents that are left beside the images; undefined: none are. */
export function keptLatents(
  model: AnyTransformer,
  { latents: wanted, autoencoder }: SampleToFolderOptions,
): readonly number[] | undefined {
  const isLatent = makesLatents(model, autoencoder)
  if (wanted && !isLatent) throw new RangeError('The model makes pixels and no latents; leave the latents out.')
  return (wanted ?? autoencoder === undefined) && isLatent
    ? [model.config.channels, ...model.config.inputSize]
    : undefined
}

/** Of a list, as many as a sentence has room for; of more their digest stands for them. */
const SHOWN = 32

/** All that the images and what is left beside them depend on; not on how they are shared and batched, but for the rounding of sums. */
export async function settingsOf(model: AnyTransformer, options: SampleToFolderOptions) {
  const { count, classes, guidance, autoencoder } = options
  const { step, sampling } = samplingRecord(model, options)
  // Files may lie elsewhere on another machine.
  const { guide, ...settings } = sampling
  const { latentScale, statistics } = autoencoder ?? {}
  const constants = [latentScale ?? 1, ...(statistics?.mean ?? []), ...(statistics?.std ?? [])]
  const digestOfGuide = guidance?.guide && (await weightsDigest([guidance.guide]))
  return {
    images: count,
    latents: keptLatents(model, options) !== undefined,
    guided: guide !== undefined,
    step: step ?? null,
    ...settings,
    classes: classes && classes.length > SHOWN ? digestOf(classes) : (classes ?? null),
    model: model.config,
    dtype: model.dtype,
    weights: await weightsDigest([model]),
    guideWeights: digestOfGuide ?? null,
    guideDtype: guidance?.guide?.dtype ?? null,
    autoencoderWeights: autoencoder ? await weightsDigest(autoencoder.networks) : null,
    autoencoderConstants: autoencoder ? digestOf(constants) : null,
  }
}
