import { type Axis, linearAxis, logAxis, positionOn, stepAxis } from './axis.ts'
import { type Curve, type Points, rangeOf } from './curve.ts'
import { type Html, html, jsonForHtml, trusted } from './html.ts'
import { formatCount, formatSignificant } from './quantity.ts'

/** One run's curve in a chart. `run` is its index in the page, which gives it its colour. */
export interface ChartSeries {
  readonly run: number
  readonly name: string
  readonly curve: Curve
}

export interface Chart {
  readonly title: string
  readonly description: string
  readonly series: readonly ChartSeries[]
  /** The first and the last step of the page's runs: the same in every chart. */
  readonly steps: readonly [first: number, last: number]
  /** How much of the page's width it takes on a large screen: all, a half or a third. */
  readonly width: 'full' | 'half' | 'third'
  /** The axis begins at zero. */
  readonly fromZero?: boolean
}

// Plots are drawn in a square of this many units and stretched to their box; strokes keep their width.
const UNITS = 1000

/**
 * A line chart over training steps: HTML with inline SVG, for the page's style sheet and script. A second, logarithmic
 * drawing stands beside the first where all values are positive; the page shows one of the two.
 */
export function renderChart({ title, description, series, steps, width, fromZero }: Chart): Html {
  const drawn = series.filter(({ curve }) => curve.raw.x.length > 0)
  if (drawn.length === 0) return html``
  const [low, high, cut] = valueRange(drawn, fromZero ?? false)
  const [first, last] = steps
  const x = stepAxis(first < last * 0.1 ? 0 : first, last, width === 'full' ? 8 : 5)
  const linear = linearAxis(low, high, 5)
  const lowest = Math.min(...drawn.map(({ curve }) => rangeOf(curve.raw.y)[0]))
  const log = lowest > 0 && high > 0 ? logAxis(Math.max(lowest, high * 1e-6), high, 5) : undefined
  const note = cut > high ? ` The highest value, ${formatSignificant(cut, 3)}, lies above the axis.` : ''

  return html`<figure class="card chart ${width}${log ? ' has-log' : ''}">
<figcaption><h3>${title}</h3><p>${description}${note}</p></figcaption>
<div class="plot">
${renderScale(linear, x, drawn, title)}
${log === undefined ? undefined : renderScale(log, x, drawn, title)}
<div class="x-labels">${x.ticks.map((tick) => label('left', positionOn(x, tick.value), tick.label))}</div>
</div>
<script type="application/json">${hoverData(drawn, x, linear, log)}</script>
</figure>`
}

function renderScale(y: Axis, x: Axis, series: readonly ChartSeries[], title: string): Html {
  const across = y.ticks.map((tick) => `M0 ${unit(1 - positionOn(y, tick.value))}H${UNITS}`).join('')
  const up = x.ticks.map((tick) => `M${unit(positionOn(x, tick.value))} 0V${UNITS}`).join('')
  return html`<div class="y-labels ${y.scale}">${y.ticks.map((tick) => label('top', 1 - positionOn(y, tick.value), tick.label))}</div>
<svg class="${y.scale}" viewBox="0 0 ${UNITS} ${UNITS}" preserveAspectRatio="none" role="img" aria-label="${spoken(title, series)}">
<path class="grid" d="${trusted(across + up)}"/>
${series.map(({ run, curve }) => path(`raw run-${run}`, curve.raw, x, y))}
${series.map(({ run, curve }) => path(`smooth run-${run}`, curve.smooth, x, y))}
</svg>`
}

function label(side: 'left' | 'top', position: number, text: string): Html {
  return html`<span style="${side}:${(position * 100).toFixed(2)}%">${text}</span>`
}

/** A lone point becomes a line of no length, which round line caps show as a dot. */
function path(classes: string, { x: xs, y: ys }: Points, x: Axis, y: Axis): Html {
  const single = xs.length === 1
  let d = ''
  for (let i = 0; i < xs.length; i++) {
    const across = unit(positionOn(x, xs[i]!))
    const down = unit(
      1 - Math.max(-1, Math.min(2, positionOn(y, Math.max(ys[i]!, y.scale === 'log' ? y.low : -Infinity)))),
    )
    d += `${i === 0 ? 'M' : ' '}${across} ${down}`
  }
  return html`<path class="${classes}${single ? ' point' : ''}" d="${trusted(single ? `${d}h0` : d)}"/>`
}

function unit(position: number): string {
  return String(Math.round(position * UNITS * 10) / 10)
}

/**
 * Values that the axis spans: all of the trends, and the raw values but for the outermost of them, so that one spike does not
 * press every curve flat. `highest` is the highest raw value, which may lie above.
 */
function valueRange(series: readonly ChartSeries[], fromZero: boolean): [low: number, high: number, highest: number] {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  let highest = Number.NEGATIVE_INFINITY
  for (const { curve } of series) {
    const [smoothLow, smoothHigh] = rangeOf(curve.smooth.y)
    const [rawLow, rawHigh] = rangeOf(curve.raw.y)
    const [bulkLow, bulkHigh] = curve.bulk
    const [bottom, top] = [Math.min(smoothLow, bulkLow), Math.max(smoothHigh, bulkHigh)]
    const span = top - bottom
    low = Math.min(low, rawLow > bottom - span * 0.4 ? rawLow : bottom)
    high = Math.max(high, rawHigh < top + span * 0.4 ? rawHigh : top)
    highest = Math.max(highest, rawHigh)
  }
  if (fromZero && low >= 0) return [0, high * 1.05, highest]
  const margin = (high - low) * 0.04
  // The margin must not reach below zero where no value does.
  return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin, highest]
}

function spoken(title: string, series: readonly ChartSeries[]): string {
  const sentences = series.map(({ name, curve: { smooth } }) => {
    const [first, last] = [smooth.y[0]!, smooth.y.at(-1)!].map((value) => formatSignificant(value, 3))
    return `${name}: from ${first} at step ${formatCount(smooth.x[0]!)} to ${last} at step ${formatCount(smooth.x.at(-1)!)}`
  })
  return `${title}. ${sentences.join('; ')}.`
}

/** What the script needs to find the values under the pointer: the trends, and where the axes put them. */
function hoverData(series: readonly ChartSeries[], x: Axis, linear: Axis, log: Axis | undefined): Html {
  const round = (value: number) => Number(value.toPrecision(5))
  return jsonForHtml({
    x: [x.low, x.high],
    linear: [linear.low, linear.high],
    log: log && [log.low, log.high],
    series: series.map(({ run, name, curve }) => ({
      run,
      name,
      x: Array.from(curve.smooth.x, Math.round),
      y: Array.from(curve.smooth.y, round),
    })),
  })
}
