import { ntXent } from '../alignment/nt-xent.ts'
import type { FeatureLoss } from '../alignment/repa.ts'
import { scheduleFactor } from '../alignment/schedule.ts'
import { teacherStates } from '../alignment/self-alignment.ts'
import { spatiallyNormalized } from '../alignment/spatial-norm.ts'
import type { Batch } from '../data/loader.ts'
import { keptTokens } from '../models/token-route.ts'
import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'
import { cast } from '../tensor/ops/cast.ts'
import { samplePosterior } from '../tensor/ops/interpolant.ts'
import { mean } from '../tensor/ops/loss.ts'
import { firstToken } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { dropLabels, type RandomKey, randomNormal, randomTokens } from '../tensor/random.ts'
import { adopt, keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { type CachedEncoder, isCached } from './cached-encoder.ts'
import { featureTargets, uploadFeatures } from './cached-targets.ts'
import { type CaptionDraw, drawCaptions } from './caption-draws.ts'
import { drawNegatives, velocitiesAt } from './contrastive-flow.ts'
import { forwardBackward } from './forward-backward.ts'
import { learningRateAt } from './learning-rate.ts'
import type { Objective } from './objective.ts'
import type { AdamW } from './optimizer.ts'
import {
  type EncodedInputs,
  inputsOfPass,
  lossesOfPasses,
  type SampleInputs,
  type StepInputs,
  type StepLosses,
} from './passes.ts'
import type { ResolvedTrainerOptions } from './resolved-options.ts'
import type { LossWeights } from './step-report.ts'

const NO_TARGETS = { features: [], attention: undefined } as const

/** What a training step computes on the device: from a batch, and what is drawn for it, to the update. Enqueues, and keeps nothing. */
export class StepComputation {
  readonly #options: ResolvedTrainerOptions
  readonly #objective: Objective
  readonly #optimizer: AdamW
  readonly #featureLoss: FeatureLoss | undefined

  constructor(options: ResolvedTrainerOptions, objective: Objective, optimizer: AdamW) {
    this.#options = options
    this.#objective = objective
    this.#optimizer = optimizer
    this.#featureLoss = options.alignLoss === 'nt-xent' ? ntXent(options.alignTemperature) : undefined
  }

  /** Whether an encoder or the autoencoder has to see a step's images. */
  needsImages(isAligning: boolean): boolean {
    const { autoencoder, encoders } = this.#options
    return autoencoder !== undefined || (isAligning && encoders.some((encoder) => !isCached(encoder)))
  }

  /** Encoders whose features come with the data. */
  get cachedEncoders(): readonly CachedEncoder[] {
    return this.#options.encoders.filter(isCached)
  }

  /** Of what is added to the objective in a step. */
  weightsAt(step: number): LossWeights {
    const { encoders, alignWeight, alignSchedule, attention, selfAlign, disperse, contrast } = this.#options
    const factor = scheduleFactor(step, alignSchedule)
    return {
      align: encoders.length > 0 ? factor * alignWeight : undefined,
      attention: attention && factor * attention.weight,
      selfAlign: selfAlign && factor * selfAlign.weight,
      dispersive: disperse?.weight,
      contrastive: contrast?.weight,
      velocityCosine: this.#options.velocityCosineWeight,
      classToken: this.#options.classToken?.weight,
    }
  }

  /** Of step number `step`, from 0. */
  learningRateAt(step: number): number {
    const { learningRate, learningRateSchedule = {} } = this.#options
    return learningRateAt(step, learningRate, learningRateSchedule)
  }

  /** This process's part of a batch on the device, with everything that is drawn for it; without what alignment needs where it is over. */
  draw(samples: Batch, step: number, isAligning: boolean): StepInputs {
    const { model, data, world, seed, route, autoencoder, captionEncoder, encoders } = this.#options
    const { device, tokens } = model
    const batch = this.#options.batch / world.size
    const firstSample = world.rank * batch
    const key = (stream: RandomKey['stream']): RandomKey => ({ seed, stream, step, firstSample })
    const shape = [batch, ...data.latentShape]
    const t = this.#objective.drawTimes(batch, key('timesteps'), device)
    const selfAlign = isAligning ? this.#options.selfAlign : undefined
    const kept =
      route && randomTokens({ batch, tokens, taken: keptTokens(tokens, route.share) }, key('keptTokens'), device)
    return {
      stored: autoencoder ? undefined : Tensor.from(samples.latents, [batch, ...data.storedLatentShape], device),
      posteriorNoise: data.latentKind === 'moments' ? randomNormal(shape, key('posterior'), device) : undefined,
      images: this.needsImages(isAligning)
        ? Tensor.from(samples.images!, [batch, 3, data.imageSize, data.imageSize], device)
        : undefined,
      ...(captionEncoder
        ? { labels: undefined, captionIds: this.#captionIds(captionEncoder, samples, { firstSample, seed, step }) }
        : { labels: this.#labels(samples, key('labelDropout')), captionIds: undefined }),
      t,
      teacherT: selfAlign && this.#objective.drawEarlierTimes!(t, selfAlign.timeOffset, key('teacherTimes')),
      noise: randomNormal(shape, key('noise'), device),
      learningRateFactor: this.#learningRateFactor(step),
      ...(kept ? { keptIds: kept.ids, keptPlaces: kept.places } : { keptIds: undefined, keptPlaces: undefined }),
      negatives: this.#options.contrast && this.#negatives(step, { firstSample, batch }),
      classTokenNoise:
        this.#options.classToken && randomNormal([batch, encoders[0]!.width], key('classTokenNoise'), device),
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
    const { autoencoder, accumulate, world } = this.#options
    const { learningRateFactor, ...drawn } = inputs
    const encoded = { ...drawn, stored: drawn.stored ?? autoencoder!.encodeImages(drawn.images!) }
    const whole = { ...encoded, negativeVelocities: this.#negativeVelocities(encoded) }
    const passes = Array.from({ length: accumulate }, (_, pass) =>
      scope(() => this.#pass(inputsOfPass(whole, pass, accumulate), step, isAligning, pass)),
    )
    const losses = lossesOfPasses(passes, world.size)
    world.allReduceSum(Object.values(losses).filter((loss) => loss !== undefined))
    // Last: where memory runs out before, the step has changed nothing.
    this.#optimizer.step(1 / (accumulate * world.size), learningRateFactor && { learningRateFactor })
    return losses
  }

  /** Losses and gradients of the samples of a pass; those after the first add to the gradients that are there. */
  #pass(
    inputs: EncodedInputs & { readonly negativeVelocities: Tensor | undefined },
    step: number,
    isAligning: boolean,
    pass: number,
  ): StepLosses {
    const { model, captionEncoder, route, attention, selfAlign, accumulate, world } = this.#options
    const { t, teacherT, noise, negativeVelocities, keptIds, keptPlaces, classTokenNoise } = inputs
    const condition = inputs.labels ?? captionEncoder!.features(inputs.captionIds)
    const latents = this.#latents(inputs)
    const weights = this.weightsAt(step)
    const { features: targets, attention: attentionTargets } = isAligning ? this.#targets(inputs) : NO_TARGETS
    const losses = forwardBackward(
      model,
      {
        latents,
        condition,
        t,
        noise,
        targets,
        attentionTargets,
        teacher: teacherT && this.#teacher({ latents, noise, t: teacherT }, condition),
        negatives: negativeVelocities,
        route: route && keptIds && { ...route, kept: { ids: keptIds, places: keptPlaces } },
        classToken: classTokenNoise && { clean: firstToken(targets[0]!), noise: classTokenNoise },
      },
      {
        objective: this.#objective,
        alignWeight: weights.align ?? 0,
        featureLoss: this.#featureLoss,
        attention: attention && { weight: weights.attention ?? 0, heads: attention.heads },
        selfAlignment: selfAlign && { depth: selfAlign.depth, weight: weights.selfAlign ?? 0 },
        dispersive: this.#options.disperse,
        contrastiveWeight: weights.contrastive,
        classTokenWeight: weights.classToken,
        scaling: this.#optimizer.scaling,
        accumulate: pass > 0,
        recompute: this.#options.recompute,
        ...(world.size > 1 &&
          pass === accumulate - 1 && {
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
    const { device, config, nullClass } = this.#options.model
    const all = Tensor.from(labels, [labels.length], device)
    return config.classDropout > 0 ? dropLabels(all, config.classDropout, nullClass, key) : all
  }

  #captionIds(encoder: CaptionEncoder, { indices }: Batch, key: Omit<CaptionDraw, 'batch' | 'dropout'>): Tensor {
    const { model, data, batch } = this.#options
    const captions = Array.from(indices, (index) => data.captions![index]!)
    const drawn = drawCaptions(captions, { ...key, batch, dropout: model.config.classDropout })
    return Tensor.from(encoder.tokenize(drawn), [drawn.length, encoder.tokens], model.device)
  }

  #learningRateFactor(step: number): Tensor | undefined {
    const { model, learningRate, learningRateSchedule } = this.#options
    if (!learningRateSchedule) return undefined
    // Of 0 every share is 0.
    const factor = learningRate === 0 ? 1 : this.learningRateAt(step) / learningRate
    return Tensor.from(Float64Array.of(factor), [1], model.device)
  }

  #negatives(step: number, { firstSample, batch }: { readonly firstSample: number; readonly batch: number }): Tensor {
    const { model, seed } = this.#options
    const places = drawNegatives(this.#options.batch, seed, step).subarray(firstSample, firstSample + batch)
    return Tensor.from(places, [batch], model.device)
  }

  #latents({ stored, posteriorNoise }: EncodedInputs): Tensor {
    return posteriorNoise ? samplePosterior(stored, posteriorNoise, this.#options.data.latentScale, 0) : stored
  }

  /** Before the passes: a negative may be of any sample of the batch, and so of another pass or process. */
  #negativeVelocities(inputs: EncodedInputs): Tensor | undefined {
    const { negatives, noise, t } = inputs
    if (!negatives) return undefined
    return scope(() => {
      const velocities = this.#objective.velocities!({ latents: this.#latents(inputs), noise, t })
      return velocitiesAt(negatives, velocities, this.#options.world)
    })
  }

  /** The encoders' features, and what the first one's attention reads where that is compared. */
  #targets(inputs: SampleInputs): { features: Tensor[]; attention: PackedHeads[] | undefined } {
    const { model, encoders, alignSpatialNorm: gamma, attention: compared, classToken } = this.#options
    const attention: PackedHeads[] = []
    const show = ({ qkv, heads }: PackedHeads) => attention.push({ qkv: keep(qkv.alias()), heads })
    let cached = 0
    try {
      const features = encoders.map((encoder, k) =>
        scope(() => {
          const made = isCached(encoder)
            ? featureTargets(inputs[`features${cached++}`]!)
            : encoder.features(inputs.images!, model.grid, {
                classToken: classToken !== undefined,
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
      const { model, selfAlign } = this.#options
      return teacherStates(model, { input, t, condition }, selfAlign!.teacherDepth)
    })
  }
}
