import { createHash } from 'node:crypto'
import { type Chart, renderChart } from './chart.ts'
import { renderConfiguration } from './configuration.ts'
import { type Curve, curveOf } from './curve.ts'
import { renderGallery } from './gallery.ts'
import { type Html, html, trusted } from './html.ts'
import { METRICS, type MetricName } from './metrics.ts'
import { formatCount } from './quantity.ts'
import { distinctNames, type RunData } from './run.ts'
import { SCRIPT } from './script.ts'
import { stylesheet } from './stylesheet.ts'
import { renderSummary } from './summary.ts'

export interface ReportOptions {
  /** The page's heading; the default names the runs. */
  readonly title?: string
  /** Stated at the foot of the page; left out where not given, so that equal runs give equal pages. */
  readonly writtenAt?: Date
}

/**
 * One self-contained HTML page about one or several runs: headline numbers, curves over training, sample grids, and the
 * configuration (of several runs: what differs). It asks for nothing from outside, and its content security policy forbids
 * that it ever does; everything that comes from the runs' files is escaped.
 *
 * @throws RangeError where no run is given.
 */
export function renderReport(runs: readonly RunData[], options: ReportOptions = {}): string {
  if (runs.length === 0) throw new RangeError('renderReport: expected at least one run, got none.')
  const names = distinctNames(runs)
  const curves = runs.map(({ metrics }) => curvesOf(metrics.step, metrics.columns))
  const title = options.title ?? (runs.length === 1 ? names[0]! : `${runs.length} runs compared`)
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${sha256(SCRIPT)}'`
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="repa-native">
<title>${title}</title>
<style>${trusted(stylesheet(runs.length))}</style>
</head>
<body>
<main>
<header><h1>${title}</h1><p class="lead">${leadOf(runs, names)}</p></header>
${renderSummary(runs, names, curves)}
${renderCurves(runs, names, curves)}
${renderGallery(runs, names)}
${renderConfiguration(runs, names)}
<footer>${footerOf(options.writtenAt)}</footer>
</main>
<script>${trusted(SCRIPT)}</script>
</body>
</html>
`.markup
}

type Curves = Readonly<Record<MetricName, Curve>>

function curvesOf(step: Float64Array, columns: Readonly<Record<MetricName, Float64Array>>): Curves {
  return Object.fromEntries(
    METRICS.map((name) => [name, curveOf(step, columns[name], name === 'lr' ? 'exact' : 'noisy')]),
  ) as Record<MetricName, Curve>
}

const MEAN_SQUARED_ERROR = 'Mean squared error of the prediction.'
const VARIATIONAL_BOUND = 'By which the variance is learned, in bits a dimension.'
const COSINE_SIMILARITY = 'Mean negative cosine similarity to the encoder’s features.'

function renderCurves(runs: readonly RunData[], names: readonly string[], curves: readonly Curves[]): Html {
  const logged = runs.filter(({ metrics }) => metrics.step.length > 0)
  if (logged.length === 0) {
    return html`<section class="curves"><p class="card empty">No step has been logged yet.</p></section>`
  }
  const steps: [number, number] = [
    Math.min(...logged.map(({ metrics }) => metrics.step[0]!)),
    Math.max(...logged.map(({ metrics }) => metrics.step.at(-1)!)),
  ]
  const chart = (metric: MetricName, about: Omit<Chart, 'series' | 'steps'>) =>
    renderChart({
      ...about,
      steps,
      series: curves.map((own, run) => ({ run, name: names[run]!, curve: own[metric] })),
    })
  const has = (metric: MetricName) => curves.some((own) => own[metric].raw.x.length > 0)
  const parts = [
    'denoising',
    ...(has('vb') ? ['variational bound'] : []),
    ...(has('alignment') ? ['weighted alignment'] : []),
  ]
  return html`<section class="curves" aria-labelledby="curves">
<header><h2 id="curves">Training</h2><fieldset class="controls" aria-label="What the charts show">${
    names.length > 1 ? names.map(renderRunToggle) : undefined
  }<label><input type="checkbox" id="show-raw" checked>Raw values</label><label><input type="checkbox" id="log-scale">Log scale</label></fieldset></header>
<div class="charts">
${chart('loss', {
  title: 'Loss',
  description: parts.length > 1 ? `What is minimised: ${parts.join(' plus ')}.` : MEAN_SQUARED_ERROR,
  width: 'full',
})}
${parts.length > 1 ? chart('denoising', { title: 'Denoising loss', description: MEAN_SQUARED_ERROR, width: 'half' }) : undefined}
${has('vb') ? chart('vb', { title: 'Variational bound', description: VARIATIONAL_BOUND, width: 'half' }) : undefined}
${has('alignment') ? chart('alignment', { title: 'Alignment loss', description: COSINE_SIMILARITY, width: 'half' }) : undefined}
${chart('gradNorm', { title: 'Gradient norm', description: 'Global norm, before clipping.', width: 'third' })}
${chart('imagesPerSecond', { title: 'Throughput', description: 'Images per second.', width: 'third', fromZero: true })}
${chart('lr', { title: 'Learning rate', description: 'As the optimizer used it.', width: 'third', fromZero: true })}
</div></section>`
}

function renderRunToggle(name: string, run: number): Html {
  return html`<label><input type="checkbox" id="show-run-${run}" checked><i class="swatch run-${run}"></i>${name}</label>`
}

/** The model and how far the run has come, where its configuration says so. */
function leadOf(runs: readonly RunData[], names: readonly string[]): string {
  if (runs.length > 1) return names.join(' · ')
  const { config, metrics } = runs[0]!
  const model = typeof config.model === 'string' ? `${config.model}, ` : ''
  const steps = metrics.step.length === 0 ? 'not a step logged yet' : `step ${formatCount(metrics.step.at(-1)!)}`
  return `${model}${steps}`
}

function footerOf(writtenAt: Date | undefined): string {
  const maker = 'Written by repa-native'
  return writtenAt === undefined
    ? `${maker}.`
    : `${maker}, ${writtenAt.toISOString().slice(0, 16).replace('T', ' ')} UTC.`
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64')
}
