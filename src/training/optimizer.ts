import { native } from '../native.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface AdamWOptions {
  readonly learningRate: number
  readonly betas: readonly [number, number]
  readonly epsilon: number
  readonly weightDecay: number
  /** Global L2 norm to which gradients are clipped; Infinity: not at all. */
  readonly maxGradNorm: number
  /** e ← decay·e + (1 − decay)·p after every update, over all parameters, frozen ones included. */
  readonly emaDecay: number
}

/** REPA's settings (train.py). */
export const REPA_ADAMW: AdamWOptions = {
  learningRate: 1e-4,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  emaDecay: 0.9999,
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
}

const STATE_BYTES = 40
const OFFSETS = { gradNorm: 8, finite: 20, updates: 24, skipped: 32 }

/** AdamW with global-norm clipping and an exponential moving average, one pass over the arena; nothing returns to the host. */
export class AdamW implements Disposable {
  readonly options: AdamWOptions
  readonly #arena: ParameterArena
  readonly #state: Tensor

  /** A fresh optimizer: zero moments, and the EMA a copy of the weights. */
  constructor(arena: ParameterArena, options: Partial<AdamWOptions> = {}) {
    this.options = { ...REPA_ADAMW, ...options }
    this.#arena = arena
    arena.allocateGradients()
    arena.array('firstMoments')
    arena.array('secondMoments')
    native().copy(arena.array('ema').handle, arena.array('weights').handle)
    this.#state = keep(Tensor.from(new Uint8Array(STATE_BYTES), [STATE_BYTES], arena.device))
  }

  /** Clips, updates the weights and moments, and moves the EMA, unless a gradient is not finite: then nothing changes. */
  step(gradientScale = 1): void {
    const { learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay } = this.options
    const arena = this.#arena
    const gradients = arena.array('gradients').handle
    native().clipGradientNorm(gradients, arena.frozen, this.#state.handle, maxGradNorm, gradientScale)
    native().adamW(
      arena.array('weights').handle,
      gradients,
      arena.array('firstMoments').handle,
      arena.array('secondMoments').handle,
      arena.array('ema').handle,
      arena.compute?.handle ?? null,
      arena.frozen,
      this.#state.handle,
      learningRate,
      betas[0],
      betas[1],
      epsilon,
      weightDecay,
      emaDecay,
    )
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
    }
  }

  /** Continues where a checkpoint stopped; the moments and the EMA are the arena's. */
  restore({ updates, skipped }: Pick<StepState, 'updates' | 'skipped'>): void {
    const bytes = new Uint8Array(STATE_BYTES)
    const view = new DataView(bytes.buffer)
    view.setBigInt64(OFFSETS.updates, BigInt(updates), true)
    view.setBigInt64(OFFSETS.skipped, BigInt(skipped), true)
    this.#state.write(bytes)
  }

  dispose(): void {
    this.#state.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
