import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { mapInOrder } from '../data/ordered-map.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { unchangedParameters } from '../models/unchanged-parameters.ts'
import type { InterpolantPath } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { repeatBatch } from '../tensor/ops/batch.ts'
import { samplePosterior } from '../tensor/ops/interpolant.ts'
import { dropTokens, firstToken } from '../tensor/ops/tokens.ts'
import { randomNormal } from '../tensor/random.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { EMPTY_CAPTION, encodeCaptions, requireFittingEncoder } from '../text/encoded-captions.ts'
import { meanOfTokens } from './feature-network.ts'
import { requireFiniteFeatures } from './finite-features.ts'
import { noisyInput } from './noisy-input.ts'

/** Samples that are read at a time. */
const READ_AT_ONCE = 8
/** Steps of a run end far below: noise and posteriors of an evaluation are none that the training drew. */
const EVALUATION_STEP = 2 ** 40

export interface BlockFeaturesOptions {
  readonly model: AnyTransformer
  readonly data: Dataset
  /** Makes the latents of the data set's images, in place of those that it holds. */
  readonly autoencoder?: Autoencoder | undefined
  /** The samples, by their places in the data set. */
  readonly indices: ArrayLike<number>
  /** Blocks whose output is looked at, from 1. */
  readonly layers: readonly number[]
  /** From 0, the data, to 1, noise: see `noisyInput`. */
  readonly noise: number
  readonly path: InterpolantPath
  readonly seed: number
  readonly batch: number
  /** Of a model that denoises a class token along (REG): whose class token that is. It is noised as the latents are. */
  readonly classTokenEncoder?: Encoder | undefined
  /** Of a model of text: what encodes its captions, of which it is shown the empty one. */
  readonly captionEncoder?: CaptionEncoder | undefined
  /** Whose features of the images come along, averaged over their tokens. */
  readonly encoder?: { readonly encoder: Encoder; readonly grid: readonly [number, number] } | undefined
  readonly signal?: AbortSignal | undefined
}

export interface BlockFeatures {
  readonly labels: Int32Array
  /** For every layer [n, hidden]: its output, averaged over the latents' tokens. */
  readonly layers: readonly Float32Array[]
  /** [n, width] of the encoder. */
  readonly encoder: Float32Array | undefined
}

/**
 * What a model's blocks make of noisy samples, batch by batch, in the order of `indices`. The model is told no class (the null class
 * of guidance), or of text the empty caption, so that nothing of the label leaks in. The noise of sample i of `indices` depends on the
 * seed, the noise level and i.
 *
 * @throws Error for a model without null class, one that does not fit the data or the class token's encoder, features that are not finite, and
 *   parameters that change before the last batch is there
 */
export async function* blockFeatures(options: BlockFeaturesOptions): AsyncGenerator<BlockFeatures> {
  const { model, autoencoder, indices, layers, encoder, classTokenEncoder, signal } = options
  const data = autoencoder ? options.data.encoded(autoencoder) : options.data
  requireReadableBlocks(model, data, layers)
  requireClassToken(model, classTokenEncoder)
  requireCaptionEncoder(model, options.captionEncoder)
  const requireUnchanged = unchangedParameters(model, "The reading of a model's features")
  using empty = options.captionEncoder && encodeCaptions(options.captionEncoder, [EMPTY_CAPTION])
  const wantsImages = encoder || autoencoder || classTokenEncoder
  const latentLength = data.storedLatentShape.reduce((product, size) => product * size, 1)
  for (let first = 0; first < indices.length; first += options.batch) {
    signal?.throwIfAborted()
    const count = Math.min(options.batch, indices.length - first)
    const latents = autoencoder ? undefined : new Float32Array(count * latentLength)
    const images = wantsImages ? new Uint8Array(count * data.imageLength) : undefined
    const labels = new Int32Array(count)
    const places = Array.from({ length: count }, (_, i) => i)
    const reading = mapInOrder(places, READ_AT_ONCE, async (i) => {
      const index = indices[first + i]!
      labels[i] = data.labels[index]!
      await data.readInto(index, {
        ...(latents && { latent: latents.subarray(i * latentLength, (i + 1) * latentLength) }),
        ...(images && { image: images.subarray(i * data.imageLength, (i + 1) * data.imageLength) }),
      })
    })
    for await (const _ of reading);
    requireUnchanged()
    yield { labels, ...(await ofBatch({ ...options, data }, { first, count, latents, images, empty })) }
  }
}

interface LoadedBatch {
  readonly first: number
  readonly count: number
  readonly latents: Float32Array | undefined
  readonly images: Uint8Array | undefined
  /** [1, L, W] of the empty caption, of a model of text. */
  readonly empty: Tensor | undefined
}

