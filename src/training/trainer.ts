import { join } from 'node:path'
import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { type Batch, Loader } from '../data/loader.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import { synchronize } from '../tensor/device.ts'
import { cast } from '../tensor/ops/cast.ts'
import { samplePosterior } from '../tensor/ops/interpolant.ts'
import { mean } from '../tensor/ops/loss.ts'
import { dropLabels, type RandomKey, randomNormal } from '../tensor/random.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { CapturedStep } from './captured-step.ts'
import {
  CHECKPOINTS,
  type CheckpointState,
  countersOf,
  loadCheckpoint,
  readCheckpointState,
  saveCheckpoint,
} from './checkpoint.ts'
import { forwardBackward, type Objective } from './objective.ts'
import { objectiveFor } from './objectives.ts'
import { AdamW, type AdamWOptions } from './optimizer.ts'
import { defaultPrecision, type PrecisionPolicy, precisionPolicy } from './precision.ts'
import { requireFit, requireSameComputation } from './requirements.ts'

/** What aligns the hidden states: one encoder or several, after block `depth`, with this weight in the loss. */
export interface Alignment {
  readonly encoder: Encoder | readonly Encoder[]
  /** Default: the model's `alignDepth`, at most its last block. */
  readonly depth?: number
  /** Default 0.5. */
  readonly weight?: number
}

export interface TrainerOptions extends Partial<AdamWOptions> {
  /** Trained in place; gains projectors for the alignment's encoders where it has none. */
  readonly model: AnyTransformer
  readonly data: Dataset
  /** None: the model's plain objective. */
  readonly align?: Alignment
  readonly batch: number
  readonly precision?: PrecisionPolicy['name']
  /**
   * On a GPU: record the step once and replay it as one call, which frees the host where steps are short (small models and batches).
   * The results have the same bits; the step's memory stays taken between steps. Default false.
   */
  readonly cudaGraph?: boolean
  /** SiT's interpolant. Default: linear. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. Default: uniform. */
  readonly weighting?: TimeWeighting
  /** What a checkpoint keeps as the run's configuration. */
  readonly configuration?: CheckpointState['configuration']
  readonly seed?: number
}

/** One training step, as seen some steps later: the host does not wait for the device. */
export interface TrainingStep {
  /** From 1. */
  readonly index: number
  readonly epoch: number
  /** denoising [+ vb] + weight · alignment. */
  readonly loss: number
  readonly denoising: number
  /** DiT's variational bound, in bits a dimension; undefined where the objective has none. */
  readonly vb: number | undefined
  /** In [−1, 1]; undefined without encoders. */
  readonly alignment: number | undefined
  /** Before clipping. */
  readonly gradNorm: number
  readonly learningRate: number
  /** False: the gradient held an infinity or NaN, and weights, moments and EMA were left alone. */
  readonly finite: boolean
  /** Steps left out so far. */
  readonly skipped: number
  /** What the losses multiply the next gradient by; undefined without loss scaling. */
  readonly lossScale: number | undefined
  readonly imagesPerSecond: number
  /** Since the first run() began. */
  readonly seconds: number
}

export interface RunOptions {
  /** Total number of steps, those before a resumption included. */
  readonly steps: number
  readonly signal?: AbortSignal
}

/** REPA's scale of SD-VAE latents. */
const LATENT_SCALE = 0.18215
/** Steps that may be under way on the device before the host waits for the oldest. */
const STEPS_AHEAD = 2

/** What a step starts from, on the device: the samples, and what is drawn for them. */
type StepInputs = {
  /** Latents, or their posterior's moments, as the data hold them. */
  readonly stored: Tensor
  readonly posteriorNoise: Tensor | undefined
  /** Undefined without encoders. */
  readonly images: Tensor | undefined
  /** Already dropped. */
  readonly labels: Tensor
  readonly t: Tensor
  readonly noise: Tensor
}

/** Means over the batch. */
type StepLosses = {
  readonly denoising: Tensor
  readonly vb: Tensor | undefined
  readonly alignment: Tensor | undefined
}

type Pending = Promise<Omit<TrainingStep, 'imagesPerSecond' | 'seconds'>>

/**
 * Trains a SiT or a DiT with REPA:
 *
 *     const trainer = new Trainer({ model, data, align: { encoder, depth: 8, weight: 0.5 }, batch: 256 })
 *     for await (const step of trainer.run({ steps: 400_000 })) console.log(step.index, step.loss)
 *     await trainer.save('runs/xl')
 *
 * All random numbers and the order of the data depend on the seed and the step's number alone, so a resumed run goes on as the
 * unbroken one would have.
 */
