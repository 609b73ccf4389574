import type { Autoencoder } from '../models/autoencoder.ts'
import { DiT } from '../models/dit.ts'
import { NotFiniteError } from '../models/not-finite-error.ts'
import type { AnyTransformer, TransformerKind } from '../models/transformer-kinds.ts'
import { cast } from '../tensor/ops/cast.ts'
import { toUint8 } from '../tensor/ops/pixels.ts'
import { randomNormal } from '../tensor/random.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { EMPTY_CAPTION, encodeCaptions, requireFittingEncoder } from '../text/encoded-captions.ts'
import { type DiffusionSamplerOptions, sampleDiffusion } from './ddpm-sampler.ts'
import { DIFFUSION_STEPS } from './gaussian-diffusion.ts'
import { requireGuidance, type SampledCondition, unchangedModels } from './guidance.ts'
import { previewLatents } from './latent-preview.ts'
import { respacedSteps } from './respacing.ts'
import { diffusionSamplerSchema, requireBatches, requireImageSampler, samplerSchema } from './sampler-options.ts'
import { type SamplerOptions, sampleFlow } from './samplers.ts'

/** How a model is sampled: a SiT through its ODE or SDE, a DiT back through its diffusion (`ddpm`, `ddim`). */
export type SamplingOptions =
  | Omit<SamplerOptions, 'noise' | 'classToken' | 'onStep' | 'observe'>
  | Omit<DiffusionSamplerOptions, 'noise' | 'onStep' | 'observe' | 'observeInput'>

export type SamplingMode = SamplingOptions['mode']

/** The modes in which a kind of model is sampled, the reference's first. */
export const SAMPLING_MODES = {
  SiT: ['ode', 'sde'],
  DiT: ['ddpm', 'ddim'],
} as const satisfies Record<TransformerKind, readonly SamplingMode[]>

/** Captions, and what encodes them. */
export interface Prompts {
  readonly captions: readonly string[]
  /** On the model's device. */
  readonly encoder: CaptionEncoder
}

/** What each image is of: a class, the null class being none, or of a model of text a caption. */
export type ImageConditions =
  | { readonly labels: Int32Array; readonly prompts?: undefined }
  | { readonly prompts: Prompts; readonly labels?: undefined }

export interface BatchOptions {
  /** Number of the first of them, where they are a part of more. Default 0. */
  readonly firstImage?: number
  readonly seed: number
  readonly batch: number
  /** Decodes the latents of a latent model. Without, the images are a preview (latent-preview.ts), one pixel per latent element. */
  readonly autoencoder?: Autoencoder | undefined
  /** Called after each solver step of each batch, with the images' worth of work done so far. */
  readonly onProgress?: (imagesDone: number) => void
}

export interface SampledImages {
  /** Number of the first image. */
  readonly first: number
  readonly count: number
  /** What the sampler ended with, [count, C, H, W]. */
  readonly latents: Float64Array
  /** Bytes [count, H, W, 3]: the pixels of a pixel model; of a latent model its decoded latents, or a preview of them. */
  readonly images: Uint8Array
  readonly height: number
  readonly width: number
}

export type SampleImagesOptions = SamplingOptions & BatchOptions & ImageConditions

/**
 * Samples images in batches. Image number i depends on the seed, i and its label or caption alone: its noise is that of sample i, and the batch
 * moves no more than the last bits of its sums. Not so with dopri5, which chooses its steps by the errors of all images of a batch: there
 * another batch gives other images, within the tolerance.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a label or a mode that the model has not; {NotFiniteError} naming
 *   the first image that does not become finite; {Error} where the model's parameters change before the last batch is there
 */
export async function* sampleImages(
  model: AnyTransformer,
  options: SampleImagesOptions,
): AsyncGenerator<SampledImages, void, void> {
  const {
    labels,
    prompts,
    firstImage = 0,
    seed,
    batch,
    autoencoder,
    onProgress,
    ...sampler
    // Of a program without types it may be missing.
  } = options ?? ({} as SampleImagesOptions)
  requireBatches({ labels, prompts, firstImage, seed, batch, autoencoder, onProgress })
  requireSampling(model, sampler)
  requireDecodable(model, autoencoder)
  if (prompts) requirePromptEncoder(model, prompts.encoder)
  const { channels, inputSize } = model.config
  const [height, width] = inputSize
  const { device, classTokenWidth } = model
  const requireUnchanged = unchangedModels(model, sampler.guidance)
  // As they are now: a batch may be asked for when the caller has filled them with the next ones.
  const own = labels ? { labels: labels.slice() } : { captions: prompts.captions.slice() }
  const total = (own.labels ?? own.captions).length
  using none = prompts && encodeCaptions(prompts.encoder, [EMPTY_CAPTION])
  for (let done = 0; done < total; done += batch) {
    requireUnchanged()
    const first = firstImage + done
    const count = Math.min(batch, total - done)
    const shape = [count, channels, height, width]
    using noise = randomNormal(shape, { seed, stream: 'sampleNoise', step: 0, firstSample: first }, device)
    const token = [count, classTokenWidth ?? 0]
    using classToken =
      classTokenWidth === undefined
        ? undefined
        : randomNormal(token, { seed, stream: 'sampleClassToken', step: 0, firstSample: first }, device)
    using text = prompts && encodeCaptions(prompts.encoder, own.captions!.slice(done, done + count))
    const condition = text ? { text, none: none! } : own.labels!.subarray(done, done + count)
    using state = await sampleBatch(model, noise, condition, {
      ...sampler,
      noise: (step) => randomNormal(shape, { seed, stream: 'sdeNoise', step, firstSample: first }, device),
      ...(classToken && {
        classToken: {
          start: classToken,
          noise: (step: number) =>
            randomNormal(token, { seed, stream: 'sdeClassToken', step, firstSample: first }, device),
        },
      }),
      onStep: (step, steps) => onProgress?.(done + (count * step) / steps),
    })
    const latents = await state.dataAs('f64')
    requireFinite(latents, first, count)
    yield { first, count, latents, ...(await imagesOf(model, state, latents, autoencoder)) }
  }
}

