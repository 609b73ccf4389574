import { curveOf, median } from './curve.ts'
import type { Evaluation } from './evaluations.ts'
import { type Html, html } from './html.ts'
import { type LossPart, lossPartsOf } from './loss-parts.ts'
import type { RunPoints } from './metrics-table.ts'
import { qualityGroups } from './quality-groups.ts'
import { type QualityHeadline, qualityHeadlines } from './quality-headlines.ts'
import { formatCount, formatDuration, formatShortCount, formatSignificant } from './quantity.ts'
import type { RunData } from './run.ts'
import { settingInWords } from './sampling-words.ts'

/** A headline number of a run. */
interface Figure {
  readonly label: string
  readonly value: string
  readonly remark?: string
  /** The part of the remark that a table needs too: how samples were made, where runs differ in it; that a run has diverged. */
  readonly way?: string
}

/** The headline numbers: tiles for one run, a table for several. */
export function renderSummary(runs: readonly RunData[], names: readonly string[], points: readonly RunPoints[]): Html {
  const parts = lossPartsOf(points)
  const quality = qualityGroups(runs.map(({ evaluations }) => evaluations))
  const figures = runs.map((run, i) => trainingFigures(run, points[i]!, parts.length > 1 ? parts : []))
  if (runs.length === 1) {
    const found = evaluationFigures(runs[0]!, qualityHeadlines(quality, 0))
    return html`<section class="headline" aria-label="Headline numbers">${[figures[0]!, found]
      .filter((own) => own.length > 0)
      .map((own) => html`<div class="tiles">${own.map(renderTile)}</div>`)}</section>`
  }
  for (const [i, run] of runs.entries()) figures[i]!.push(...evaluationFigures(run, qualityHeadlines(quality, i)))
  const labels = [...new Set(figures.flatMap((own) => own.map(({ label }) => label)))]
  return html`<section class="card scroll" tabindex="0" aria-label="Headline numbers"><table class="numbers">
<thead><tr><th>Run</th>${labels.map((label) => html`<th>${label}</th>`)}</tr></thead>
<tbody>${figures.map(
    (own, i) =>
      html`<tr><th><i class="swatch run-${i}"></i><span class="run-name">${names[i]!}</span></th>${labels.map((label) =>
        renderCell(own.find((figure) => figure.label === label)),
      )}</tr>`,
  )}</tbody>
</table></section>`
}

function renderCell(figure: Figure | undefined): Html {
  if (figure === undefined) return html`<td>–</td>`
  const { value, way } = figure
  return html`<td>${value}${way === undefined ? undefined : html` <span class="remark">${way}</span>`}</td>`
}

function renderTile({ label, value, remark }: Figure): Html {
  return html`<div class="tile"><span class="label">${label}</span><span class="value">${value}</span>${
    remark === undefined ? undefined : html`<span class="remark">${remark}</span>`
  }</div>`
}

/** `parts`: those of the loss, which are told apart only where there are several. */
function trainingFigures({ metrics }: RunData, points: RunPoints, parts: readonly LossPart[]): Figure[] {
  const { step, columns } = metrics
  const figures: Figure[] = []
  if (step.length > 0) figures.push({ label: 'Steps', value: formatCount(step.at(-1)!) })
  for (const { label, metric } of [{ label: 'Loss', metric: 'loss' } as const, ...parts]) {
    const own = points[metric]
    if (own.y.length === 0) continue
    const trend = curveOf(own).smooth.y
    const value = formatSignificant(trend.at(-1)!, 4)
    // A run that has diverged would otherwise seem to be as good as it was before. A part may have ended on purpose, before the loss.
    const last = own.x.at(-1)!
    if (last !== step.at(-1) && last === points.loss.x.at(-1)) {
      const since = `at step ${formatCount(last)}, not finite since`
      figures.push({ label, value, remark: since, way: since })
      continue
    }
    const remark = `from ${formatSignificant(own.y[0]!, 3)}`
    figures.push({ label, value, ...(trend.length > 1 && { remark }) })
  }
  const information = points.view_information
  if (information.y.length > 0) {
    const trend = curveOf(information).smooth.y
    figures.push({ label: 'View information', value: formatSignificant(trend.at(-1)!, 3), remark: 'nats' })
  }
  const speed = median(columns.imagesPerSecond)
  if (!Number.isNaN(speed)) {
    figures.push({ label: 'Images/s', value: formatSignificant(speed, 3), remark: 'median' })
  }
  const seconds = trainingSeconds(columns.seconds)
  if (seconds > 0) figures.push({ label: 'Training time', value: formatDuration(seconds) })
  const skipped = columns.skipped.findLast((count) => !Number.isNaN(count)) ?? 0
  if (skipped > 0) {
    figures.push({ label: 'Skipped steps', value: formatCount(skipped), remark: 'loss or gradient not finite' })
  }
  return figures
}

