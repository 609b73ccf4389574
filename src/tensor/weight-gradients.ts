import { native } from '../native.ts'
import { keep } from './scope.ts'
import type { Tensor } from './tensor.ts'

/** As many as one launch takes (native/cuda/gemm_problem.h, GemmGroup). */
const MOST_AT_ONCE = 4

/** dOutᵀ input, [out, in], which is written, or with `accumulate` added, to `into`. */
export interface WeightGradient {
  /** [..., out] */
  readonly dOut: Tensor
  /** [..., in] */
  readonly input: Tensor
  /** f32 [out, in]; must live until it has been computed, and waits once at a time (`awaits`). */
  readonly into: Tensor
  readonly accumulate: boolean
}

/**
 * Weight gradients of linear layers on their way to the device. A CPU computes each at once. On a GPU they wait for others of as many
 * rows and share a launch with them: alone, few of them have as many tiles as the GPU has places for (native/cuda/gemm_sm90.cu counts
 * them). Those of other rows wait beside them: a joint block's text and image take turns. What one reads is held until then.
 */
export class WeightGradientQueue {
  /** By launch. */
  #waiting: WeightGradient[][] = []

  /** `dOut` and `input` stay the caller's. */
  add(next: WeightGradient): void {
    const { dOut, input, into, accumulate } = next
    if (dOut.device === 'cpu') {
      native().linearWeightGradient(dOut.handle, input.handle, into.handle, accumulate)
      return
    }
    const held = { dOut: keep(dOut.alias()), input: keep(input.alias()), into, accumulate }
    const group = this.#waiting.find(([first]) => sharesLaunch(first!, next))
    if (!group) {
      this.#waiting.push([held])
      return
    }
    group.push(held)
    if (group.length < MOST_AT_ONCE) return
    this.#waiting = this.#waiting.filter((other) => other !== group)
    launch(group)
  }

  /** Whether a gradient waits that goes to this tensor. */
  awaits(into: Tensor): boolean {
    return this.#waiting.flat().some((waiting) => waiting.into === into)
  }

  /** Enqueues what waits. */
  flush(): void {
    // One by one: where a launch fails, what is behind it still waits, for `dispose`.
    for (let group = this.#waiting.shift(); group; group = this.#waiting.shift()) launch(group)
  }

  /** Forgets what waits. */
  dispose(): void {
    for (const group of this.#waiting.splice(0)) release(group)
  }
}

function launch(group: readonly WeightGradient[]): void {
  const handles = (of: 'dOut' | 'input' | 'into') => group.map((waiting) => waiting[of].handle)
  try {
    native().linearWeightGradients(handles('dOut'), handles('input'), handles('into'), group[0]!.accumulate)
  } finally {
    release(group)
  }
}

/** Lets go of what the gradients read. */
function release(group: readonly WeightGradient[]): void {
  for (const { dOut, input } of group) {
    dOut.dispose()
    input.dispose()
  }
}

/** A launch has one depth of sums, one dtype, and adds to all of its results or to none. */
function sharesLaunch(a: WeightGradient, b: WeightGradient): boolean {
  return (
    rowsOf(a.dOut) === rowsOf(b.dOut) &&
    a.dOut.dtype === b.dOut.dtype &&
    a.dOut.device === b.dOut.device &&
    a.accumulate === b.accumulate
  )
}

function rowsOf(x: Tensor): number {
  return x.shape.slice(0, -1).reduce((rows, size) => rows * size, 1)
}