export class Trainer implements AsyncDisposable {
  readonly model: AnyTransformer
  readonly data: Dataset
  readonly optimizer: AdamW
  readonly #options: Required<Pick<TrainerOptions, 'batch' | 'seed' | 'configuration' | 'cudaGraph'>>
  readonly #objective: Objective
  readonly #encoders: readonly Encoder[]
  readonly #alignWeight: number
  #step = 0
  /** When the first run() began. */
  #began: number | undefined
  #batches: AsyncIterator<Batch, undefined> | undefined
  /** Whether this trainer has made a step: then everything that is made once is there. */
  #warm = false
  #captured: CapturedStep<StepInputs, StepLosses> | undefined

  constructor(options: TrainerOptions) {
    const { model, data, align, batch } = options
    const encoders = align ? [align.encoder].flat() : []
    this.model = model
    this.data = data
    this.#encoders = encoders
    this.#alignWeight = align?.weight ?? 0.5
    const precision = precisionPolicy(options.precision ?? defaultPrecision(model.device), model.device)
    this.#options = {
      batch,
      seed: options.seed ?? 0,
      cudaGraph: options.cudaGraph ?? false,
      configuration: options.configuration ?? null,
    }
    requireFit(model, data, batch)
    if (this.#options.cudaGraph && model.device === 'cpu') {
      throw new RangeError('A step cannot be captured on the CPU; only a GPU has graphs. Leave cudaGraph out.')
    }
    const widths = encoders.map((encoder) => encoder.width)
    const depth = align?.depth ?? Math.min(model.config.alignDepth, model.config.depth)
    if (String(widths) !== String(model.config.alignWidths) || depth !== model.config.alignDepth) {
      model.align({ widths, depth, seed: this.#options.seed })
    }
    model.computeIn(precision.dtype)
    for (const encoder of encoders) encoder.computeIn?.(precision.dtype)
    this.#objective = objectiveFor(model, options)
    this.optimizer = new AdamW(model.arena, { ...options, lossScale: options.lossScale ?? precision.lossScale })
  }

  /** Steps made so far. */
  get step(): number {
    return this.#step
  }

  /** Continues from a checkpoint folder: weights, moments, EMA and counters. */
  async restore(checkpoint: string): Promise<void> {
    const state = await readCheckpointState(checkpoint)
    if (state.seed !== this.#options.seed) {
      throw new RangeError(
        `${checkpoint} was made with seed ${state.seed}, this run has ${this.#options.seed}; pass the same seed to go on exactly.`,
      )
    }
    requireSameComputation(checkpoint, state.model, this.model.config)
    await loadCheckpoint(checkpoint, this.model, ['weights', 'ema', 'firstMoments', 'secondMoments'])
    this.model.arena.refreshCompute()
    this.optimizer.restore(countersOf(state))
    await this.#closeLoader()
    this.#step = state.step
  }

  /** Writes `RUN/checkpoints/STEP/` (checkpoint.ts says what) and returns that folder; `repa sample --checkpoint RUN` takes it. */
  async save(run: string): Promise<string> {
    const { updates, skipped, lossScaling } = await this.optimizer.state()
    const { seed, configuration } = this.#options
    return saveCheckpoint(join(run, CHECKPOINTS), this.model, {
      step: this.#step,
      updates,
      skipped,
      lossScaling,
      seed,
      configuration,
    })
  }

  /**
   * Trains up to step number `steps`, yielding each step some steps after it was enqueued. Leaving the loop, or aborting the
   * signal, waits for what is under way: `step` then counts what the weights have seen.
   */
  async *run({ steps, signal }: RunOptions): AsyncGenerator<TrainingStep, void, void> {
    if (this.#step >= steps) return
    const { batch } = this.#options
    this.#batches ??= this.#openLoader()
    this.#began ??= performance.now()
    const began = this.#began
    const pending: Pending[] = []
    let last = performance.now()
    const finish = async (step: Pending): Promise<TrainingStep> => {
      const report = await step
      const now = performance.now()
      const imagesPerSecond = (1000 * batch) / (now - last)
      last = now
      return { ...report, imagesPerSecond, seconds: (now - began) / 1000 }
    }
    try {
      while (this.#step < steps && !signal?.aborted) {
        const { value: samples, done } = await this.#batches.next()
        if (done) break
        const step = this.#trainStep(samples)
        // A failure is reported when the step's turn comes; until then it must not count as unhandled.
        step.catch(() => {})
        pending.push(step)
        if (pending.length > STEPS_AHEAD) yield await finish(pending.shift()!)
      }
      while (pending.length > 0) yield await finish(pending.shift()!)
    } catch (error) {
      // Its position may be past the step's by now: the next run opens it anew.
      await this.#closeLoader()
      throw error
    } finally {
      await Promise.allSettled(pending)
      await synchronize(this.model.device)
    }
  }

  /** Batches from the next step on; kept between runs, with what it has read ahead. */
  #openLoader(): AsyncIterator<Batch, undefined> {
    const { batch, seed } = this.#options
    const loader = new Loader(this.data, { batch, seed, images: this.#encoders.length > 0, startStep: this.#step })
    return loader[Symbol.asyncIterator]()
  }

  /** Enqueues one step; the promise settles when the device has made it. */
  #trainStep(samples: Batch): Pending {
    const { learningRate } = this.optimizer.options
    const step = this.#step
    const { read } = scope(() => {
      const { denoising, vb, alignment } = this.#run(this.#draw(samples, step))
      return { read: Promise.all([denoising.item(), vb?.item(), alignment?.item(), this.optimizer.state()]) }
    })
    this.#step++
    return read.then(([denoising, vb, alignment, state]) => ({
      index: step + 1,
      epoch: samples.epoch,
      loss: denoising + (vb ?? 0) + this.#alignWeight * (alignment ?? 0),
      denoising,
      vb,
      alignment,
      gradNorm: state.gradNorm,
      learningRate,
      finite: state.finite,
      skipped: state.skipped,
      lossScale: state.lossScaling?.scale,
    }))
  }

  /** A batch on the device, with everything that is drawn for it. */
  #draw(samples: Batch, step: number): StepInputs {
    const { seed, batch } = this.#options
    const { model, data } = this
    const { device } = model
    const key = (stream: RandomKey['stream']): RandomKey => ({ seed, stream, step })
    const shape = [batch, ...data.latentShape]
    const labels = Tensor.from(samples.labels, [batch], device)
    const { classDropout } = model.config
    return {
      stored: Tensor.from(samples.latents, [batch, ...data.storedLatentShape], device),
      posteriorNoise: data.latentKind === 'moments' ? randomNormal(shape, key('posterior'), device) : undefined,
      images:
        this.#encoders.length > 0
          ? Tensor.from(samples.images!, [batch, 3, data.imageSize, data.imageSize], device)
          : undefined,
      labels: classDropout > 0 ? dropLabels(labels, classDropout, model.nullClass, key('labelDropout')) : labels,
      t: this.#objective.drawTimes(batch, key('timesteps'), device),
      noise: randomNormal(shape, key('noise'), device),
    }
  }

  /** Enqueues all that follows from the inputs: as it is, or, after the first step of this trainer, as a captured graph. */
  #run(inputs: StepInputs): StepLosses {
    if (!this.#options.cudaGraph) return this.#compute(inputs)
    if (!this.#warm) {
      this.#warm = true
      return this.#compute(inputs)
    }
    this.#captured ??= new CapturedStep(inputs, (own) => scope(() => this.#compute(own)))
    this.#captured.replay(inputs)
    return this.#captured.results
  }

  #compute({ stored, posteriorNoise, images, labels, t, noise }: StepInputs): StepLosses {
    const latents = posteriorNoise ? samplePosterior(stored, posteriorNoise, LATENT_SCALE, 0) : stored
    const losses = forwardBackward(
      this.model,
      { latents, labels, t, noise, targets: images ? this.#targets(images) : [] },
      { objective: this.#objective, alignWeight: this.#alignWeight, scaling: this.optimizer.scaling },
    )
    const reported = {
      denoising: mean(losses.denoising),
      vb: losses.vb && mean(losses.vb),
      alignment: losses.alignment && cast(losses.alignment, 'f32'),
    }
    // Last: where memory runs out before, the step has changed nothing.
    this.optimizer.step()
    return reported
  }

  #targets(images: Tensor): Tensor[] {
    const { patch, inputSize } = this.model.config
    const grid = [inputSize[0] / patch, inputSize[1] / patch] as const
    return this.#encoders.map((encoder) => scope(() => encoder.features(images, grid)))
  }

  async #closeLoader(): Promise<void> {
    await this.#batches?.return?.()
    this.#batches = undefined
  }

  /** Frees the optimizer's state and closes the loader; the model stays. */
  async dispose(): Promise<void> {
    this.#captured?.dispose()
    this.#captured = undefined
    this.optimizer.dispose()
    this.#objective[Symbol.dispose]()
    await this.#closeLoader()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
