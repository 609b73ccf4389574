/**
 * The Runge–Kutta method of order 5(4) of Dormand and Prince (J. Comput. Appl. Math. 6, 1980) with Shampine's interpolation, choosing
 * its steps as torchdiffeq's dopri5: a step is kept where its estimated error is within the tolerance, in the root mean square over
 * all numbers of all samples.
 */
import { linearCombination } from '../tensor/ops/float64.ts'
import { keep, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** dx/dt at a state (f64) and a time, f64. */
export type Derivative = (state: Tensor, t: number) => Tensor

export interface Dopri5Options {
  readonly atol: number
  readonly rtol: number
  /** Shown the state at every one of the times. */
  readonly observe?: (state: Tensor, point: number) => void
  /** Called after each step that is kept, with the time it has come to. */
  readonly onStep?: (reached: number) => void
  readonly signal?: AbortSignal
}

/** Where in a step the stages after the first are taken, and of which earlier stages' slopes. */
const STAGES: readonly { readonly at: number; readonly of: readonly number[] }[] = [
  { at: 1 / 5, of: [1 / 5] },
  { at: 3 / 10, of: [3 / 40, 9 / 40] },
  { at: 4 / 5, of: [44 / 45, -56 / 15, 32 / 9] },
  { at: 8 / 9, of: [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729] },
  { at: 1, of: [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656] },
  // The last stage is the next step's first: its state is the result.
  { at: 1, of: [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84] },
]

/** The result less that of the embedded method of order 4. */
const ERROR = [
  35 / 384 - 1951 / 21600,
  0,
  500 / 1113 - 22642 / 50085,
  125 / 192 - 451 / 720,
  -2187 / 6784 + 12231 / 42400,
  11 / 84 - 649 / 6300,
  -1 / 60,
]

/** The state at the middle of the step. */
const MIDDLE = [
  6025192743 / 30085553152 / 2,
  0,
  51252292925 / 65400821598 / 2,
  -2691868925 / 45128329728 / 2,
  187940372067 / 1594534317056 / 2,
  -1776094331 / 19743644256 / 2,
  11237099 / 235043384 / 2,
]

const ORDER = 5
/** How far a next step's length stays below what the error allows, and how much it may change at once. */
const [SAFETY, LARGEST_GROWTH, LARGEST_SHRINKAGE] = [0.9, 10, 0.2]

/** From the state `start` (f32 or f64) at times[0] through all times; the last state, f64, which the caller disposes. */
export async function dopri5(
  derivative: Derivative,
  start: Tensor,
  times: readonly number[],
  { atol, rtol, observe, onStep, signal }: Dopri5Options,
): Promise<Tensor> {
  const first = times[0]!
  let state = copied(start)
  let slope: Tensor | undefined
  let step: Step | undefined
  let result = copied(start)
  try {
    observe?.(result, 0)
    slope = own(() => derivative(state, first))
    let length = await firstStep(derivative, state, slope, first, { atol, rtol })
    let reached = first
    for (const [index, time] of times.entries()) {
      if (index === 0) continue
      while (reached < time) {
        signal?.throwIfAborted()
        const tried = tryStep(derivative, state, slope, reached, length)
        const error = await errorRatio(tried, state, { atol, rtol })
        if (!Number.isFinite(error)) {
          tried.dispose()
          throw new RangeError(`dopri5: the state is no longer finite after t = ${reached}.`)
        }
        if (error <= 1) {
          step?.dispose()
          step = tried
          reached += length
          onStep?.(Math.min(reached, times.at(-1)!))
          state.dispose()
          slope.dispose()
          state = tried.end.alias()
          slope = tried.slopes.at(-1)!.alias()
        } else {
          tried.dispose()
        }
        length = nextLength(length, error)
        if (reached + length === reached) {
          throw new RangeError(`dopri5: the step length vanishes at t = ${reached}; loosen the tolerances.`)
        }
      }
      const { began, length: taken } = step!
      result.dispose()
      result = own(() => interpolated(step!, (time - began) / taken))
      observe?.(result, index)
    }
    return result
  } catch (error) {
    result.dispose()
    throw error
  } finally {
    state.dispose()
    slope?.dispose()
    step?.dispose()
  }
}

/** A step that was taken, or tried. */
interface Step {
  readonly began: number
  readonly length: number
  readonly start: Tensor
  readonly end: Tensor
  /** Those of all seven stages. */
  readonly slopes: readonly Tensor[]
  dispose(): void
}

function tryStep(derivative: Derivative, state: Tensor, slope: Tensor, t: number, length: number): Step {
  const slopes = [slope.alias()]
  const start = state.alias()
  let end: Tensor | undefined
  try {
    for (const { at, of } of STAGES) {
      end?.dispose()
      end = own(() => alongSlopes(state, slopes, of, length))
      const stage = end
      slopes.push(own(() => derivative(stage, t + at * length)))
    }
  } catch (error) {
    for (const tensor of [start, end, ...slopes]) tensor?.dispose()
    throw error
  }
  return {
    began: t,
    length,
    start,
    end: end!,
    slopes,
    dispose: () => {
      for (const tensor of [start, end!, ...slopes]) tensor.dispose()
    },
  }
}

/** state + length · Σ weight · slope; without a state, the sum alone. */
function alongSlopes(
  state: Tensor | undefined,
  slopes: readonly Tensor[],
  weights: readonly number[],
  length: number,
): Tensor {
  const terms = weights.flatMap((weight, i) => (weight === 0 ? [] : [[length * weight, slopes[i]!] as const]))
  return linearCombination(state ? [[1, state], ...terms] : terms)
}

/** The polynomial of degree 4 through both ends, their slopes and the middle, at `x` from 0 to 1. */
function interpolated({ start, end, slopes, length }: Step, x: number): Tensor {
  const middle = alongSlopes(start, slopes, MIDDLE, length)
  const [x2, x3, x4] = [x * x, x ** 3, x ** 4]
  return linearCombination([
    [1 - 11 * x2 + 18 * x3 - 8 * x4, start],
    [-5 * x2 + 14 * x3 - 8 * x4, end],
    [16 * x2 - 32 * x3 + 16 * x4, middle],
    [length * (x - 4 * x2 + 5 * x3 - 2 * x4), slopes[0]!],
    [length * (x2 - 3 * x3 + 2 * x4), slopes.at(-1)!],
  ])
}

interface Tolerances {
  readonly atol: number
  readonly rtol: number
}

/** The estimated error over the tolerance; at most 1 is kept. */
async function errorRatio({ end, slopes, length }: Step, before: Tensor, { atol, rtol }: Tolerances): Promise<number> {
  using error = own(() => alongSlopes(undefined, slopes, ERROR, length))
  const [errors, y0, y1] = await Promise.all([error.dataAs('f64'), before.dataAs('f64'), end.dataAs('f64')])
  return rootMeanSquare(errors, (e, i) => e / (atol + rtol * Math.max(Math.abs(y0[i]!), Math.abs(y1[i]!))))
}

function nextLength(length: number, error: number): number {
  if (error === 0) return length * LARGEST_GROWTH
  const least = error < 1 ? 1 : LARGEST_SHRINKAGE
  return length * Math.min(LARGEST_GROWTH, Math.max(SAFETY / error ** (1 / ORDER), least))
}

/** A length to begin with (Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, section II.4). */
async function firstStep(
  derivative: Derivative,
  state: Tensor,
  slope: Tensor,
  t: number,
  { atol, rtol }: Tolerances,
): Promise<number> {
  const [y0, f0] = await Promise.all([state.dataAs('f64'), slope.dataAs('f64')])
  const scale = y0.map((y) => atol + Math.abs(y) * rtol)
  const size = rootMeanSquare(y0, (y, i) => y / scale[i]!)
  const speed = rootMeanSquare(f0, (f, i) => f / scale[i]!)
  const trial = size < 1e-5 || speed < 1e-5 ? 1e-6 : (0.01 * size) / speed
  using next = own(() =>
    derivative(
      linearCombination([
        [1, state],
        [trial, slope],
      ]),
      t + trial,
    ),
  )
  const f1 = await next.dataAs('f64')
  const curvature = rootMeanSquare(f1, (f, i) => (f - f0[i]!) / scale[i]!) / trial
  const length =
    speed <= 1e-15 && curvature <= 1e-15
      ? Math.max(1e-6, trial * 1e-3)
      : (0.01 / Math.max(speed, curvature)) ** (1 / ORDER)
  return Math.min(100 * trial, length)
}

function rootMeanSquare(values: Float64Array, of: (value: number, i: number) => number): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += of(values[i]!, i) ** 2
  return Math.sqrt(sum / values.length)
}

/** The tensor that `make` returns, out of any scope's hands; what it made besides is freed. */
function own(make: () => Tensor): Tensor {
  return keep(scope(make))
}

/** In f64, in memory of its own. */
function copied(x: Tensor): Tensor {
  return own(() => linearCombination([[1, x]]))
}
