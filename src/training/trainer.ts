import { join } from 'node:path'
import { isOver } from '../alignment/schedule.ts'
import { asCalled } from '../configuration/as-called.ts'
import { requirePath } from '../configuration/path-argument.ts'
import type { Dataset } from '../data/dataset.ts'
import { type Batch, Loader } from '../data/loader.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { memoryChanges } from '../nn/parameter-arena.ts'
import { allowTf32Meanwhile, synchronize } from '../tensor/device.ts'
import { scope } from '../tensor/scope.ts'
import { alignModel } from './align-model.ts'
import { isCached } from './cached-encoder.ts'
import { MOMENTS } from './moments.ts'
import type { Objective } from './objective.ts'
import { objectiveFor } from './objectives.ts'
import { AdamW } from './optimizer.ts'
import { optimizerOptionsOf } from './optimizer-settings.ts'
import type { StepInputs, StepLosses } from './passes.ts'
import { RepeatedStep } from './repeated-step.ts'
import { requireSameComputation } from './requirements.ts'
import { type ResolvedTrainerOptions, resolveTrainerOptions } from './resolved-options.ts'
import { checkpointName, RUN_LAYOUT } from './run-layout.ts'
import { beginAlike } from './shared-beginning.ts'
import { StepComputation } from './step-computation.ts'
import { type LossNumbers, stepReport } from './step-report.ts'
import { type StepTiming, stepsAhead } from './steps-ahead.ts'
import { trainedPath } from './trained-path.ts'
import type { RunOptions, TrainerOptions, TrainingStep } from './trainer-options.ts'
import { requireRunOptions, saveOptionsOf } from './trainer-settings.ts'
import { Turns } from './turns.ts'

type Pending = Promise<Omit<TrainingStep, keyof StepTiming>>

/** By itself: in a function with `using` TypeScript leaves the extension of a dynamic import as it is. */
const checkpointModule = () => import('./checkpoint.ts')

/**
 * Trains a SiT or a DiT with REPA:
 *
 *     const trainer = new Trainer({ model, data, align: { encoder, depth: 8, weight: 0.5 }, batch: 256 })
 *     for await (const step of trainer.run({ steps: 400_000 })) console.log(step.index, step.loss)
 *     await trainer.save('runs/xl')
 *
 * All random numbers and the order of the data depend on the seed and the step's number alone, so a resumed run goes on as the
 * unbroken one would have. A model is of one trainer at a time: one that is made of it later takes moments and EMA over, and the earlier one is
 * refused from then on. Encoders and autoencoders may be of several; each step computes in its own trainer's precision.
 */
export class Trainer implements AsyncDisposable {
  readonly model: AnyTransformer
  readonly data: Dataset
  readonly optimizer: AdamW
  readonly #options: ResolvedTrainerOptions
  readonly #objective: Objective
  readonly #computation: StepComputation
  #step = 0
  #isStopped = false
  #isRunning = false
  /** Whether what was opened or captured for the next step includes the alignment. */
  #isAligning = true
  /** When the first run() began. */
  #began: number | undefined
  #batches: AsyncIterator<Batch, undefined> | undefined
  /** The samples of a step that is not begun. */
  #brought: Batch | undefined
  /** How often memory that steps read had changed when this trainer last said what they compute in. */
  #computesSince = 0
  /** Whether a step was made of other samples than the loader's since that was opened. */
  #isDisplaced = false
  readonly #repeated: RepeatedStep<StepInputs, StepLosses>
  /** Of checkpoints, saved or gone on from, and of beginnings of steps: none of them sees another half done. */
  readonly #turns = new Turns()
  #unreported: readonly TrainingStep[] = []
  #disposal: Promise<void> | undefined

  /** @throws {ConfigurationError} for options that are none; {RangeError} where model, data and options do not go together */
  constructor(options: TrainerOptions) {
    const resolved = resolveTrainerOptions(asCalled(options))
    const { model, data, world, path, weighting, timeShift, velocityCosineWeight } = resolved
    this.model = model
    this.data = data
    this.#options = resolved
    // All has been asked; from here on the model is changed, and memory taken.
    this.#objective = objectiveFor(model, { path, weighting, timeShift, velocityCosineWeight })
    try {
      alignModel(resolved)
      this.#computeInOwn()
      this.optimizer = new AdamW(model.arena, optimizerOptionsOf(resolved), world)
    } catch (error) {
      this.#objective[Symbol.dispose]()
      throw error
    }
    this.#computation = new StepComputation(resolved, this.#objective, this.optimizer)
    this.#repeated = new RepeatedStep({ capture: resolved.cudaGraph, world, arena: () => model.arena })
  }

  /** Steps made so far. */
  get step(): number {
    return this.#step
  }

  /** Whether the last run() was ended by its signal, or by another process's. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  /**
   * Steps that the last run() has made and not yielded, for its loop was left, by `break` or by what its body threw: `step` counts them,
   * and a log that is to go on from a checkpoint without a gap needs them.
   */
  get unreported(): readonly TrainingStep[] {
    return this.#unreported
  }