function requireFinite(latents: Float64Array, first: number, count: number): void {
  const bad = latents.findIndex((value) => !Number.isFinite(value))
  if (bad < 0) return
  const image = first + Math.floor((bad * count) / latents.length)
  throw new NotFiniteError(
    `Image ${image} has a value that is ${latents[bad]} when its sampling ends; check the model's weights, the guidance, and the precision.`,
  )
}

/** Samples as the mode says, which must be one of the model's kind. */
function sampleBatch(
  model: AnyTransformer,
  noise: Tensor,
  condition: SampledCondition,
  options: SamplerOptions | DiffusionSamplerOptions,
): Promise<Tensor> {
  if (model instanceof DiT) {
    if (isOfDiffusion(options)) return sampleDiffusion(model, noise, condition, options)
  } else if (!isOfDiffusion(options)) {
    return sampleFlow(model, noise, condition, options)
  }
  throw wrongMode(model, options)
}

function isOfDiffusion(options: { readonly mode: SamplingMode }): options is DiffusionSamplerOptions {
  return options.mode === 'ddpm' || options.mode === 'ddim'
}

function wrongMode({ config: { kind } }: AnyTransformer, { mode }: { readonly mode: SamplingMode }): RangeError {
  return new RangeError(`A ${kind} is sampled in the modes ${SAMPLING_MODES[kind].join(' and ')}, not in ${mode}.`)
}

/**
 * Of the sampler that a model is sampled by.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a mode, guidance or steps that the model has not
 */
export function requireSampling(model: AnyTransformer, options: SamplingOptions): void {
  const isDiT = model instanceof DiT
  if (isDiT !== isOfDiffusion(options)) throw wrongMode(model, options)
  requireImageSampler(isDiT ? diffusionSamplerSchema : samplerSchema, options)
  const path = options.mode === 'ode' || options.mode === 'sde' ? (options.path ?? 'linear') : undefined
  requireGuidance(model, options.guidance, path)
  if (isOfDiffusion(options)) respacedSteps(DIFFUSION_STEPS, String(options.steps))
}

/** Whether a model's samples are latents. Three channels are pixels, unless there is what decodes them: some autoencoders' latents have three. */
export function makesLatents({ config }: AnyTransformer, autoencoder: Autoencoder | undefined): boolean {
  return config.channels !== 3 || autoencoder !== undefined
}

/** Height and width of the images that `sampleImages` gives. */
export function imageSizeOf(
  model: AnyTransformer,
  autoencoder: Autoencoder | undefined,
): [height: number, width: number] {
  const { inputSize } = model.config
  const factor = autoencoder?.downsampling ?? 1
  return [inputSize[0] * factor, inputSize[1] * factor]
}

/** @throws {RangeError} where a model of text reads other hidden states of a caption, or on another device, than the encoder makes */
export function requirePromptEncoder({ text, device }: AnyTransformer, encoder: CaptionEncoder): void {
  if (text) requireFittingEncoder(encoder, { text, device })
}

function requireDecodable({ config }: AnyTransformer, autoencoder: Autoencoder | undefined): void {
  if (autoencoder && config.channels !== autoencoder.latentChannels) {
    throw new RangeError(
      `The model makes ${config.channels === 3 ? 'pixels, or latents,' : 'latents'} of ${config.channels} channels; the autoencoder ${autoencoder.name} decodes ${autoencoder.latentChannels}.`,
    )
  }
}

/** What a sampler ended with, f64 [N, C, h, w], as pixels [N, H, W, 3]. */
async function imagesOf(
  { pixelRounding: rounding }: AnyTransformer,
  state: Tensor,
  latents: Float64Array,
  autoencoder: Autoencoder | undefined,
): Promise<Pick<SampledImages, 'images' | 'height' | 'width'>> {
  const [, channels, height, width] = state.shape as [number, number, number, number]
  if (autoencoder) {
    using z = cast(state, 'f32')
    const { bytes, ...size } = await autoencoder.decode(z, { rounding })
    return { images: bytes, ...size }
  }
  if (channels !== 3) return { images: previewLatents(latents, state.shape), height, width }
  using bytes = toUint8(state, { rounding })
  return { images: await bytes.dataAs('u8'), height, width }
}
