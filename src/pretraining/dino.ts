import type { ChannelStatistics } from '../models/image-normalisation.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { decayFactor } from '../nn/decay.ts'
import { distillationLoss, entropy, sharpened } from '../tensor/ops/distillation.ts'
import { add, columnSum, scale } from '../tensor/ops/elementwise.ts'
import { mean } from '../tensor/ops/loss.ts'
import { normalizeImages } from '../tensor/ops/pixels.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tape } from '../tensor/tape.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { AdamW, StepSettings } from '../training/optimizer.ts'
import type { DinoHeadSizes } from './dino-head.ts'
import { DinoModel } from './dino-model.ts'
import { drawViews, type Views } from './dino-views.ts'
import type {
  ImageBatch,
  MethodOptions,
  PretrainingLosses,
  PretrainingMethod,
  StepNumber,
  TrainedEncoder,
} from './method.ts'
import { warmupCosine } from './warmup-cosine.ts'

export interface DinoSettings {
  /** Views of a part of each image that the student alone sees. */
  readonly localViews: number
  readonly head: Omit<DinoHeadSizes, 'input'>
  /** Learning rate for 256 images a step, at its highest. */
  readonly baseLearningRate: number
  /** Decay of the teacher at the first step; 1 at the last. */
  readonly teacherDecay: number
  /** Temperature of the teacher at the first step, and from the end of its warm-up on. */
  readonly teacherTemperature: readonly [first: number, last: number]
}

/** Of the learning rate: where it ends, and the share of the steps that warm up (main_dino.py: 10 epochs of 100). */
const LEAST_LEARNING_RATE = 1e-6
const WARMUP = 0.1

/** Weight decay, from the first step to the last. */
const WEIGHT_DECAY = [0.04, 0.4] as const

const STUDENT_TEMPERATURE = 0.1

const CENTRE_MOMENTUM = 0.9

/** Share of the steps in which the prototypes stay as they are: an epoch of 100. */
const FROZEN_PROTOTYPES = 0.01

const holdsPrototypes = ({ step, total }: StepNumber) => step < FROZEN_PROTOTYPES * total

/** Share of the steps in which the teacher's temperature rises. */
const TEMPERATURE_WARMUP = 0.3

/**
 * DINO (arXiv 2104.14294): a student says of every view of an image what a teacher, the student's moving average, says of the image's
 * other global views. The teacher's logits are centred and sharpened, so that neither one prototype nor all of them win for every image.
 * Settings are the reference's but for `defaultSettings`; epochs are shares of the run. Otherwise than there the gradient is clipped by its
 * norm over all tensors (there by each tensor's own), positions are MAE's fixed ones, and no block is left out at random.
 */
export class SelfDistillation implements PretrainingMethod {
  readonly name = 'dino'
  readonly model: DinoModel
  readonly optimizer: { readonly maxGradNorm: number; readonly late: readonly number[] }
  readonly buffers: { readonly centre: Tensor }
  readonly #settings: DinoSettings
  readonly #statistics: ChannelStatistics
  readonly #seed: number
  readonly #learningRate: number
  /** Of the last step's logits of the teacher, less the centre, [K]. */
  #meanLogits: Tensor | undefined

