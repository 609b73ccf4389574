import type { Dispersive } from '../alignment/dispersive.ts'
import { ntXent } from '../alignment/nt-xent.ts'
import type { FeatureLoss } from '../alignment/repa.ts'
import { type AlignmentSchedule, scheduleFactor } from '../alignment/schedule.ts'
import { type SelfAlignment, teacherStates } from '../alignment/self-alignment.ts'
import { spatiallyNormalized } from '../alignment/spatial-norm.ts'
import type { Dataset } from '../data/dataset.ts'
import type { Batch } from '../data/loader.ts'
import { ALONE, type World } from '../distributed/world.ts'
import { keptTokens, type TokenRouting } from '../models/token-route.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'
import { cast } from '../tensor/ops/cast.ts'
import { samplePosterior } from '../tensor/ops/interpolant.ts'
import { mean } from '../tensor/ops/loss.ts'
import { firstToken } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { dropLabels, type RandomKey, randomNormal, randomTokens } from '../tensor/random.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { adopt, keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { type AlignmentEncoder, type CachedEncoder, isCached } from './cached-encoder.ts'
import { featureTargets, uploadFeatures } from './cached-targets.ts'
import { type CaptionDraw, drawCaptions } from './caption-draws.ts'
import { type ContrastiveFlow, drawNegatives, velocitiesAt } from './contrastive-flow.ts'
import { type LearningRateSchedule, learningRateAt } from './learning-rate.ts'
import { forwardBackward, type Objective } from './objective.ts'
import type { AdamW } from './optimizer.ts'
import { inputsOfPass, lossesOfPasses, type SampleInputs, type StepInputs, type StepLosses } from './passes.ts'
import type { attentionOf } from './requirements.ts'
import type { LossWeights } from './step-report.ts'
import type { BatchEncoder, TrainerOptions } from './trainer-options.ts'

/** With latents, the data's or those that were made of the images. */
type EncodedInputs = SampleInputs & { readonly stored: Tensor }

const NO_TARGETS = { features: [], attention: undefined } as const

/** What a training step computes on the device: from a batch, and what is drawn for it, to the update. Enqueues, and keeps nothing. */
export class StepComputation {
  readonly #model: AnyTransformer
  readonly #data: Dataset
  readonly #autoencoder: BatchEncoder | undefined
  readonly #captionEncoder: CaptionEncoder | undefined
  readonly #objective: Objective
  readonly #optimizer: AdamW
  readonly #world: World
  readonly #batch: number
  readonly #accumulate: number
  readonly #recompute: Recomputation
  readonly #seed: number
  readonly #encoders: readonly AlignmentEncoder[]
  readonly #alignWeight: number
  readonly #featureLoss: FeatureLoss | undefined
  readonly #spatialNorm: number | undefined
  /** What is compared of the model's attention and the first encoder's, and by which weight. */
  readonly #attention: ReturnType<typeof attentionOf>
  readonly #selfAlign: SelfAlignment | undefined
  readonly #schedule: AlignmentSchedule
  readonly #learningRateSchedule: LearningRateSchedule | undefined
  readonly #disperse: Dispersive | undefined
  readonly #contrast: ContrastiveFlow | undefined
  readonly #velocityCosineWeight: number | undefined
  readonly #route: TokenRouting | undefined
  /** Of the loss of the class token that is denoised along; undefined: there is none. */
  readonly #classTokenWeight: number | undefined

  /** @param derived what follows from the options: the data with the latents that steps are of, and what of the attention is compared */
  constructor(
    options: TrainerOptions,
    { data, attention }: { readonly data: Dataset; readonly attention: ReturnType<typeof attentionOf> },
    objective: Objective,
    optimizer: AdamW,
  ) {
    const { model, batch, align } = options
    this.#model = model
    this.#data = data
    this.#autoencoder = options.autoencoder
    this.#captionEncoder = options.captionEncoder
    this.#objective = objective
    this.#optimizer = optimizer
    this.#world = options.world ?? ALONE
    this.#batch = batch
    this.#accumulate = options.accumulate ?? 1
    this.#recompute = options.recompute ?? 'none'
    this.#seed = options.seed ?? 0
    this.#encoders = align ? [align.encoder].flat() : []
    this.#alignWeight = align?.weight ?? 0.5
    this.#featureLoss = align?.loss === 'nt-xent' ? ntXent(align.temperature ?? 0.1) : undefined
    this.#spatialNorm = align?.spatialNorm
    this.#attention = attention
    this.#selfAlign = options.selfAlign
    this.#schedule = options.alignSchedule ?? {}
    this.#learningRateSchedule = options.learningRateSchedule
    this.#disperse = options.disperse
    this.#contrast = options.contrast
    this.#velocityCosineWeight = options.velocityCosineWeight
    this.#route = options.route
    this.#classTokenWeight = options.classToken?.weight
  }

  /** Whether an encoder or the autoencoder has to see a step's images. */
  needsImages(isAligning: boolean): boolean {
    return this.#autoencoder !== undefined || (isAligning && this.#encoders.some((encoder) => !isCached(encoder)))
  }

