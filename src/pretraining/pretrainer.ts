import type { Dataset } from '../data/dataset.ts'
import { type Batch, Loader } from '../data/loader.ts'
import type { ChannelStatistics } from '../models/image-normalisation.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { allowTf32Meanwhile, type Device } from '../tensor/device.ts'
import { scope } from '../tensor/scope.ts'
import { AdamW, type OptimizerCounters } from '../training/optimizer.ts'
import { defaultPrecision, type Precision, precisionPolicy } from '../training/precision.ts'
import { type StepTiming, stepsAhead } from '../training/steps-ahead.ts'
import type { MethodName, PretrainingMethod } from './method.ts'
import { createMethod } from './methods.ts'

export interface PretrainerOptions {
  readonly method: MethodName
  readonly data: Dataset
  /** Of its channels. */
  readonly statistics: ChannelStatistics
  readonly encoder: VisionTransformerConfig
  readonly batch: number
  /** In all: the schedules end with the last. */
  readonly steps: number
  readonly learningRate?: number | undefined
  readonly precision?: Precision | undefined
  readonly seed: number
  readonly device: Device
}

/** One step, as seen some steps later: the host does not wait for the device. */
export interface PretrainingStep extends StepTiming {
  /** From 1. */
  readonly index: number
  readonly epoch: number
  readonly loss: number
  /** What it is made of, by the method's names, where it is more than one. */
  readonly parts: Readonly<Record<string, number>>
  readonly gradNorm: number
  readonly learningRate: number
  /** False: the gradient held an infinity or NaN, and the step changed nothing. */
  readonly finite: boolean
  /** Steps left out so far. */
  readonly skipped: number
}

type Pending = Promise<Omit<PretrainingStep, keyof StepTiming>>

/** Trains an encoder by a self-supervised objective. What a step does depends on the seed and its number alone. */
export class Pretrainer implements AsyncDisposable {
  readonly method: PretrainingMethod
  readonly optimizer: AdamW
  readonly #options: PretrainerOptions
  readonly #tf32: boolean
  #step = 0
  /** When the first run() began. */
  #began: number | undefined
  #batches: AsyncIterator<Batch, undefined> | undefined
  #unreported: readonly PretrainingStep[] = []

  constructor(options: PretrainerOptions) {
    const { data, encoder, device } = options
    this.#options = options
    if (data.imageSize !== encoder.imageSize) {
      throw new RangeError(
        `The encoder is of images of ${encoder.imageSize} pixels, those of ${data.path} have ${data.imageSize}.`,
      )
    }
    const precision = precisionPolicy(options.precision ?? defaultPrecision(device), device)
    // Throws where the batch is larger than the data.
    this.#batches = this.#openLoader()
    this.method = createMethod(options.method, { ...options, learningRate: options.learningRate })
    const { model } = this.method
    this.#tf32 = precision.tf32
    try {
      model.computeIn(precision.dtype)
      const plain = new Set(model.entries.filter(({ shape }) => shape.length < 2).map(({ parameter }) => parameter))
      this.optimizer = new AdamW(model.arena, {
        ...this.method.optimizer,
        lossScale: precision.lossScale,
        undecayed: model.arena.rangesOf((parameter) => plain.has(parameter)),
      })
    } catch (error) {
      this.method[Symbol.dispose]()
      throw error
    }
  }

  /** Steps made so far. */
  get step(): number {
    return this.#step
  }

  /** Steps that the last run() has made and not yielded, for its loop was left: `step` counts them. */
  get unreported(): readonly PretrainingStep[] {
    return this.#unreported
  }

  /** Goes on where a checkpoint stopped, whose arrays are in the model's arena. */
  async restore(step: number, counters: OptimizerCounters): Promise<void> {
    this.method.model.arena.refreshCompute()
    this.optimizer.restore(counters)
    await this.#closeLoader()
    this.#step = step
  }

  /**
   * Trains up to step number `until`, yielding each step some steps after it was enqueued. Leaving the loop, or aborting the signal,
   * waits for what is under way.
   */
  async *run({ until, signal }: { until: number; signal?: AbortSignal }): AsyncGenerator<PretrainingStep, void, void> {
    const { batch, device } = this.#options
    this.#batches ??= this.#openLoader()
    this.#began ??= performance.now()
    this.#unreported = []
    yield* stepsAhead({
      next: async () => {
        if (this.#step >= until || signal?.aborted) return undefined
        return (await this.#batches!.next()).value
      },
      enqueue: (samples) => this.#trainStep(samples),
      closeLoader: () => this.#closeLoader(),
      keep: (reports) => {
        this.#unreported = reports
      },
      batch,
      device,
      began: this.#began,
    })
  }

  /** Enqueues one step; the promise settles when the device has made it. */
  #trainStep(samples: Batch): Pending {
    const { data, steps, batch, device } = this.#options
    const { method, optimizer } = this
    // For what is enqueued here alone: the device is not this pretrainer's.
    using _products = allowTf32Meanwhile(device, this.#tf32)
    const number = { step: this.#step, total: steps }
    const settings = { ...optimizer.options, ...method.schedule(number) }
    const read = scope(() => {
      const images = { data: samples.images!, count: batch, size: data.imageSize }
      const { loss, ...parts } = method.forwardBackward(images, number, optimizer.scaling)
      optimizer.step(1, settings)
      method.afterUpdate?.(optimizer)
      const items = Object.entries(parts).map(async ([name, value]) => [name, await value.item()] as const)
      return { reads: Promise.all([loss.item(), optimizer.state(), Promise.all(items)]) }
    }).reads
    this.#step++
    return read.then(([loss, state, parts]) => ({
      index: number.step + 1,
      epoch: samples.epoch,
      loss,
      parts: Object.fromEntries(parts),
      gradNorm: state.gradNorm,
      learningRate: settings.learningRate,
      finite: state.finite,
      skipped: state.skipped,
    }))
  }

  #openLoader(): AsyncIterator<Batch, undefined> {
    const { data, batch, seed } = this.#options
    const loader = new Loader(data, { batch, seed, images: true, latents: false, startStep: this.#step })
    return loader[Symbol.asyncIterator]()
  }

  async #closeLoader(): Promise<void> {
    await this.#batches?.return?.()
    this.#batches = undefined
  }

  async dispose(): Promise<void> {
    this.optimizer.dispose()
    this.method[Symbol.dispose]()
    await this.#closeLoader()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