type OtherEvaluation = Exclude<Evaluation, { readonly kind: 'fid' }>

/** The order of their headline numbers. */
const KINDS: readonly OtherEvaluation['kind'][] = ['clip', 'probe', 'encoder-probe', 'cknna']

/** Of each measure what was found last: of the newest checkpoint, or where no step is known, of the last file. */
function evaluationFigures({ evaluations }: RunData, quality: readonly QualityHeadline[]): Figure[] {
  const figures = new Map<string, { readonly step: number; readonly value: string; readonly remark: string }>()
  const others = evaluations.filter((evaluation) => evaluation.kind !== 'fid')
  for (const evaluation of others.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind))) {
    const { step = Number.POSITIVE_INFINITY } = evaluation
    for (const [label, value, where] of headlinesOf(evaluation)) {
      if ((figures.get(label)?.step ?? -1) > step) continue
      figures.set(label, { step, value, remark: remarkOf(where, stepInWords(evaluation.step)) })
    }
  }
  return [
    ...quality.map(qualityFigure),
    ...Array.from(figures, ([label, { value, remark }]) => ({ label, value, ...(remark !== '' && { remark }) })),
  ]
}

function qualityFigure({ label, value, step, way, isLowestOf }: QualityHeadline): Figure {
  const remark = remarkOf(isLowestOf > 1 ? `lowest of ${isLowestOf}` : '', way, stepInWords(step))
  return { label, value, ...(remark !== '' && { remark }), ...(way !== '' && { way }) }
}

const stepInWords = (step: number | undefined) => (step === undefined ? '' : `step ${formatShortCount(step)}`)

const remarkOf = (...parts: readonly string[]) => parts.filter((part) => part !== '').join(', ')

function headlinesOf(evaluation: OtherEvaluation): (readonly [label: string, value: string, where: string])[] {
  if (evaluation.kind === 'clip') {
    const { network, data, sampling, cosine } = evaluation
    const guidance = sampling?.guidanceScale
    const where = guidance === undefined ? '' : settingInWords('guidanceScale', guidance)
    return [[`CLIP score${data === undefined ? '' : ' of real images'} (${network})`, (cosine * 100).toFixed(2), where]]
  }
  if (evaluation.kind === 'encoder-probe') {
    return [[`Probing (${evaluation.encoder})`, `${(evaluation.accuracy * 100).toFixed(1)} %`, '']]
  }
  const values =
    evaluation.kind === 'probe'
      ? evaluation.points.map(({ layer, accuracy }) => ({ layer, value: accuracy }))
      : evaluation.points.map(({ layer, cknna }) => ({ layer, value: cknna }))
  if (values.length === 0) return []
  const { layer, value } = values.reduce((best, own) => (own.value > best.value ? own : best))
  return evaluation.kind === 'probe'
    ? [['Probing', `${(value * 100).toFixed(1)} %`, `layer ${layer}`]]
    : [[`CKNNA to ${evaluation.encoder}`, formatSignificant(value, 3), `layer ${layer}`]]
}

/** `seconds` counts from the start of the process that wrote the line: a resumed run begins anew, and the parts add up. */
function trainingSeconds(seconds: Float64Array): number {
  let total = 0
  let last = 0
  for (const now of seconds) {
    if (Number.isNaN(now)) continue
    total += now >= last ? now - last : now
    last = now
  }
  return total
}
