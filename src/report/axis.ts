import { formatCount, formatShare, formatSignificant } from './quantity.ts'

/** A position on an axis that gets a line and a label. */
export interface Tick {
  readonly value: number
  readonly label: string
}

/** What is written at a tick; of shares of one, per cent. */
export function tickText({ value, label }: Tick, percent: boolean): string {
  return percent ? formatShare(value) : label
}

/** What the longest of the ticks' labels takes, in widths of a digit: that much room they need beside the chart. */
export function digitsOf(ticks: readonly Tick[], percent: boolean): number {
  return Math.max(0, ...ticks.map((tick) => tickText(tick, percent).length))
}

/** A stretch of values, drawn evenly or by their logarithm. */
export interface Axis {
  readonly scale: 'linear' | 'log'
  readonly low: number
  readonly high: number
  readonly ticks: readonly Tick[]
}

/** An axis from `low` to `high`, with about `count` ticks at 1, 2 or 5 times a power of ten, or with ticks at the places given. */
export function linearAxis(low: number, high: number, count: number, at?: readonly number[]): Axis {
  const [from, to] = widened(low, high)
  const ticks = at?.map((value) => ({ value, label: String(Number(value.toPrecision(3))) }))
  return { scale: 'linear', low: from, high: to, ticks: ticks ?? linearTicks(from, to, count) }
}

/** A logarithmic axis; `low` must be above zero. */
export function logAxis(low: number, high: number, count: number): Axis {
  const [from, to] = isOne(low, high) ? [low / 2, low * 2] : [low, high]
  const decades = Math.log10(to / from)
  // A stretch of less than a factor of five may hold no 1, 2 or 5: linear ticks, placed by their logarithm.
  const ticks = decades < 0.7 ? linearTicks(from, to, count) : decadeTicks(from, to, count)
  return { scale: 'log', low: from, high: to, ticks }
}

/** A linear axis of training steps: whole numbers, labelled short; ticks as `linearAxis` has them. */
export function stepAxis(low: number, high: number, count: number, at?: readonly number[]): Axis {
  const [from, to] = low < high ? [low, high] : [low - 1, high + 1]
  const spacing = Math.max(1, roundSpacing((to - from) / count))
  const ticks = (at ?? multiplesOf(spacing, from, to)).map((value) => ({ value, label: stepLabel(value, to) }))
  return { scale: 'linear', low: from, high: to, ticks }
}

/** Labels that lie so far to the right are drawn to the left of their place, lest they leave the box. */
export const END_LABEL = 0.985

/** Where a value lies on the axis: 0 at `low`, 1 at `high`. */
export function positionOn({ scale, low, high }: Axis, value: number): number {
  if (scale === 'log') return Math.log(value / low) / Math.log(high / low)
  return (value - low) / (high - low)
}

/** Large counts are labelled short, in the unit that suits the largest on the axis: 250, 20K, 1.5M. */
function stepLabel(step: number, largest: number): string {
  if (step >= 1e6) return `${formatCount(step / 1e6)}M`
  if (step >= 1e3 && largest >= 1e4) return `${formatCount(step / 1e3)}K`
  return formatCount(step)
}

/** Values that differ by rounding alone are one: between them there are not as many numbers as there would be ticks. */
function isOne(low: number, high: number): boolean {
  return !(high - low > Math.max(Math.abs(low), Math.abs(high), LEAST) * 2 ** -40)
}

/** Far above the numbers that lose digits. */
const LEAST = 1e-280

function widened(low: number, high: number): [number, number] {
  if (!isOne(low, high)) return [low, high]
  const margin = Math.abs(low) < LEAST ? 1 : Math.abs(low) * 0.5
  return [low - margin, high + margin]
}

function linearTicks(low: number, high: number, count: number): Tick[] {
  const spacing = roundSpacing((high - low) / count)
  // Digits so that neighbouring ticks differ in their last one.
  const largest = Math.max(Math.abs(low), Math.abs(high))
  const digits = Math.min(15, Math.max(1, Math.floor(Math.log10(largest)) - Math.floor(Math.log10(spacing)) + 1))
  return multiplesOf(spacing, low, high).map((value) => ({
    value,
    label: tickLabel(value, spacing, digits, largest),
  }))
}

/** The next 1, 2 or 5 times a power of ten. */
function roundSpacing(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough))
  return power * ([1, 2, 5, 10].find((multiple) => multiple * power >= rough * 0.999) ?? 10)
}

function multiplesOf(spacing: number, low: number, high: number): number[] {
  const values: number[] = []
  for (let i = Math.ceil(low / spacing - 1e-6); i * spacing <= high + spacing * 1e-6; i++) {
    // Multiples of 0.1 and the like carry rounding errors in their last bits, which a label must not show.
    values.push(Number((i * spacing).toPrecision(15)))
  }
  return values
}

function tickLabel(value: number, spacing: number, digits: number, largest: number): string {
  if (value === 0) return '0'
  if (spacing < 1e-3) return largest < 1e-2 ? exponential(value, digits) : formatSignificant(value, digits)
  const decimals = Math.max(0, -Math.floor(Math.log10(spacing) + 1e-9))
  return Math.abs(value) >= 1e3 ? stepLabel(value, largest) : value.toFixed(decimals)
}

/** `0.001` → `1e-3`. */
function exponential(value: number, digits: number): string {
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e')
  return `${Number(mantissa)}e${Number(exponent)}`
}

function decadeTicks(low: number, high: number, count: number): Tick[] {
  const from = Math.floor(Math.log10(low))
  const to = Math.ceil(Math.log10(high))
  const decades = Math.log10(high / low)
  const multiples = decades * 3 <= count + 2 ? [1, 2, 5] : [1]
  const every = Math.max(1, Math.ceil(decades / (count + 1)))
  const ticks: Tick[] = []
  for (let power = from; power <= to; power++) {
    if (power % every !== 0) continue
    for (const multiple of multiples) {
      const value = multiple * 10 ** power
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
        ticks.push({ value, label: Math.abs(power) > 3 ? formatSignificant(value, 1) : formatCompact(value) })
      }
    }
  }
  return ticks
}

function formatCompact(value: number): string {
  return value >= 1e3 ? stepLabel(value, value) : String(Number(value.toPrecision(1)))
}
