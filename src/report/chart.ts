import { digitsOf, END_LABEL, positionOn, type Tick, tickText } from './axis.ts'
import type { ChartData, Reference } from './chart-data.ts'
import { curveOf, type Points } from './curve.ts'
import { type Html, html, jsonForHtml, trusted } from './html.ts'
import { packNumbers } from './pack-numbers.ts'
import { type Across, axisBegin, type Drawing, plotOf, UNITS } from './plot.ts'
import { formatSignificant } from './quantity.ts'
import { spokenChart } from './spoken-chart.ts'

/** One line of a chart. */
export interface ChartSeries {
  /** The run's index in the page, which gives the line its colour. */
  readonly run: number
  readonly name: string
  /** Finite values. */
  readonly points: Points
  /** 0 for a run's newest checkpoint; the older the checkpoint, the fainter its line, up to 1. Of ways of sampling the further ones. */
  readonly age?: number
  /** Which of the ways of sampling it is, from 0: each has dashes of its own. */
  readonly way?: number
}

export interface Chart {
  readonly title: string
  /** Whether the title stands above it. Default: yes; not where the heading of what the chart is alone in says the same. */
  readonly isHeaded?: boolean
  readonly description: string
  readonly series: readonly ChartSeries[]
  readonly across: Across
  readonly drawing: Drawing
  /** The axis upwards: what it counts, with its unit. */
  readonly yLabel: string
  /** What the chart spans across. */
  readonly range: readonly [first: number, last: number]
  /** How much of the page's width it takes on a large screen: all, a half or a third. */
  readonly width: 'full' | 'half' | 'third'
  /** The axis begins at zero. */
  readonly fromZero?: boolean
  /** The axis holds at least these values: charts that stand side by side to be compared share them. */
  readonly values?: readonly [low: number, high: number]
  /** Values are shares of one, shown as per cent. */
  readonly percent?: boolean
  /** The column of `metrics.jsonl` that is shown; a page that is followed live appends to it. */
  readonly metric?: string
  /** Values that the lines are to be judged by; the axis holds them. */
  readonly references?: readonly Reference[]
  /** Names the lines below the title: for charts that have neither the runs' check boxes nor another legend beside them. */
  readonly legend?: boolean
}

const ACROSS: Readonly<Record<Across, string>> = {
  step: 'Training step',
  layer: 'Layer',
  noise: 'Noise level t (0: clean image, 1: noise)',
}

/**
 * A line chart: HTML with inline SVG and, for the page's script, its data. Without the script it shows everything but
 * single values.
 */
export function renderChart(chart: Chart): Html {
  const { title, description, yLabel, across, drawing, width, range, fromZero = false, percent = false } = chart
  const { references = [], isHeaded = true } = chart
  const series = chart.series.filter(({ points }) => points.x.length > 0)
  if (series.length === 0) return html``
  const curves = series.map(({ points }) => curveOf(points, drawing === 'noisy' ? 'noisy' : 'exact'))
  const last = range[1]
  const first = across === 'step' ? axisBegin(range[0], last) : range[0]
  const ticks = width === 'full' ? 8 : 5
  const values = including(chart.values, references)
  const plot = plotOf(curves, { across, drawing, first, last, scale: 'linear', fromZero, values, ticks })
  const data: ChartData = {
    across,
    drawing,
    ...(chart.metric !== undefined && { metric: chart.metric }),
    first,
    last,
    fromZero,
    ...(values && { values }),
    ticks,
    percent,
    references,
    series: series.map(({ run, name, points, age = 0 }) => ({
      run,
      name,
      age: ageClass(age),
      x: packNumbers(points.x),
      y: packNumbers(points.y),
    })),
  }
  const above =
    plot.above === undefined ? '' : `The highest value, ${formatSignificant(plot.above, 3)}, lies above the axis.`
  const digits = digitsOf(plot.y.ticks, percent)
  const named = series.map(({ name }, i) => ({ name, curve: curves[i]! }))
  const label = spokenChart(title, across, named, references)
  return html`<figure class="card chart ${width} ${drawing}" data-chart="${title}" style="--digits:${digits}">
<figcaption>${isHeaded ? html`<h3>${title}</h3>` : undefined}<p>${description} <span class="above">${above}</span></p>${
    chart.legend ? renderLegend(series) : undefined
  }</figcaption>
<div class="y-title">${yLabel}</div>
<div class="plot">
<div class="y-labels">${plot.y.ticks.map((tick) => renderTick('top', 1 - positionOn(plot.y, tick.value), tick, percent))}</div>
<svg viewBox="0 0 ${UNITS} ${UNITS}" preserveAspectRatio="none" role="img" aria-label="${label}">
<path class="grid" d="${trusted(plot.grid)}"/>
${series.map((line, i) => html`<path class="raw ${styleOf(line)}" d="${trusted(plot.raw[i]!)}"/>`)}
${series.map((line, i) => html`<path class="trend ${styleOf(line)}${line.points.x.length === 1 ? ' point' : ''}" d="${trusted(plot.trend[i]!)}"/>`)}
</svg>
<div class="references">${references.map(({ name, value }) => renderReference(name, positionOn(plot.y, value)))}</div>
<div class="x-labels">${plot.x.ticks.map((tick) => renderTick('left', positionOn(plot.x, tick.value), tick, false))}</div>
</div>
<div class="x-title">${ACROSS[across]}</div>
<script type="application/json">${jsonForHtml(data)}</script>
</figure>`
}

export function renderLegend(lines: readonly Pick<ChartSeries, 'run' | 'name' | 'age' | 'way'>[]): Html {
  return html`<ul class="legend">${lines.map(
    (line) => html`<li class="run-${line.run}"><i class="key ${styleOf(line)}"></i>${line.name}</li>`,
  )}</ul>`
}

/** So many kinds of dashes has the style sheet, the first of them none. */
const DASHES = 4

/** The classes by which the style sheet draws a line. */
function styleOf({ run, age = 0, way = 0 }: Pick<ChartSeries, 'run' | 'age' | 'way'>): string {
  const dashes = way % DASHES === 0 ? '' : ` dash-${way % DASHES}`
  return `run-${run} age-${ageClass(age)}${dashes}`
}

/** The name stands above its line, or below it where there is no room. */
function renderReference(name: string, height: number): Html {
  const side = height > 0.9 ? ' below' : ''
  return html`<div class="reference${side}" style="top:${((1 - height) * 100).toFixed(2)}%"><span>${name}</span></div>`
}

/** The range of values that holds the references too; undefined where there are neither. */
function including(values: Chart['values'], references: readonly Reference[]): Chart['values'] {
  const all = [...(values ?? []), ...references.map(({ value }) => value)]
  return all.length === 0 ? undefined : [Math.min(...all), Math.max(...all)]
}

/** Four strengths can be told apart. */
function ageClass(age: number): number {
  return Math.round(age * 3)
}

function renderTick(side: 'left' | 'top', position: number, tick: Tick, percent: boolean): Html {
  const end = side === 'left' && position > END_LABEL ? html` class="end"` : undefined
  return html`<span${end} style="${side}:${(position * 100).toFixed(2)}%">${tickText(tick, percent)}</span>`
}
