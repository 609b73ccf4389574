import { ALONE, type World } from '../distributed/world.ts'
import { native } from '../native.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type ArenaPart, ArenaShare, unionOf } from './arena-share.ts'
import { GradientExchange } from './gradient-exchange.ts'
import { Moments } from './moments.ts'
import {
  requireCounters,
  requireGradientScale,
  requireOptionNames,
  requireRangesWithin,
  requireSettings,
  requireStepNames,
} from './optimizer-settings.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'

export interface AdamWOptions {
  readonly learningRate: number
  readonly betas: readonly [number, number]
  readonly epsilon: number
  readonly weightDecay: number
  /** Global L2 norm to which gradients are clipped; Infinity: not at all. */
  readonly maxGradNorm: number
  /** e ← decay·e + (1 − decay)·p after every update, over all parameters, frozen ones included. */
  readonly emaDecay: number
  /**
   * What the losses multiply their first gradient by, so that fp16 holds its small elements; 0: no loss scaling. It then follows
   * torch.amp.GradScaler: twice as much after 2000 updates, half as much (1 at least) when a gradient is not finite.
   */
  readonly lossScale: number
  /** Begin and end, in pairs, of the arena's ranges without weight decay (`ParameterArena.rangesOf`). */
  readonly undecayed?: readonly number[]
  /**
   * Likewise, of parameters that steps may hold at first: without an update, as torch's without a gradient. Their bias corrections count
   * the updates since then.
   */
  readonly late?: readonly number[]
}

/** What a schedule gives each step; what it leaves out is as in the options. */
export type StepSettings = Partial<Pick<AdamWOptions, 'learningRate' | 'weightDecay' | 'emaDecay'>> & {
  /** Holds the late parameters, as all steps before must have. Default: false. */
  readonly holdsLate?: boolean
  /** f64 [1]: what the learning rate is multiplied by, read where the update is made; so a captured step follows a schedule. */
  readonly learningRateFactor?: Tensor | undefined
}

/** REPA's settings. */
export const REPA_ADAMW: AdamWOptions = {
  learningRate: REFERENCE_DEFAULTS.learningRate,
  betas: REFERENCE_DEFAULTS.betas,
  epsilon: REFERENCE_DEFAULTS.epsilon,
  weightDecay: REFERENCE_DEFAULTS.weightDecay,
  maxGradNorm: REFERENCE_DEFAULTS.maxGradNorm,
  emaDecay: REFERENCE_DEFAULTS.emaDecay,
  lossScale: 0,
}

/** What the device knows of the last update: native/core/step_state.h, field by field. */
export interface StepState {
  /** L2 norm of the gradient before clipping. */
  readonly gradNorm: number
  /** False: the gradient held an infinity or NaN, and the step changed nothing. */
  readonly finite: boolean
  /** Updates made so far. */
  readonly updates: number
  /** Steps left out so far because the gradient was not finite. */
  readonly skipped: number
  /** Updates that have held the late parameters. */
  readonly held: number
  /** Undefined without loss scaling. */
  readonly lossScaling: LossScaling | undefined
}

export interface LossScaling {
  /** What the losses multiply the next gradient by. */
  readonly scale: number
  /** Updates since it last changed. */
  readonly steps: number
}

/** What goes on where a checkpoint stopped. */
export type OptimizerCounters = Pick<StepState, 'updates' | 'skipped'> &
  Partial<Pick<StepState, 'held' | 'lossScaling'>>

/**
 * All settings, those that are left out or undefined being REPA's.
 *
 * @throws {ConfigurationError} for settings that are none
 * @throws {RangeError} for settings of which no weights would come
 */
export function adamWSettings(options: Partial<AdamWOptions>): AdamWOptions {
  requireOptionNames(options)
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  const settings = { ...REPA_ADAMW, ...Object.fromEntries(given) }
  requireSettings(settings)
  return settings
}

export const STATE_BYTES = 56
const OFFSETS = { gradNorm: 8, finite: 20, updates: 24, skipped: 32, lossScale: 40, stepsAtScale: 44, held: 48 }