  /**
   * Continues from a checkpoint folder: weights, moments, EMA and counters. Several processes do so together. A run that goes on meanwhile
   * begins no step before that is done, and its next is the checkpoint's.
   */
  async restore(checkpoint: string): Promise<void> {
    requirePath(checkpoint, 'the checkpoint of restore')
    using _turn = await this.#takeTurn()
    this.#requireModel('restore')
    await this.#options.world.comesTo('a checkpoint to go on from')
    const { countersOf, loadCheckpoint, loadMoments, readCheckpointState } = await checkpointModule()
    const state = await readCheckpointState(checkpoint)
    if (state.seed !== this.#options.seed) {
      throw new RangeError(
        `${checkpoint} was made with seed ${state.seed}, this run has ${this.#options.seed}; pass the same seed to go on exactly.`,
      )
    }
    const { path } = this.#options
    const saved = { ...state.model, path: trainedPath(state) }
    requireSameComputation(checkpoint, saved, { ...this.model.config, path })
    await loadCheckpoint(checkpoint, this.model, ['weights', 'ema'])
    await loadMoments(checkpoint, this.model, this.optimizer.moments)
    this.model.arena.refreshCompute()
    this.optimizer.restore(countersOf(state))
    await this.#closeLoader()
    this.#step = state.step
  }

