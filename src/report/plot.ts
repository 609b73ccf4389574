import { type Axis, linearAxis, logAxis, positionOn, stepAxis } from './axis.ts'
import { type Curve, type Points, rangeOf } from './curve.ts'

/** What a chart shows across: training steps, a model's layers, or noise levels. */
export type Across = 'step' | 'layer' | 'noise'

/**
 * How a chart draws its values: `noisy` as they are, faint, with their trend; `exact` as one line; `measured` as a line
 * with a mark on each value.
 */
export type Drawing = 'noisy' | 'exact' | 'measured'

/** What a plot's box spans, and how. */
export interface Frame {
  readonly across: Across
  readonly drawing: Drawing
  readonly first: number
  readonly last: number
  readonly scale: 'linear' | 'log'
  /** The axis begins at zero. */
  readonly fromZero: boolean
  /** The axis holds at least these values. */
  readonly values?: readonly [low: number, high: number] | undefined
  /** About so many ticks across. */
  readonly ticks: number
}

/** A plot ready to be drawn: axes, and for every curve the paths of its values and of its trend. */
export interface Plot {
  readonly x: Axis
  readonly y: Axis
  /** Lines at the ticks. */
  readonly grid: string
  readonly raw: readonly string[]
  readonly trend: readonly string[]
  /** The highest value, where it lies above the axis. */
  readonly above: number | undefined
}

/** Plots are drawn in a square of this many units and stretched to their box; strokes keep their width. */
export const UNITS = 1000

/** Marks of measured values keep this share of the width between themselves and the box's edge. */
const EDGE = 0.025

export function plotOf(curves: readonly Curve[], frame: Frame): Plot {
  const { scale, drawing } = frame
  const shown = curves.filter(({ raw }) => raw.x.length > 0)
  const [low, high, highest] = valueRange(shown, frame)
  const lowest = Math.min(...shown.map(({ raw }) => rangeOf(raw.y)[0]))
  const y = scale === 'log' ? logAxis(Math.max(lowest, high * 1e-6), high, 5) : linearAxis(low, high, 7)
  const x = axisAcross(frame, shown)
  const horizontal = y.ticks.map((tick) => `M0 ${unit(1 - positionOn(y, tick.value))}H${UNITS}`)
  const vertical = x.ticks.map((tick) => `M${unit(positionOn(x, tick.value))} 0V${UNITS}`)
  return {
    x,
    y,
    grid: [...horizontal, ...vertical].join(''),
    raw: curves.map(({ raw }) =>
      drawing === 'noisy' ? path(raw, x, y) : drawing === 'measured' ? marks(raw, x, y) : '',
    ),
    trend: curves.map(({ smooth }) => path(smooth, x, y)),
    above: highest > y.high * (1 + 1e-9) ? highest : undefined,
  }
}

/** Labels of layers and noise levels are few digits wide: so many have room. */
const SHORT_TICKS = 12

function axisAcross({ across, drawing, first, last, ticks }: Frame, curves: readonly Curve[]): Axis {
  const margin = drawing === 'measured' ? (last - first) * EDGE : 0
  const [low, high] = [first - margin, last + margin]
  if (across === 'layer') return stepAxis(low, high, SHORT_TICKS)
  const at = drawing === 'measured' ? fewPlaces(curves, (high - low) / (ticks + 1)) : undefined
  return across === 'step' ? stepAxis(low, high, ticks, at) : linearAxis(low, high, ticks, at)
}

/** Where values were measured, if that is at places so far apart that each can have its own label. */
function fewPlaces(curves: readonly Curve[], apart: number): readonly number[] | undefined {
  const places = [...new Set(curves.flatMap(({ raw }) => [...raw.x]))].sort((a, b) => a - b)
  const isRoomy = places.every((place, i) => i === 0 || place - places[i - 1]! >= apart)
  return places.length > 1 && isRoomy ? places : undefined
}

/** Where an axis of steps begins: at zero, unless that would leave a tenth of it empty. */
export function axisBegin(first: number, last: number): number {
  return first < last * 0.1 ? 0 : first
}

/**
 * Values that the axis spans: all of the trends, and the raw values but for the outermost of them, so that one spike does
 * not press every curve flat. `highest` is the highest raw value, which may lie above.
 */
function valueRange(
  curves: readonly Curve[],
  { fromZero, values }: Frame,
): [low: number, high: number, highest: number] {
  let low = values?.[0] ?? Number.POSITIVE_INFINITY
  let high = values?.[1] ?? Number.NEGATIVE_INFINITY
  let highest = Number.NEGATIVE_INFINITY
  for (const { raw, smooth, bulk } of curves) {
    const [smoothLow, smoothHigh] = rangeOf(smooth.y)
    const [rawLow, rawHigh] = rangeOf(raw.y)
    const [bottom, top] = [Math.min(smoothLow, bulk[0]), Math.max(smoothHigh, bulk[1])]
    const span = top - bottom
    low = Math.min(low, rawLow > bottom - span * 0.4 ? rawLow : bottom)
    high = Math.max(high, rawHigh < top + span * 0.4 ? rawHigh : top)
    highest = Math.max(highest, rawHigh)
  }
  if (fromZero && low >= 0) return [0, high > 0 ? high * 1.05 : 1, highest]
  if (low === high && low >= 0) return [low / 2, high > 0 ? high * 1.5 : 1, highest]
  const margin = (high - low) * 0.04
  // The margin must not reach below zero where no value does.
  return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin, highest]
}

/** A lone point becomes a line of no length, which round line caps show as a dot. */
function path({ x: xs, y: ys }: Points, x: Axis, y: Axis): string {
  let d = ''
  for (let i = 0; i < xs.length; i++) d += `${i === 0 ? 'M' : ' '}${place(xs[i]!, ys[i]!, x, y)}`
  return xs.length === 1 ? `${d}h0` : d
}

/** A dot on every point. */
function marks({ x: xs, y: ys }: Points, x: Axis, y: Axis): string {
  return Array.from(xs, (value, i) => `M${place(value, ys[i]!, x, y)}h0`).join('')
}

function place(valueX: number, valueY: number, x: Axis, y: Axis): string {
  const height = positionOn(y, y.scale === 'log' ? Math.max(valueY, y.low) : valueY)
  return `${unit(positionOn(x, valueX))} ${unit(1 - Math.max(-1, Math.min(2, height)))}`
}

function unit(position: number): string {
  return String(Math.round(position * UNITS * 10) / 10)
}
