/** What the two curves of a seed say of each other. */

/** What is measured; `better` is the direction in which it improves. */
export const MEASURES = {
  loss: { title: 'Held-out denoising loss', better: 'lower' },
  distance: { title: 'Fréchet distance (ResNet-20)', better: 'lower' },
  accuracy: { title: 'Probe accuracy', better: 'higher' },
} as const satisfies Readonly<Record<string, { readonly title: string; readonly better: Direction }>>

export type Measure = keyof typeof MEASURES
export type Direction = 'lower' | 'higher'

/** A curve's points, by rising step. */
export type CurvePoints = readonly { readonly step: number; readonly value: number }[]

/**
 * When a curve reaches a value for good: `reached` at a step between two points, interpolated linearly; `before` the first point, so
 * that the step is an upper bound; `not reached` by the last one.
 */
export type Reach =
  | { readonly kind: 'reached'; readonly step: number }
  | { readonly kind: 'before'; readonly step: number }
  | { readonly kind: 'not reached' }

/**
 * The step from which on a curve is at least as good as `target`. A curve that was there and became worse again counts from where it
 * came back: one lucky measurement is no arrival.
 *
 * @throws RangeError for a curve without points
 */
export function reach(curve: CurvePoints, target: number, better: Direction): Reach {
  const [first] = curve
  if (first === undefined) throw new RangeError('A curve without points reaches nothing.')
  /** How much better than the target. */
  const margin = (i: number): number => (better === 'lower' ? target - curve[i]!.value : curve[i]!.value - target)
  let arrival = curve.length
  while (arrival > 0 && margin(arrival - 1) >= 0) arrival--
  if (arrival === curve.length) return { kind: 'not reached' }
  if (arrival === 0) return { kind: 'before', step: first.step }
  const [from, to] = [margin(arrival - 1), margin(arrival)]
  const share = -from / (to - from)
  const { step } = curve[arrival - 1]!
  return { kind: 'reached', step: step + share * (curve[arrival]!.step - step) }
}

/** How one measure of a pair of runs compares. */
export interface Comparison {
  /** Of the last points. */
  readonly vanilla: number
  readonly aligned: number
  /** When the aligned run reaches the vanilla run's last value. */
  readonly reach: Reach
  /** The vanilla run's steps over the aligned run's to the same value; undefined where it is not reached. A lower bound for `before`. */
  readonly speedUp: number | undefined
}

/** @throws RangeError where the curves do not end at the same step */
export function compare(vanilla: CurvePoints, aligned: CurvePoints, better: Direction): Comparison {
  const [last, own] = [vanilla.at(-1), aligned.at(-1)]
  if (last === undefined || own === undefined || last.step !== own.step) {
    throw new RangeError(
      `The runs end at the steps ${last?.step} and ${own?.step}; only runs of one length are compared.`,
    )
  }
  const found = reach(aligned, last.value, better)
  return {
    vanilla: last.value,
    aligned: own.value,
    reach: found,
    speedUp: found.kind === 'not reached' ? undefined : last.step / found.step,
  }
}

export interface Spread {
  readonly mean: number
  /** Over N − 1; undefined of a single value. */
  readonly deviation: number | undefined
}

/** @throws RangeError for no values */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('There is no mean of no values.')
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  if (values.length === 1) return { mean, deviation: undefined }
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) }
}

/** The mean of curves that have the same steps. */
export function meanCurve(curves: readonly CurvePoints[]): CurvePoints {
  const [first] = curves
  return (first ?? []).map(({ step }, i) => ({ step, value: spreadOf(curves.map((curve) => curve[i]!.value)).mean }))
}