  /**
   * Writes `RUN/checkpoints/STEP/` (checkpoint.ts says what) and returns that folder; `repa sample --checkpoint RUN` takes it. What had
   * its name is replaced. Several processes do so together: one writes, for all. A run that goes on meanwhile begins no step before that is
   * done, so that all of it is of one step.
   *
   * @param options `resumeOnly` is noted in it: `train` removes it once it has saved a later one
   */
  async save(run: string, options: { readonly resumeOnly?: boolean } = {}): Promise<string> {
    requirePath(run, 'the run of save')
    const { resumeOnly } = saveOptionsOf(options)
    using _turn = await this.#takeTurn()
    this.#requireModel('save')
    const { seed, configuration, world } = this.#options
    await world.comesTo(`the checkpoint of step ${this.#step}`)
    const { updates, skipped, lossScaling } = await this.optimizer.state()
    const { moments } = this.optimizer
    const checkpoints = join(run, RUN_LAYOUT.checkpoints)
    if (world.rank > 0) {
      for (const role of MOMENTS) moments.gather(role)
      return join(checkpoints, checkpointName(this.#step))
    }
    const state = {
      step: this.#step,
      ...(resumeOnly && { resumeOnly }),
      updates,
      skipped,
      lossScaling,
      seed,
      configuration,
    }
    const { saveCheckpoint } = await checkpointModule()
    // The turn lasts until it is written.
    return await saveCheckpoint(checkpoints, this.model, moments, state)
  }

  /**
   * Trains up to step number `steps`, yielding each step some steps after it was enqueued. Leaving the loop, or aborting the
   * signal, waits for what is under way: `step` then counts what the weights have seen. Several processes leave it together: by the signal
   * of any of them, and not by `break`. A trainer is in one run at a time.
   */
  async *run(options: RunOptions): AsyncGenerator<TrainingStep, void, void> {
    requireRunOptions(options)
    this.#requireAlive()
    if (this.#isRunning) throw new Error('This trainer is in a run already; leave its loop before another begins.')
    this.#isRunning = true
    this.#unreported = []
    try {
      yield* this.#runTo(options)
    } finally {
      this.#isRunning = false
    }
  }

  async *#runTo({ steps, signal }: RunOptions): AsyncGenerator<TrainingStep, void, void> {
    this.#isStopped = false
    if (this.#step >= steps) return
    const { batch } = this.#options
    if (this.#began === undefined) await this.#beginAlike()
    this.#began ??= performance.now()
    let beginning: Disposable | undefined
    yield* stepsAhead({
      next: async () => {
        const turn = await this.#takeTurn()
        let samples: Batch | undefined
        try {
          samples = await this.#samplesOfNext(steps, signal)
          return samples
        } finally {
          // A step that is begun is enqueued before it is anybody else's turn.
          if (samples) beginning = turn
          else turn[Symbol.dispose]()
        }
      },
      enqueue: (samples) => {
        using _turn = beginning
        this.#brought = undefined
        return this.#trainStep(samples)
      },
      closeLoader: () => this.#closeLoader(),
      keep: (reports) => {
        this.#unreported = reports
      },
      batch,
      device: this.model.device,
      began: this.#began,
    })
  }

  /** Lets all processes begin with the same, before the first step of this trainer. */
  async #beginAlike(): Promise<void> {
    using _turn = await this.#takeTurn()
    const { batch, accumulate, seed, learningRate, world } = this.#options
    await beginAlike(world, this.model, this.data, { step: this.#step, batch, accumulate, seed, learningRate })
  }

  /** Undefined where there is no step to make any more, or none that the processes want to. */
  async #samplesOfNext(steps: number, signal: AbortSignal | undefined): Promise<Batch | undefined> {
    if (this.#step >= steps) return undefined
    const failure = await this.#bring()
    this.#isStopped = !(await this.#options.world.begins(this.#step, signal?.aborted ?? false, failure))
    return this.#isStopped ? undefined : this.#brought
  }

  /** Enqueues one step on samples that are not the data's own, as planning does. */
  makeStep(samples: Batch): Promise<void> {
    // Not async: what cannot be enqueued is thrown at once.
    this.#requireAlive()
    if (this.#turns.isTaken) {
      throw new Error('makeStep: a checkpoint of this trainer is being written or read; wait for that.')
    }
    if (this.#isRunning)
      throw new Error('makeStep: this trainer is in a run, whose steps are of the data; leave its loop before.')
    // What a run has read ahead is of the steps that this one comes before.
    this.#isDisplaced = true
    return this.#trainStep(samples).then(() => {})
  }

  /**
   * Reads the next step's samples, unless a step that was not begun has left them; gives the reason where they cannot be read. Several
   * processes read before they begin a step, so that all of them know before it where one of them cannot.
   */
  async #bring(): Promise<Error | undefined> {
    try {
      if (this.#isDisplaced) await this.#closeLoader()
      this.#isDisplaced = false
      if (this.#isAligning && isOver(this.#step, this.#options.alignSchedule)) await this.#endAlignment()
      this.#batches ??= this.#openLoader()
      this.#brought ??= (await this.#batches.next()).value
      return undefined
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Batches from the next step on; kept between runs, with what it has read ahead. */
  #openLoader(): AsyncIterator<Batch, undefined> {
    const { batch, seed, flip, world, alignSchedule } = this.#options
    const isAligning = !isOver(this.#step, alignSchedule)
    if (isAligning !== this.#isAligning) this.#repeated.forget()
    this.#isAligning = isAligning
    const loader = new Loader(this.data, {
      batch,
      seed,
      flip,
      part: { index: world.rank, count: world.size },
      images: this.#computation.needsImages(isAligning),
      latents: this.data.encodedBy === undefined,
      features: isAligning ? this.#computation.cachedEncoders.map(({ store }) => store) : [],
      startStep: this.#step,
    })
    return loader[Symbol.asyncIterator]()
  }

  /** From now on images are read for an autoencoder alone, and a captured step is recorded without encoders and projectors. */
  async #endAlignment(): Promise<void> {
    await this.#closeLoader()
    await synchronize(this.model.device)
    this.#batches = this.#openLoader()
  }

  /** Enqueues one step; the promise settles when the device has made it. */
  #trainStep(samples: Batch): Pending {
    this.model.arena.requireWeights('A training step')
    this.#requireModel('A training step')
    if (this.#computesSince !== memoryChanges()) this.#computeInOwn()
    const step = this.#step
    const learningRate = this.#computation.learningRateAt(step)
    // For what is enqueued here alone: the device is not this trainer's.
    using _products = allowTf32Meanwhile(this.model.device, this.#options.precision.tf32)
    const { read } = scope(() => {
      const inputs = this.#computation.draw(samples, step, this.#isAligning)
      const losses = this.#repeated.run(inputs, (from) => this.#computation.run(from, step, this.#isAligning))
      const numbers = Object.entries(losses).map(async ([name, loss]) => [name, await loss?.item()] as const)
      return { read: Promise.all([this.optimizer.state(), ...numbers]) }
    })
    this.#step++
    return read.then(([state, ...numbers]) => {
      const report = stepReport(Object.fromEntries(numbers) as LossNumbers, this.#computation.weightsAt(step), state)
      return { index: step + 1, epoch: samples.epoch, learningRate, ...report }
    })
  }

  #requireModel(what: string): void {
    this.model.arena.requireAlive('weights')
    this.optimizer.requireOwn(what)
  }

  /** Lets all that a step runs compute in this trainer's precision: another one, or a sampling, may have said otherwise. */
  #computeInOwn(): void {
    const { model, precision, encoders, autoencoder, captionEncoder } = this.#options
    model.computeIn(precision.dtype)
    for (const encoder of encoders) if (!isCached(encoder)) encoder.computeIn?.(precision.dtype)
    autoencoder?.computeIn(precision.dtype)
    captionEncoder?.computeIn(precision.dtype)
    this.#computesSince = memoryChanges()
  }

  async #closeLoader(): Promise<void> {
    await this.#batches?.return?.()
    this.#batches = undefined
    this.#brought = undefined
  }

  /** Waits for its turn, which nobody has in a trainer that is disposed of. */
  #takeTurn(): Promise<Disposable> {
    this.#requireAlive()
    return this.#turns.take()
  }

  #requireAlive(): void {
    if (this.#disposal) throw new Error('This trainer has been disposed of.')
  }

  /** Frees the optimizer's state and closes the loader, once the checkpoints that were asked for are written; the model stays. */
  async dispose(): Promise<void> {
    this.#disposal ??= this.#free()
    await this.#disposal
  }

  async #free(): Promise<void> {
    using _turn = await this.#turns.take()
    this.#repeated.forget()
    this.optimizer.dispose()
    this.#objective[Symbol.dispose]()
    await this.#closeLoader()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}
