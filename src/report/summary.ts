import { type Curve, median } from './curve.ts'
import { type Html, html } from './html.ts'
import { flattenJson } from './json.ts'
import { formatCount, formatDuration, formatSignificant } from './quantity.ts'
import type { RunData } from './run.ts'

/** A run's curves by the metric's name, as far as the run logged them. */
export type RunCurves = Readonly<Record<'loss' | 'denoising' | 'vb' | 'alignment', Curve>>

/** A headline number of a run. */
interface Figure {
  readonly label: string
  readonly value: string
  readonly remark?: string
}

/** The headline numbers: tiles for one run, a table for several. */
export function renderSummary(runs: readonly RunData[], names: readonly string[], curves: readonly RunCurves[]): Html {
  const inParts = curves.some(({ vb, alignment }) => vb.raw.y.length > 0 || alignment.raw.y.length > 0)
  const figures = runs.map((run, i) => trainingFigures(run, curves[i]!, inParts))
  if (runs.length === 1) {
    const found = evaluationFigures(runs[0]!)
    return html`<section class="headline" aria-label="Headline numbers">${[figures[0]!, found]
      .filter((own) => own.length > 0)
      .map((own) => html`<div class="tiles">${own.map(renderTile)}</div>`)}</section>`
  }
  for (const [i, run] of runs.entries()) figures[i]!.push(...evaluationFigures(run))
  const labels = [...new Set(figures.flatMap((own) => own.map(({ label }) => label)))]
  return html`<section class="card scroll" aria-label="Headline numbers"><table class="numbers">
<thead><tr><th>Run</th>${labels.map((label) => html`<th>${label}</th>`)}</tr></thead>
<tbody>${figures.map(
    (own, i) =>
      html`<tr><th><i class="swatch run-${i}"></i>${names[i]!}</th>${labels.map(
        (label) => html`<td>${own.find((figure) => figure.label === label)?.value ?? '–'}</td>`,
      )}</tr>`,
  )}</tbody>
</table></section>`
}

function renderTile({ label, value, remark }: Figure): Html {
  return html`<div class="tile"><span class="label">${label}</span><span class="value">${value}</span>${
    remark === undefined ? undefined : html`<span class="remark">${remark}</span>`
  }</div>`
}

/** `parts`: whether to name the loss's parts, which are told apart only where some run has several. */
function trainingFigures({ metrics }: RunData, curves: RunCurves, parts: boolean): Figure[] {
  const { step, columns } = metrics
  const figures: Figure[] = []
  if (step.length > 0) figures.push({ label: 'Steps', value: formatCount(step.at(-1)!) })
  for (const [label, curve] of [
    ['Loss', curves.loss],
    ['Denoising', parts ? curves.denoising : undefined],
    ['Variational bound', parts ? curves.vb : undefined],
    ['Alignment', parts ? curves.alignment : undefined],
  ] as const) {
    const trend = curve?.smooth.y
    if (trend === undefined || trend.length === 0) continue
    const remark = `from ${formatSignificant(trend[0]!, 3)}`
    figures.push({ label, value: formatSignificant(trend.at(-1)!, 4), ...(trend.length > 1 && { remark }) })
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

function evaluationFigures({ evaluation }: RunData): Figure[] {
  if (evaluation === undefined) return []
  return [...flattenJson(evaluation)].flatMap(([path, value]) =>
    typeof value === 'number'
      ? [{ label: EVALUATION_LABELS[path] ?? path, value: String(Number(value.toPrecision(4))) }]
      : [],
  )
}

const EVALUATION_LABELS: Readonly<Record<string, string>> = {
  fid: 'FID',
  sfid: 'sFID',
  is: 'IS',
  precision: 'Precision',
  recall: 'Recall',
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
