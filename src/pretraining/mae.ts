import { keyedRandom } from '../data/keyed-random.ts'
import type { ChannelStatistics } from '../models/image-normalisation.ts'
import { layerNorm } from '../tensor/ops/layer-norm.ts'
import { mean, velocityLoss } from '../tensor/ops/loss.ts'
import { patchify } from '../tensor/ops/patch.ts'
import { normalizeImages } from '../tensor/ops/pixels.ts'
import { gatherTokens } from '../tensor/ops/tokens.ts'
import { scope } from '../tensor/scope.ts'
import { Tape } from '../tensor/tape.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { StepSettings } from '../training/optimizer.ts'
import { type DecoderSizes, MaskedAutoencoder, type MaskedTokens } from './mae-model.ts'
import { type Masks, maskCounts, randomMasks } from './masking.ts'
import type {
  ImageBatch,
  MethodOptions,
  PretrainingLosses,
  PretrainingMethod,
  StepNumber,
  TrainedEncoder,
} from './method.ts'
import { randomResizedCrops } from './random-resized-crop.ts'
import { warmupCosine } from './warmup-cosine.ts'

/** Keep the draws of crops and of masks apart, and from whatever else is drawn by seed and step: "crop" and "mask" in ASCII. */
const CROP_STREAM = 0x63_72_6f_70
const MASK_STREAM = 0x6d_61_73_6b

/** Share of an image that a crop covers (main_pretrain.py). */
const CROP_AREA = [0.2, 1] as const

/** Of the patches. */
const MASK_RATIO = 0.75

/** Learning rate for 256 images a step (main_pretrain.py's blr), weight decay, and the share of the steps that warm up. */
const BASE_LEARNING_RATE = 1.5e-4
const WEIGHT_DECAY = 0.05
const WARMUP = 0.05

/** Added to a patch's variance before it is divided by. */
const PATCH_EPSILON = 1e-6

/** MAE (arXiv 2111.06377): three quarters of the patches are hidden, and their pixels, normalised by patch, are filled in. */
export class MaskedAutoencoding implements PretrainingMethod {
  readonly name = 'mae'
  readonly model: MaskedAutoencoder
  readonly optimizer = { betas: [0.9, 0.95], maxGradNorm: Number.POSITIVE_INFINITY } as const
  readonly buffers = {}
  readonly #statistics: ChannelStatistics
  readonly #seed: number
  readonly #learningRate: number

  constructor({ encoder, statistics, batch, learningRate, seed, device }: MethodOptions) {
    this.#statistics = statistics
    this.#seed = seed
    this.#learningRate = learningRate ?? (BASE_LEARNING_RATE * batch) / 256
    // Throws where there are too few patches.
    maskCounts((encoder.imageSize / encoder.patch) ** 2, MASK_RATIO)
    this.model = new MaskedAutoencoder(encoder, decoderOf(encoder), device)
    this.model.initialise(seed)
  }

  get encoder(): TrainedEncoder {
    const { encoder, encoderEntries } = this.model
    return {
      config: encoder.config,
      role: 'weights',
      tensors: encoderEntries.map((entry) => ({ name: entry.name, entry })),
    }
  }

  schedule(step: StepNumber): StepSettings {
    return {
      learningRate: warmupCosine(step, { peak: this.#learningRate, warmup: WARMUP }),
      weightDecay: WEIGHT_DECAY,
      // No average is taken: it is the weights.
      emaDecay: 0,
    }
  }

  forwardBackward(images: ImageBatch, { step }: StepNumber, scaling?: Tensor): PretrainingLosses {
    const { model } = this
    const { imageSize, patch } = model.encoder.config
    const crops = randomResizedCrops(
      images,
      { size: imageSize, area: CROP_AREA },
      keyedRandom(this.#seed, CROP_STREAM, step),
    )
    return scope(() => {
      const pixels = Tensor.from(crops, [images.count, 3, imageSize, imageSize], model.device)
      const patches = patchify(normalizeImages(pixels, { divisor: 255, ...this.#statistics }), patch)
      const masks = randomMasks(images.count, patches.shape[1]!, MASK_RATIO, keyedRandom(this.#seed, MASK_STREAM, step))
      const { tokens, target } = maskedTokens(patches, masks)
      using tape = new Tape()
      const loss = tape.record(() => velocityLoss(model.forward(patches, tokens), target, 1, scaling))
      tape.backward(model.arena.parameters).dispose()
      return { loss: mean(loss) }
    })
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }
}

/** What a batch's masks mean for its patches f32 [B, T, C·p·p], and the masked ones' pixels, each patch normalised: [B, M, C·p·p]. */
export function maskedTokens(patches: Tensor, masks: Masks): { tokens: MaskedTokens; target: Tensor } {
  const { device } = patches
  const [batch, count, elements] = patches.shape as [number, number, number]
  const { visibleCount, maskedCount, visible, masked, order } = masks
  // The class token stands before the patches.
  const restored = Int32Array.from({ length: batch * (1 + count) }, (_, i) => {
    const place = i % (1 + count)
    if (place === 0) return 0
    const index = order[Math.floor(i / (1 + count)) * count + place - 1]!
    return index < 0 ? -1 : 1 + index
  })
  const ofMasked = (ids: Int32Array) => Tensor.from(ids, [batch, maskedCount], device)
  // The reference divides by the unbiased deviation, LayerNorm by the biased one.
  const ratio = (elements - 1) / elements
  const target = layerNorm(
    gatherTokens(patches, ofMasked(masked)),
    Tensor.full([elements], Math.sqrt(ratio), device),
    Tensor.zeros([elements], device),
    PATCH_EPSILON * ratio,
  )
  const tokens = {
    visible: Tensor.from(visible, [batch, visibleCount], device),
    restored: Tensor.from(restored, [batch, 1 + count], device),
    masked: ofMasked(masked.map((place) => 1 + place)),
  }
  return { tokens, target }
}

/** Half as wide as the encoder, with heads of the same width, and two blocks deep. */
function decoderOf({ hidden, heads }: MethodOptions['encoder']): DecoderSizes {
  const width = hidden / heads
  const count = Math.max(1, Math.round(heads / 2))
  return { hidden: width * count, depth: 2, heads: count }
}