/**
 * AdamW with global-norm clipping and an exponential moving average, one pass over the arena; nothing returns to the host. Several processes
 * update a share of the weights each (arena-share.ts) and pass them on.
 */
export class AdamW implements Disposable {
  readonly options: AdamWOptions
  readonly moments: Moments
  /** By which several processes may begin to sum gradients before the step. */
  readonly exchange: GradientExchange
  readonly #arena: ParameterArena
  readonly #world: World
  readonly #share: ArenaShare
  /** Of the squares of the gradient, of every process's share: f64 [processes]. */
  readonly #sums: Tensor
  readonly #state: Tensor

  /**
   * A fresh optimizer: zero moments, and the EMA a copy of the weights.
   *
   * @throws {ConfigurationError} for settings that are none
   * @throws {RangeError} for settings of which no weights would come
   */
  constructor(arena: ParameterArena, options: Partial<AdamWOptions> = {}, world: World = ALONE) {
    this.options = adamWSettings(options)
    requireRangesWithin(this.options, arena.size)
    this.#arena = arena
    this.#world = world
    const share = new ArenaShare(arena, world)
    this.#share = share
    this.exchange = new GradientExchange(arena, share, world)
    // Where memory runs out in it, the scope frees what it has made; the moments, which are kept, come last.
    const { sums, state, moments } = scope(() => {
      arena.allocateGradients()
      native().copy(arena.array('ema').handle, arena.array('weights').handle)
      // Whoever runs the average meanwhile has another one now.
      if (arena.role === 'ema') arena.refreshCompute()
      return {
        sums: Tensor.empty([world.size], arena.device, 'f64'),
        state: Tensor.empty([STATE_BYTES], arena.device, 'u8'),
        moments: new Moments(arena, share, world),
      }
    })
    arena.optimizer = this
    this.moments = moments
    this.#sums = keep(sums)
    this.#state = keep(state)
    this.restore({ updates: 0, skipped: 0 })
  }