  /** Encoders whose features come with the data. */
  get cachedEncoders(): readonly CachedEncoder[] {
    return this.#encoders.filter(isCached)
  }

  /** Of what is added to the objective in a step. */
  weightsAt(step: number): LossWeights {
    const factor = scheduleFactor(step, this.#schedule)
    return {
      align: this.#encoders.length > 0 ? factor * this.#alignWeight : undefined,
      attention: this.#attention && factor * this.#attention.weight,
      selfAlign: this.#selfAlign && factor * this.#selfAlign.weight,
      dispersive: this.#disperse?.weight,
      contrastive: this.#contrast?.weight,
      velocityCosine: this.#velocityCosineWeight,
      classToken: this.#classTokenWeight,
    }
  }

  /** Of step number `step`, from 0. */
  learningRateAt(step: number): number {
    const { learningRate } = this.#optimizer.options
    return learningRateAt(step, learningRate, this.#learningRateSchedule ?? {})
  }

  /** This process's part of a batch on the device, with everything that is drawn for it; without what alignment needs where it is over. */
  draw(samples: Batch, step: number, isAligning: boolean): StepInputs {
    const seed = this.#seed
    const [model, data] = [this.#model, this.#data]
    const { device } = model
    const batch = this.#batch / this.#world.size
    const firstSample = this.#world.rank * batch
    const key = (stream: RandomKey['stream']): RandomKey => ({ seed, stream, step, firstSample })
    const shape = [batch, ...data.latentShape]
    const t = this.#objective.drawTimes(batch, key('timesteps'), device)
    const selfAlign = isAligning ? this.#selfAlign : undefined
    const { tokens } = model
    const route = this.#route
    const kept =
      route && randomTokens({ batch, tokens, taken: keptTokens(tokens, route.share) }, key('keptTokens'), device)
    return {
      stored: this.#autoencoder ? undefined : Tensor.from(samples.latents, [batch, ...data.storedLatentShape], device),
      posteriorNoise: data.latentKind === 'moments' ? randomNormal(shape, key('posterior'), device) : undefined,
      images: this.needsImages(isAligning)
        ? Tensor.from(samples.images!, [batch, 3, data.imageSize, data.imageSize], device)
        : undefined,
      labels: this.#captionEncoder ? undefined : this.#labels(samples, key('labelDropout')),
      captionIds: this.#captionEncoder && this.#captionIds(this.#captionEncoder, samples, { firstSample, seed, step }),
      t,
      teacherT: selfAlign && this.#objective.drawEarlierTimes!(t, selfAlign.timeOffset, key('teacherTimes')),
      noise: randomNormal(shape, key('noise'), device),
      learningRateFactor: this.#learningRateFactor(step),
      keptIds: kept?.ids,
      keptPlaces: kept?.places,
      negatives:
        this.#contrast &&
        Tensor.from(drawNegatives(this.#batch, seed, step).subarray(firstSample, firstSample + batch), [batch], device),
      classTokenNoise:
        this.#classTokenWeight === undefined
          ? undefined
          : randomNormal([batch, this.#encoders[0]!.width], key('classTokenNoise'), device),
      ...Object.fromEntries(
        (isAligning ? this.cachedEncoders : []).map(({ width }, k) => {
          const features = samples.features[k]!
          return [`features${k}`, uploadFeatures(features, [batch, features.length / batch / width, width], device)]
        }),
      ),
    }
  }

  /** All that follows from the inputs of step `step`: the losses, and the update. */
  run(inputs: StepInputs, step: number, isAligning: boolean): StepLosses {
    const { learningRateFactor, ...drawn } = inputs
    const samples = { ...drawn, stored: drawn.stored ?? this.#autoencoder!.encodeImages(drawn.images!) }
    const whole = { ...samples, negativeVelocities: this.#negativeVelocities(samples) }
    const passes = Array.from({ length: this.#accumulate }, (_, pass) =>
      scope(() => this.#pass(inputsOfPass(whole, pass, this.#accumulate), step, isAligning, pass)),
    )
    const { size } = this.#world
    const losses = lossesOfPasses(passes, size)
    this.#world.allReduceSum(Object.values(losses).filter((loss) => loss !== undefined))
    // Last: where memory runs out before, the step has changed nothing.
    this.#optimizer.step(1 / (this.#accumulate * size), learningRateFactor && { learningRateFactor })
    return losses
  }

  /** Losses and gradients of the samples of a pass; those after the first add to the gradients that are there. */
  #pass(
    inputs: EncodedInputs & { readonly negativeVelocities: Tensor | undefined },
    step: number,
    isAligning: boolean,
    pass: number,
  ): StepLosses {
    const { t, teacherT, noise, negativeVelocities, keptIds, keptPlaces, classTokenNoise } = inputs
    const condition = inputs.labels ?? this.#captionEncoder!.features(inputs.captionIds!)
    const latents = this.#latents(inputs)
    const { align = 0, attention = 0, selfAlign = 0 } = this.weightsAt(step)
    const { features: targets, attention: attentionTargets } = isAligning ? this.#targets(inputs) : NO_TARGETS
    const losses = forwardBackward(
      this.#model,
      {
        latents,
        condition,
        t,
        noise,
        targets,
        attentionTargets,
        teacher: teacherT && this.#teacher({ latents, noise, t: teacherT }, condition),
        negatives: negativeVelocities,
        route: this.#route && { ...this.#route, kept: { ids: keptIds!, places: keptPlaces! } },
        classToken: classTokenNoise && { clean: firstToken(targets[0]!), noise: classTokenNoise },
      },
      {
        objective: this.#objective,
        alignWeight: align,
        featureLoss: this.#featureLoss,
        attention: this.#attention && { weight: attention, heads: this.#attention.heads },
        selfAlignment: this.#selfAlign && { depth: this.#selfAlign.depth, weight: selfAlign },
        dispersive: this.#disperse,
        contrastiveWeight: this.#contrast?.weight,
        classTokenWeight: this.#classTokenWeight,
        scaling: this.#optimizer.scaling,
        accumulate: pass > 0,
        recompute: this.#recompute,
        ...(this.#world.size > 1 &&
          pass === this.#accumulate - 1 && {
            onFinal: (parameters: readonly Parameter[]) => this.#optimizer.exchange.begin(parameters),
          }),
      },
    )
    return {
      denoising: mean(losses.denoising),
      vb: losses.vb && mean(losses.vb),
      velocityCosine: losses.velocityCosine && mean(losses.velocityCosine),
      alignment: losses.alignment && cast(losses.alignment, 'f32'),
      attentionAlignment: losses.attentionAlignment && cast(losses.attentionAlignment, 'f32'),
      selfAlignment: losses.selfAlignment && cast(losses.selfAlignment, 'f32'),
      dispersive: losses.dispersive,
      contrastive: losses.contrastive && mean(losses.contrastive),
      classToken: losses.classToken && mean(losses.classToken),
    }
  }

  #labels({ labels }: Batch, key: RandomKey): Tensor {
    const { device, config, nullClass } = this.#model
    const own = Tensor.from(labels, [labels.length], device)
    return config.classDropout > 0 ? dropLabels(own, config.classDropout, nullClass, key) : own
  }

  #captionIds(encoder: CaptionEncoder, { indices }: Batch, key: Omit<CaptionDraw, 'batch' | 'dropout'>): Tensor {
    const { device, config } = this.#model
    const captions = Array.from(indices, (index) => this.#data.captions![index]!)
    const drawn = drawCaptions(captions, { ...key, batch: this.#batch, dropout: config.classDropout })
    return Tensor.from(encoder.tokenize(drawn), [drawn.length, encoder.tokens], device)
  }

  #learningRateFactor(step: number): Tensor | undefined {
    if (!this.#learningRateSchedule) return undefined
    const { learningRate } = this.#optimizer.options
    // Of 0 every share is 0.
    const factor = learningRate === 0 ? 1 : this.learningRateAt(step) / learningRate
    return Tensor.from(Float64Array.of(factor), [1], this.#model.device)
  }

  #latents({ stored, posteriorNoise }: EncodedInputs): Tensor {
    return posteriorNoise ? samplePosterior(stored, posteriorNoise, this.#data.latentScale, 0) : stored
  }

  /** Before the passes: a negative may be of any sample of the batch, and so of another pass or process. */
  #negativeVelocities(inputs: EncodedInputs): Tensor | undefined {
    const { negatives, noise, t } = inputs
    if (!negatives) return undefined
    return scope(() => {
      const own = this.#objective.velocities!({ latents: this.#latents(inputs), noise, t })
      return velocitiesAt(negatives, own, this.#world)
    })
  }

  /** The encoders' features, and what the first one's attention reads where that is compared. */
  #targets(inputs: SampleInputs): { features: Tensor[]; attention: PackedHeads[] | undefined } {
    const [gamma, compared] = [this.#spatialNorm, this.#attention]
    const attention: PackedHeads[] = []
    const show = ({ qkv, heads }: PackedHeads) => attention.push({ qkv: keep(qkv.alias()), heads })
    let cached = 0
    try {
      const features = this.#encoders.map((encoder, k) =>
        scope(() => {
          const made = isCached(encoder)
            ? featureTargets(inputs[`features${cached++}`]!)
            : encoder.features(inputs.images!, this.#model.grid, {
                classToken: this.#classTokenWeight !== undefined,
                attention: k === 0 && compared ? { ...compared.encoder, show } : undefined,
              })
          return gamma === undefined ? made : spatiallyNormalized(made, gamma)
        }),
      )
      return { features, attention: compared && attention }
    } finally {
      // Kept from the encoder's own scopes; where it fails the caller's end them too.
      for (const { qkv } of attention) adopt(qkv)
    }
  }

  /** What the averaged model makes of the batch at other times. */
  #teacher(batch: { latents: Tensor; noise: Tensor; t: Tensor }, condition: Tensor): Tensor {
    return scope(() => {
      const { input, t } = this.#objective.noised(batch)
      return teacherStates(this.#model, { input, t, condition }, this.#selfAlign!.teacherDepth)
    })
  }
}
