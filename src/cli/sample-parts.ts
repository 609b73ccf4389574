import { statisticsDigest } from '../data/latent-encoder.ts'
import { previewOf } from '../diffusion/latent-preview.ts'
import type { Prompts } from '../diffusion/sample-images.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import { loadAutoencoder } from '../models/load-autoencoder.ts'
import { allowTf32, type Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { type LoadedModel, type LoadModelOptions, loadModel } from '../training/load-model.ts'
import { precisionPolicy } from '../training/precision.ts'
import { warnOfOtherPath } from './other-path.ts'
import type { Output } from './output.ts'
import { openPrompts } from './prompts.ts'
import type { SampleArguments } from './sample-options.ts'
import { warnOfIdleChoice } from './weights-choice.ts'

interface Surroundings {
  readonly device: Device
  readonly out: Output
}

/** The model that is sampled, in the precision that the flags name; the caller's to dispose. */
export async function openSampledModel(args: SampleArguments, { device, out }: Surroundings): Promise<LoadedModel> {
  const { dtype, tf32 } = precisionPolicy(args.precision, device)
  allowTf32(device, tf32)
  const loaded = await loadModel(args.checkpoint, {
    ...ofEveryCheckpoint(args, device),
    heads: args.heads,
    onNotice: (sentence) => out.warn(sentence),
  })
  try {
    warnOfIdleChoice(loaded, args.weights, out)
    loaded.model.computeIn(dtype)
    return loaded
  } catch (error) {
    loaded.model.dispose()
    throw error
  }
}

const ofEveryCheckpoint = ({ weights, kind, convention }: SampleArguments, device: Device): LoadModelOptions => ({
  device,
  weights,
  kind,
  convention,
})

/** What a model is sampled with. */
export interface SampleParts extends Disposable {
  /** Of a model of text. */
  readonly prompts: Prompts | undefined
  readonly autoencoder: Autoencoder | undefined
  readonly guide: LoadedModel | undefined
}

/** Opens what flags name and a model is sampled with, in their precision, and says what comes of it. */
export async function openParts(
  args: SampleArguments,
  loaded: LoadedModel,
  { device, out }: Surroundings,
): Promise<SampleParts> {
  const { dtype } = precisionPolicy(args.precision, device)
  warnOfOtherPath(loaded, args.path, out)
  const opened: Disposable[] = []
  const open = <Part extends Disposable & { computeIn(dtype: ComputeDType): void }>(part: Part): Part => {
    opened.push(part)
    part.computeIn(dtype)
    return part
  }
  const dispose = () => {
    for (const part of opened) part[Symbol.dispose]()
  }
  try {
    const prompts = await openPrompts(args, loaded, { device, out })
    if (prompts) open(prompts.encoder)
    const autoencoder = await openDecoder(args, device)
    if (autoencoder) open(autoencoder)
    for (const sentence of ofDecoding(args, loaded, autoencoder)) out.warn(sentence)
    const guide = await openGuide(args, { device, out })
    if (guide) open(guide.model)
    return { prompts, autoencoder, guide, [Symbol.dispose]: dispose }
  } catch (error) {
    dispose()
    throw error
  }
}

async function openDecoder(
  { autoencoder, autoencoderTile: tile }: SampleArguments,
  device: Device,
): Promise<Autoencoder | undefined> {
  return autoencoder === undefined ? undefined : await loadAutoencoder(autoencoder, { device, half: 'decoder', tile })
}

/** What to know of how a model's samples become pixels. */
function ofDecoding(
  { autoencoder: file, autoencoderTile: tile, latents }: SampleArguments,
  { model: { config }, latentStatistics, autoencoderStatistics }: LoadedModel,
  autoencoder: Autoencoder | undefined,
): string[] {
  const told = latentStatistics ?? autoencoderStatistics
  if (!autoencoder && config.channels === 3) {
    return told === undefined || told === statisticsDigest(undefined)
      ? []
      : [
          'The model was trained on latents, which have statistics, and there is no --autoencoder: their three channels are shown as if they were colours; name the autoencoder that made them.',
        ]
  }
  if (!autoencoder) {
    return [
      `The model makes latents and there is no --autoencoder: the images are ${previewOf(config.channels)}${latents === false ? '' : '; the latents go to latents.npz'}.`,
    ]
  }
  const isOfOthers = told !== undefined && statisticsDigest(autoencoder.statistics) !== told
  return [
    ...(isOfOthers
      ? [
          `The model's latents and the autoencoder ${file} do not have the same statistics: they are decoded at another scale than they were made at.`,
        ]
      : []),
    ...(tile !== undefined
      ? [
          `Images of latents larger than ${tile} are decoded in blended tiles, each normalised by its own statistics: not exactly what the whole would give.`,
        ]
      : []),
  ]
}

async function openGuide(args: SampleArguments, { device, out }: Surroundings): Promise<LoadedModel | undefined> {
  if (args.guide === undefined) return undefined
  const guide = await loadModel(args.guide, {
    ...ofEveryCheckpoint(args, device),
    heads: args.guideHeads,
    // --heads are the model's.
    onNotice: (sentence) => out.warn(sentence.replace('`heads`', '`guideHeads`')),
  })
  out.line(`guided by ${guide.source}: ${(guide.model.parameterCount / 1e6).toFixed(1)} M parameters`)
  return guide
}