  /**
   * @throws {Error} where another optimizer has been made for the arena since, whose moments and EMA these are now, or where the model has an arena
   *   of other parameters
   */
  requireOwn(what: string): void {
    if (this.#arena.optimizer === this) return
    throw new Error(
      `${what}: the model has another optimizer since, of another Trainer or an AdamW, or other parameters, by align; what this one kept is gone. ` +
        'Make a new one, and restore a checkpoint to go on from.',
    )
  }

  /** The state on the device, for the losses, by whose scale they multiply their gradients; undefined without loss scaling. */
  get scaling(): Tensor | undefined {
    return this.options.lossScale > 0 ? this.#state : undefined
  }

  /**
   * Clips, updates the weights and moments, and moves the EMA, unless a gradient is not finite: then nothing changes. The gradient is the
   * sum of the processes'; afterwards each array of gradients holds only this process's share of that, and the weights are on their way to the
   * others until the arena is asked for them (`ParameterArena.arriveBy`). The loss scale is undone; gradientScale (1 / passes) averages
   * gradients that several passes accumulated. `settings` are this step's, where they are not as in the options.
   *
   * @throws {ConfigurationError | RangeError} for settings as the constructor's
   * @throws {Error} where the arena's parameters are not its weights
   */
  step(gradientScale = 1, settings?: StepSettings): void {
    const arena = this.#arena
    this.requireOwn('A step of AdamW')
    requireGradientScale(gradientScale)
    const ofStep = { ...this.options, ...settings }
    if (settings) {
      requireStepNames(settings)
      requireSettings(ofStep)
      requireRangesWithin(ofStep, arena.size)
    }
    const { maxGradNorm, emaDecay, late = [], holdsLate = false, ...rest } = ofStep
    arena.requireWeights('A step of AdamW')
    const world = this.#world
    const share = this.#share
    // The last step's: the EMA follows them by its state.
    arena.settle()
    arena.countChange()
    const isWhole = world.size === 1
    const frozen = holdsLate ? unionOf(arena.frozen, late) : arena.frozen
    const [sums, state] = [this.#sums.handle, this.#state.handle]
    this.exchange.finish()
    using gradients = share.of(arena.array('gradients'))
    native().sumOfSquares(gradients.handle, share.ranges(frozen), sums, world.rank)
    world.allGather(this.#sums, 1)
    native().clipGradientNorm(sums, state, maxGradNorm, gradientScale, holdsLate)
    for (const { part, isInside } of share.cutAt(holdsLate ? [] : late)) {
      this.#update(part, frozen, isInside, { emaDecay, ...rest })
    }
    if (isWhole) return
    const [weights, ema, copy] = [arena.array('weights'), arena.array('ema'), arena.compute]
    world.beginAllGather(weights, share.equal)
    arena.arriveBy(() => {
      world.awaitBegun()
      native().followWeights(weights.handle, ema.handle, copy?.handle ?? null, state, emaDecay)
    })
  }

  /** AdamW over a part of the share, all of it late parameters or none; of a process on its own with the EMA and the copy of the weights. */
  #update(
    part: ArenaPart,
    frozen: readonly number[],
    late: boolean,
    options: Omit<AdamWOptions, 'maxGradNorm'> & Pick<StepSettings, 'learningRateFactor'>,
  ): void {
    const { learningRate, betas, epsilon, weightDecay, emaDecay, undecayed = [], learningRateFactor } = options
    const arena = this.#arena
    const { begin } = this.#share
    const isWhole = this.#world.size === 1
    scope(() => {
      native().adamW(
        part.of(arena.array('weights')).handle,
        part.of(arena.array('gradients')).handle,
        part.of(this.moments.of('firstMoments'), begin).handle,
        part.of(this.moments.of('secondMoments'), begin).handle,
        isWhole ? part.of(arena.array('ema')).handle : null,
        isWhole && arena.compute ? part.of(arena.compute).handle : null,
        part.ranges(frozen),
        part.ranges(undecayed),
        this.#state.handle,
        late,
        learningRate,
        betas[0],
        betas[1],
        epsilon,
        weightDecay,
        emaDecay,
        learningRateFactor?.handle ?? null,
      )
    })
  }

  /**
   * Moves an average as the EMA is moved, decay · average + (1 − decay) · x, f32 [n] both: only where the last step has updated the weights.
   * What a step that was left out has computed may not be finite.
   */
  follow(x: Tensor, average: Tensor, decay: number): void {
    native().followWeights(x.handle, average.handle, null, this.#state.handle, decay)
  }

  /** The state after everything enqueued so far. */
  async state(): Promise<StepState> {
    const bytes = await this.#state.dataAs('u8')
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    return {
      gradNorm: view.getFloat64(OFFSETS.gradNorm, true),
      finite: view.getInt32(OFFSETS.finite, true) !== 0,
      updates: Number(view.getBigInt64(OFFSETS.updates, true)),
      skipped: Number(view.getBigInt64(OFFSETS.skipped, true)),
      held: Number(view.getBigInt64(OFFSETS.held, true)),
      lossScaling: this.scaling && {
        scale: view.getFloat32(OFFSETS.lossScale, true),
        steps: view.getInt32(OFFSETS.stepsAtScale, true),
      },
    }
  }

  /**
   * Continues where a checkpoint stopped; the moments are loaded by themselves, and the EMA is the arena's. One of a run without loss scaling lets it begin
   * anew, and a scale is left out where this optimizer has none.
   *
   * @throws {ConfigurationError} naming every counter that is none
   */
  restore(counters: OptimizerCounters): void {
    requireCounters(counters)
    const { updates, skipped, held = 0, lossScaling } = counters
    this.#arena.settle()
    const bytes = new Uint8Array(STATE_BYTES)
    const view = new DataView(bytes.buffer)
    view.setBigInt64(OFFSETS.updates, BigInt(updates), true)
    view.setBigInt64(OFFSETS.skipped, BigInt(skipped), true)
    view.setBigInt64(OFFSETS.held, BigInt(held), true)
    if (this.scaling) {
      view.setFloat32(OFFSETS.lossScale, lossScaling?.scale ?? this.options.lossScale, true)
      view.setInt32(OFFSETS.stepsAtScale, lossScaling?.steps ?? 0, true)
    }
    this.#state.write(bytes)
  }

  dispose(): void {
    this.#arena.settle()
    for (const own of [this.moments, this.#sums, this.#state]) own.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
