import { createHash } from 'node:crypto'
import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { type Chart, renderChart } from './chart.ts'
import { chartWidths } from './chart-widths.ts'
import { renderConfiguration } from './configuration.ts'
import { extremes, finitePoints } from './curve.ts'
import { DISTILLATION_MEASURES } from './distillation-measures.ts'
import { renderEvaluations } from './evaluation-charts.ts'
import { renderGallery } from './gallery.ts'
import { type Html, html, trusted } from './html.ts'
import { flattenJson, type JsonObject } from './json.ts'
import { listing } from './listing.ts'
import { type LossPart, lossPartsOf } from './loss-parts.ts'
import { METRICS, type MetricName, type Metrics, type RunPoints } from './metrics-table.ts'
import { pageScript } from './page-script.ts'
import { formatCount } from './quantity.ts'
import { distinctNames, type RunData } from './run.ts'
import type { SampleSource } from './sample-matrix.ts'
import { stylesheet } from './stylesheet.ts'
import { renderSummary } from './summary.ts'

export interface ReportOptions {
  /** The page's heading; the default names the runs. */
  readonly title?: string
  /** Stated at the foot of the page; left out where not given, so that equal runs give equal pages. */
  readonly writtenAt?: Date
}

/** As `readRuns` gives them, which has checked what is in them. */
const runsSchema = whenNeeded(() => z.array(z.looseObject({ name: z.string(), directory: z.string() })))

const optionsSchema = whenNeeded(() =>
  z.strictObject({ title: z.string().optional(), writtenAt: z.date().optional() } satisfies Record<
    keyof ReportOptions,
    z.ZodType
  >),
)

/**
 * One self-contained HTML page about one or several runs: headline numbers, curves over training, what `repa evaluate`
 * found, sample grids, and the configuration (of several runs: what differs). It asks for nothing from outside, and its
 * content security policy forbids that it ever does; everything that comes from the runs' files is escaped.
 *
 * @throws {ConfigurationError} for what are no runs, and options that are none; {RangeError} where no run is given
 */
export function renderReport(runs: readonly RunData[], options: ReportOptions = {}): string {
  parseConfiguration(runsSchema(), runs, 'the runs of renderReport')
  parseConfiguration(optionsSchema(), options, 'the options of renderReport')
  return renderPage(runs, options)
}

/** What a page has that a server keeps in step with the runs. */
export interface LivePage {
  /** What the page shows, for the server to know what is new. */
  readonly cursor: string
  readonly source: SampleSource
}