async function ofBatch(
  { model, data, autoencoder, layers, noise, path, seed, encoder, classTokenEncoder }: BlockFeaturesOptions,
  { first, count, latents, images, empty }: LoadedBatch,
): Promise<Omit<BlockFeatures, 'labels'>> {
  const { device } = model
  const shape = [count, ...data.latentShape]
  const key = { seed, step: EVALUATION_STEP + Math.round(noise * 2 ** 20), firstSample: first }
  const pooled = new Map<number, Tensor>()
  try {
    scope(() => {
      const planes = images && planesOf(images, data, device)
      let clean = latents
        ? Tensor.from(latents, [count, ...data.storedLatentShape], device)
        : autoencoder!.encodeImages(planes!)
      if (data.latentKind === 'moments') {
        const drawn = randomNormal(shape, { ...key, stream: 'posterior' }, device)
        clean = samplePosterior(clean, drawn, data.latentScale, 0)
      }
      const noisy = (data: Tensor, stream: 'noise' | 'classTokenNoise') =>
        noisyInput(model, data, randomNormal(data.shape, { ...key, stream }, device), noise, path)
      const { x, t } = noisy(clean, 'noise')
      const condition = empty
        ? repeatBatch(empty, count)
        : Tensor.from(new Int32Array(count).fill(model.nullClass), [count], device)
      const classToken =
        classTokenEncoder && noisy(classTokenOf(classTokenEncoder, planes!, model), 'classTokenNoise').x
      // What comes behind the deepest block, of which nothing is asked, is most of a forward pass where that is an early one.
      model.hiddenStates(x, t, condition, Math.max(...layers), {
        classToken,
        observe: (name, tensor) => {
          const layer = Number(/^blocks\.(\d+)$/.exec(name)?.[1] ?? Number.NaN) + 1
          if (!layers.includes(layer)) return
          pooled.set(layer, keep(meanOfTokens(() => (classToken ? dropTokens(tensor, 1) : tensor.alias()))))
        },
      })
    })
    const outputs = await Promise.all(layers.map((layer) => pooled.get(layer)!.data()))
    for (const [i, output] of outputs.entries()) {
      const whose = `layer ${layers[i]} at noise level ${noise}`
      requireFiniteFeatures(output, { width: model.config.hidden, first, whose, check: "the model's weights" })
    }
    if (!encoder || !images) return { layers: outputs, encoder: undefined }
    const features = await encoded(encoder, images, data, device)
    const { name, width } = encoder.encoder
    requireFiniteFeatures(features, { width, first, whose: `the encoder ${name}`, check: 'its weights' })
    return { layers: outputs, encoder: features }
  } finally {
    for (const tensor of pooled.values()) tensor.dispose()
  }
}

async function encoded(
  { encoder, grid }: NonNullable<BlockFeaturesOptions['encoder']>,
  images: Uint8Array,
  data: Dataset,
  device: Device,
): Promise<Float32Array> {
  using planes = planesOf(images, data, device)
  using mean = meanOfTokens(() => encoder.features(planes, grid))
  return await mean.data()
}

/** [B, z], of the images as its training sees them: on the model's grid. */
function classTokenOf(encoder: Encoder, planes: Tensor, { grid }: AnyTransformer): Tensor {
  return firstToken(encoder.features(planes, grid, { classToken: true }))
}

function planesOf(images: Uint8Array, { imageSize, imageLength }: Dataset, device: Device): Tensor {
  return Tensor.from(images, [images.length / imageLength, 3, imageSize, imageSize], device)
}

function requireReadableBlocks(model: AnyTransformer, data: Dataset, layers: readonly number[]): void {
  const { config } = model
  const wanted = [config.channels, ...config.inputSize]
  if (String(wanted) !== String(data.latentShape)) {
    throw new Error(
      `The model takes latents of shape [${wanted}], those of '${data.path}' have [${data.latentShape}]; give the data that it was trained on, or such as is prepared in the same way, or the autoencoder that made its latents.`,
    )
  }
  if (config.classDropout === 0) {
    throw new Error(
      model.text
        ? 'The model was trained without dropping captions, so that the empty one says nothing to it, and its features cannot be had without a caption.'
        : 'The model was trained without label dropout and has no null class, so that its features cannot be had without telling it the class.',
    )
  }
  const beyond = layers.find((layer) => layer < 1 || layer > config.depth)
  if (beyond !== undefined) {
    throw new RangeError(`There is no layer ${beyond}; the model has the blocks 1 to ${config.depth}.`)
  }
}

function requireCaptionEncoder({ text, device }: AnyTransformer, encoder: CaptionEncoder | undefined): void {
  if (!text) {
    if (encoder) throw new Error(`The model is told classes; leave out the caption encoder ${encoder.name}.`)
    return
  }
  if (!encoder) throw new Error('The model is told captions; give what encodes them, by `captionEncoder`.')
  requireFittingEncoder(encoder, { text, device })
}

function requireClassToken({ classTokenWidth }: AnyTransformer, encoder: Encoder | undefined): void {
  if (classTokenWidth === undefined) {
    if (!encoder) return
    throw new Error(
      `The model denoises no class token; leave out the encoder ${encoder.name}, whose class token it would be.`,
    )
  }
  if (encoder?.hasClassToken && encoder.width === classTokenWidth) return
  const found = encoder
    ? `${encoder.name} has ${encoder.hasClassToken ? `one of ${encoder.width}` : 'none behind a final norm'}`
    : 'none is given'
  throw new Error(
    `The model denoises an encoder's class token of ${classTokenWidth} numbers along (REG), without which its blocks cannot be run, and ${found}; ` +
      'name the encoder that it was trained with by `classTokenEncoder`.',
  )
}