  constructor(
    { encoder, statistics, batch, learningRate, seed, device }: MethodOptions,
    settings: Partial<DinoSettings> = {},
  ) {
    this.#settings = { ...defaultSettings(encoder), ...settings }
    this.#statistics = statistics
    this.#seed = seed
    this.#learningRate = learningRate ?? (this.#settings.baseLearningRate * batch) / 256
    this.model = new DinoModel(encoder, this.#settings.head, device)
    this.model.initialise(seed)
    const { arena, head } = this.model
    this.optimizer = { maxGradNorm: 3, late: arena.rangesOf((parameter) => parameter === head.prototypes) }
    const { prototypes } = this.#settings.head
    this.buffers = { centre: keep(Tensor.zeros([prototypes], device)) }
  }

  get encoder(): TrainedEncoder {
    const { backbone, backboneEntries } = this.model
    return { config: backbone.config, role: 'ema', tensors: backboneEntries }
  }

  schedule(number: StepNumber): StepSettings {
    return {
      learningRate: warmupCosine(number, {
        peak: this.#learningRate,
        floor: Math.min(LEAST_LEARNING_RATE, this.#learningRate),
        warmup: WARMUP,
      }),
      weightDecay: cosineBetween(number, WEIGHT_DECAY),
      emaDecay: cosineBetween(number, [this.#settings.teacherDecay, 1]),
      holdsLate: holdsPrototypes(number),
    }
  }

  forwardBackward(images: ImageBatch, number: StepNumber, scaling?: Tensor): PretrainingLosses & DinoStatistics {
    const { model } = this
    const { localViews } = this.#settings
    const { config } = model.backbone
    const { global, local } = drawViews(
      images,
      { localViews, globalSize: config.imageSize, localSize: localSizeOf(config) },
      { seed: this.#seed, step: number.step },
    )
    return scope(() => {
      const globalImages = this.#normalised(global)
      const targets = this.#targets(globalImages, images.count, number)
      const pairs = 2 * (2 + localViews) - 2
      using tape = new Tape()
      const losses = tape.record(() => {
        const prototypes = model.head.unitPrototypes({ frozen: holdsPrototypes(number) })
        const lossOf = (pixels: Tensor, firstView: number) => {
          const logits = model.head.forward(model.classTokens(pixels), prototypes)
          return distillationLoss(byView(logits, images.count), targets.distributions, {
            temperature: STUDENT_TEMPERATURE,
            firstView,
            weight: 1 / (pairs * images.count),
            scaling,
          })
        }
        const each = [lossOf(globalImages, 0)]
        if (localViews > 0) each.push(lossOf(this.#normalised(local), 2))
        return each
      })
      tape.backward(model.arena.parameters).dispose()
      const loss = losses.map((each) => scale(mean(each), each.shape[0]! / pairs)).reduce(add)
      return { loss, ...this.#statisticsOf(targets, loss) }
    })
  }

  afterUpdate(optimizer: Pick<AdamW, 'follow'>): void {
    const { centre } = this.buffers
    scope(() => {
      if (this.#meanLogits) optimizer.follow(add(this.#meanLogits, centre), centre, CENTRE_MOMENTUM)
    })
  }

  /** What the teacher says of the global views, and how it says it. */
  #targets(images: Tensor, count: number, number: StepNumber): Targets {
    const { model } = this
    const { centre } = this.buffers
    return model.asTeacher(() =>
      scope(() => {
        const prototypes = model.head.unitPrototypes({ frozen: true })
        const logits = model.head.forward(model.classTokens(images), prototypes, scale(centre, -1))
        this.#meanLogits?.dispose()
        this.#meanLogits = keep(meanOfRows(logits))
        const rows = sharpened(logits, teacherTemperature(number, this.#settings.teacherTemperature))
        return {
          distributions: byView(rows, count),
          entropy: mean(entropy(rows)),
          meanEntropy: entropy(meanOfRows(rows)),
        }
      }),
    )
  }

  #statisticsOf({ entropy, meanEntropy }: Targets, loss: Tensor): DinoStatistics {
    const flat = Tensor.full([], Math.log(this.#settings.head.prototypes), this.model.device)
    return {
      teacher_entropy: entropy,
      teacher_kl_uniform: add(flat, scale(meanEntropy, -1)),
      view_information: add(meanEntropy, scale(loss, -1)),
    }
  }

  #normalised({ pixels, size }: Views): Tensor {
    return scope(() => {
      const bytes = Tensor.from(pixels, [pixels.length / (3 * size * size), 3, size, size], this.model.device)
      return normalizeImages(bytes, { divisor: 255, ...this.#statistics })
    })
  }

  [Symbol.dispose](): void {
    this.buffers.centre.dispose()
    this.#meanLogits?.dispose()
    this.model.dispose()
  }
}

/** Whether the teacher has collapsed, and what is learnt. In nats, K being the number of prototypes. */
export interface DinoStatistics {
  /** Mean of the entropies of the teacher's distributions: log K where it says nothing of any image. */
  readonly teacher_entropy: Tensor
  /** Divergence of their mean over the batch from the uniform distribution: log K where it says the same of all. */
  readonly teacher_kl_uniform: Tensor
  /**
   * Entropy of that mean, less the loss: what the student knows of the teacher's answer by having seen another view, at least. It rises
   * from 0, where the loss falls in a collapse as well.
   */
  readonly view_information: Tensor
}

/** What the teacher says of the global views. */
interface Targets {
  /** [2, B, K]. */
  readonly distributions: Tensor
  /** Mean of their entropies. */
  readonly entropy: Tensor
  /** Entropy of their mean. */
  readonly meanEntropy: Tensor
}

/** Rows [V · B, K], a view after the other, → [V, B, K]. */
function byView(rows: Tensor, batch: number): Tensor {
  return reshape(rows, [rows.shape[0]! / batch, batch, rows.shape[1]!])
}

function meanOfRows(x: Tensor): Tensor {
  return scope(() => scale(columnSum(x), 1 / x.shape[0]!))
}

/** Linear over the warm-up, 30 epochs of 100. */
function teacherTemperature({ step, total }: StepNumber, [first, last]: DinoSettings['teacherTemperature']): number {
  return first + (last - first) * Math.min(1, step / (TEMPERATURE_WARMUP * total))
}

/** Half a cosine from the first step's value towards the one behind the last. */
function cosineBetween({ step, total }: StepNumber, [first, last]: readonly [number, number]): number {
  return last + (first - last) * decayFactor('cosine', step, total)
}

/** Half a global view, in whole patches. */
function localSizeOf({ imageSize, patch }: VisionTransformerConfig): number {
  return patch * Math.max(1, Math.round(imageSize / patch / 2))
}

/**
 * For small models, data of some ten thousand images and short runs: a smaller head and fewer local views than the reference's, a faster
 * student and a sharper teacher.
 */
function defaultSettings({ hidden }: VisionTransformerConfig): DinoSettings {
  return {
    localViews: 4,
    head: { hidden: 4 * hidden, bottleneck: 256, prototypes: 1024 },
    baseLearningRate: 2e-3,
    teacherDecay: 0.996,
    teacherTemperature: [0.03, 0.03],
  }
}