/** The report, or the page of a server that follows the runs: that one may load from its own server, and nothing else. */
export function renderPage(runs: readonly RunData[], options: ReportOptions, live?: LivePage): string {
  if (runs.length === 0) throw new RangeError('renderReport: expected at least one run, got none.')
  const names = distinctNames(runs)
  const columns = runs.map(({ metrics }) => columnsOf(metrics))
  const title = options.title ?? (runs.length === 1 ? names[0]! : `${runs.length} runs compared`)
  const script = pageScript()
  const own = live ? "img-src 'self' data:; connect-src 'self'" : 'img-src data:'
  const policy = `default-src 'none'; ${own}; style-src 'unsafe-inline'; script-src 'sha256-${sha256(script)}'; base-uri 'none'; form-action 'none'`
  const source: SampleSource =
    live?.source ?? ((_, { png }) => `data:image/png;base64,${Buffer.from(png).toString('base64')}`)
  const cursor = live ? html` data-cursor="${live.cursor}"` : undefined
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="repa-native">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${trusted(stylesheet(runs.length))}</style>
</head>
<body${cursor}>
<main>
<header><h1>${title}</h1><p class="lead"><span data-part="lead">${leadOf(runs, names)}</span>${live ? html` <span class="live" role="status"></span>` : undefined}</p></header>
<div data-part="summary">${renderSummary(runs, names, columns)}</div>
<div data-part="curves">${renderCurves(runs, names, columns)}</div>
<div data-part="evaluations">${renderEvaluations(runs, names)}</div>
<div data-part="samples">${renderGallery(runs, names, source)}</div>
<div data-part="configuration">${renderConfiguration(runs, names)}</div>
<footer>${footerOf(options.writtenAt)}</footer>
</main>
<script>${trusted(script)}</script>
</body>
</html>
`.markup
}

/** The parts of the page that change with every step, but for the curves, as `renderPage` has them. */
export function renderProgress(runs: readonly RunData[]): Record<string, string> {
  const names = distinctNames(runs)
  const columns = runs.map(({ metrics }) => columnsOf(metrics))
  return {
    lead: leadOf(runs, names).markup,
    summary: renderSummary(runs, names, columns).markup,
  }
}

function columnsOf({ step, columns }: Metrics): RunPoints {
  return Object.fromEntries(METRICS.map((name) => [name, finitePoints(step, columns[name])])) as RunPoints
}

/**
 * A page holds at most about so many points: all of a run of 100,000 logged steps, and of more the lowest and the highest
 * of every slice. At six to eight characters a point that is 4 MB.
 */
const POINTS_PER_PAGE = 2 ** 19

function renderCurves(runs: readonly RunData[], names: readonly string[], columns: readonly RunPoints[]): Html {
  const logged = runs.filter(({ metrics }) => metrics.step.length > 0)
  if (logged.length === 0) {
    return html`<section class="curves"><p class="card empty">No step has been logged yet.</p></section>`
  }
  const parts = lossPartsOf(columns)
  const partsShown = parts.length > 1 ? parts : []
  const widths = chartWidths(partsShown.length)
  const all: (Pick<Chart, 'title' | 'description' | 'yLabel' | 'width' | 'fromZero'> & { metric: MetricName })[] = [
    {
      metric: 'loss',
      title: 'Loss',
      description: lossDescription(parts, columns, names),
      yLabel: 'Loss',
      width: 'full',
    },
    ...partsShown.map(({ metric, title, description, yLabel }, i) => ({
      metric,
      title,
      description,
      yLabel,
      width: widths[i]!,
    })),
    ...DISTILLATION_MEASURES.map((measure) => ({ ...measure, width: 'third' }) as const),
    {
      metric: 'gradNorm',
      title: 'Gradient norm',
      description: 'Global norm, before clipping.',
      yLabel: 'L2 norm',
      width: 'third',
    },
    {
      metric: 'imagesPerSecond',
      title: 'Throughput',
      description: 'Of the training steps alone.',
      yLabel: 'Images/s',
      width: 'third',
      fromZero: true,
    },
    {
      metric: 'lr',
      title: 'Learning rate',
      description: 'As the optimizer used it.',
      yLabel: 'Learning rate',
      width: 'third',
      fromZero: true,
    },
  ]
  const charts = all.filter(({ metric }) => columns.some((own) => own[metric].x.length > 0))
  const range = [
    Math.min(...logged.map(({ metrics }) => metrics.step[0]!)),
    Math.max(...logged.map(({ metrics }) => metrics.step.at(-1)!)),
  ] as const
  const slices = Math.floor(POINTS_PER_PAGE / (charts.length * runs.length) / 2)
  return html`<section class="curves" aria-labelledby="curves">
<header><h2 id="curves">Training</h2><fieldset class="controls" aria-label="What the charts show"><button type="button" class="reset" hidden>Whole run</button>${
    names.length > 1 ? names.map(renderRunToggle) : undefined
  }<label><input type="checkbox" id="show-raw" checked>Logged values</label><label class="scripted-only"><input type="checkbox" id="log-scale">Log scale</label></fieldset></header>
<div class="charts">
${charts.map((chart) =>
  renderChart({
    ...chart,
    across: 'step',
    drawing: chart.metric === 'lr' ? 'exact' : 'noisy',
    range,
    series: columns.map((own, run) => ({ run, name: names[run]!, points: extremes(own[chart.metric], slices) })),
  }),
)}
</div></section>`
}

/** Of an encoder's pretraining, whose objective is its method's, no part is known. */
function lossDescription(parts: readonly LossPart[], columns: readonly RunPoints[], names: readonly string[]): string {
  const [first, ...rest] = parts
  if (!first) return 'What is minimised.'
  const added = rest.map(({ name, isSubtracted }) => `${isSubtracted ? 'minus' : 'plus'} ${name}`)
  const sum =
    rest.length === 0 ? first.description.replace(/\.$/, '') : `What is minimised: ${[first.name, ...added].join(' ')}`
  const others = names.filter((_, i) => columns[i]!.loss.x.length > 0 && lossPartsOf([columns[i]!]).length === 0)
  if (others.length === 0) return `${sum}.`
  return `${sum}; of ${listing(others)}, the loss of ${others.length === 1 ? 'its own objective' : 'their own objectives'}.`
}

function renderRunToggle(name: string, run: number): Html {
  return html`<label><input type="checkbox" id="show-run-${run}" checked><i class="swatch run-${run}"></i>${name}</label>`
}

/** The model and how far the run has come, where its configuration says so. */
function leadOf(runs: readonly RunData[], names: readonly string[]): Html {
  // A name that is written from right to left would turn the step behind it round.
  const name = (i: number) => html`<bdi>${names[i]!}</bdi>: ${stepOf(runs[i]!)}`
  if (runs.length > 1) return html`${runs.map((_, i) => html`${i > 0 ? ' · ' : ''}${name(i)}`)}`
  const model = modelOf(runs[0]!.config)
  return html`${model === undefined ? '' : `${model}, `}${stepOf(runs[0]!)}`
}

function stepOf({ metrics }: RunData): string {
  return metrics.step.length === 0 ? 'not a step logged yet' : `step ${formatCount(metrics.step.at(-1)!)}`
}

/** A preset's name, or the sizes of a model that is none. */
function modelOf(config: JsonObject): string | undefined {
  const settings = flattenJson(config)
  const setting = (name: string) => settings.get(`training.model${name}`) ?? settings.get(`model${name}`)
  const preset = setting('')
  if (typeof preset === 'string') return preset
  const [kind, depth, hidden] = ['.kind', '.depth', '.hidden'].map(setting)
  return typeof kind === 'string' ? `${kind} of ${depth} blocks of ${hidden}` : undefined
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
