import { basename, dirname } from 'node:path'
import { type Chart, type ChartSeries, renderChart } from './chart.ts'
import { chartWidths } from './chart-widths.ts'
import type { Evaluation, FidEvaluation } from './evaluations.ts'
import { distinct, groupBy, pointsOf } from './grouping.ts'
import { type Html, html } from './html.ts'
import { formatCount, formatShortCount, formatSignificant } from './quantity.ts'

const QUALITY = [
  { key: 'sfid', title: 'sFID', yLabel: 'sFID', description: 'Of spatial features. Lower is better.' },
  { key: 'is', title: 'Inception Score', yLabel: 'IS', description: 'Higher is better.' },
  {
    key: 'precision',
    title: 'Precision',
    yLabel: 'Share of the samples',
    description: 'Samples that lie among real images. Higher is better.',
  },
  {
    key: 'recall',
    title: 'Recall',
    yLabel: 'Share of the reference',
    description: 'Real images that lie among samples. Higher is better.',
  },
] as const

interface Measured {
  readonly run: number
  readonly evaluation: FidEvaluation
}

/** How good samples are: curves by step, or a table where no two steps were measured. */
export function renderQuality(all: readonly (readonly Evaluation[])[], names: readonly string[]): Html | undefined {
  const measured = all.flatMap((own, run) =>
    own.flatMap((evaluation) => (evaluation.kind === 'fid' && hasValues(evaluation) ? [{ run, evaluation }] : [])),
  )
  if (measured.length === 0) return undefined
  const groups = groupBy(measured, ({ evaluation: { network, reference } }) => JSON.stringify([network, reference]))
  return html`<section aria-label="Sample quality"><h2>Sample quality</h2>${groups.map((group) => {
    const steps = distinct(group.flatMap(({ evaluation }) => evaluation.step ?? []))
    return steps.length > 1
      ? html`<div class="charts">${qualityCharts(group, steps, names, groups.length > 1).map(renderChart)}</div>`
      : renderTable(group, names)
  })}</section>`
}

/** Statistics of a reference alone are no judgement of samples. */
function hasValues(evaluation: FidEvaluation): boolean {
  return [evaluation.fid, ...QUALITY.map(({ key }) => evaluation[key])].some((value) => typeof value === 'number')
}

function measuresOf(group: readonly Measured[]) {
  return QUALITY.filter(({ key }) => group.some(({ evaluation }) => typeof evaluation[key] === 'number'))
}

function distanceOf({ network }: FidEvaluation): string {
  return network === 'inception' ? 'FID' : 'Fréchet distance'
}

/** The reference's name; of a prepared data set's folder `images` also whose it is. */
function referenceOf({ reference }: FidEvaluation): string {
  const name = basename(reference)
  const parent = basename(dirname(reference))
  return name === 'images' && parent !== '' && parent !== '.' ? `${parent}/${name}` : name
}

/** What was compared; the distance depends on the number of samples, so numbers that differ are said. */
function comparisonOf(group: readonly Measured[]): string {
  const { evaluation: first } = group[0]!
  const counts = distinct(group.flatMap(({ evaluation }) => evaluation.sampleImages ?? [])).map(formatCount)
  const samples = counts.length === 0 ? 'Samples' : `${[...new Set([counts[0], counts.at(-1)])].join(' to ')} samples`
  const features = first.network === 'inception' ? 'Inception' : first.network
  return `${samples} against ${referenceOf(first)}, in the features of ${features}.`
}

function renderTable(group: readonly Measured[], names: readonly string[]): Html {
  const { evaluation: first } = group[0]!
  const shown = (value: number | null | undefined) => (typeof value === 'number' ? formatSignificant(value, 3) : '–')
  const measures = measuresOf(group)
  return html`<div class="card scroll"><table class="numbers"><caption>${comparisonOf(group)}</caption>
<thead><tr><th>Run</th><th>Step</th><th>${distanceOf(first)}</th>${measures.map(({ title }) => html`<th>${title}</th>`)}</tr></thead>
<tbody>${group.map(
    ({ run, evaluation }) =>
      html`<tr class="run-${run}"><th><i class="swatch run-${run}"></i><span class="run-name">${names[run]!}</span></th><td>${
        evaluation.step === undefined ? '–' : formatCount(evaluation.step)
      }</td><td>${shown(evaluation.fid)}</td>${measures.map(({ key }) => html`<td>${shown(evaluation[key])}</td>`)}</tr>`,
  )}</tbody></table></div>`
}

function qualityCharts(
  group: readonly Measured[],
  steps: readonly number[],
  names: readonly string[],
  isOneOfSeveral: boolean,
): Chart[] {
  const { evaluation: first } = group[0]!
  const seriesOf = (key: 'fid' | (typeof QUALITY)[number]['key']): ChartSeries[] =>
    names.map((name, run) => ({
      run,
      name,
      points: pointsOf(
        group.flatMap(({ run: of, evaluation: { step, [key]: value } }) =>
          of === run && step !== undefined && typeof value === 'number' ? [[step, value]] : [],
        ),
      ),
    }))
  const suffix = isOneOfSeveral ? `, ${first.network} against ${referenceOf(first)}` : ''
  const fid = seriesOf('fid')
  const isOfOneCount = distinct(group.map(({ evaluation }) => evaluation.sampleImages ?? 0)).length === 1
  const own = measuresOf(group)
  const widths = chartWidths(own.length)
  const range = [steps[0]!, steps.at(-1)!] as const
  const chart = { across: 'step', drawing: 'measured', range, legend: names.length > 1 } as const
  return [
    {
      ...chart,
      title: distanceOf(first) + suffix,
      description: `${comparisonOf(group)} Lower is better. ${isOfOneCount ? accelerationOf(fid) : ''}`,
      yLabel: distanceOf(first),
      series: fid,
      width: 'full',
    },
    ...own.map(({ key, title, ...rest }, i) => ({
      ...chart,
      ...rest,
      title: title + suffix,
      series: seriesOf(key),
      width: widths[i]!,
    })),
  ]
}

/** How many times fewer steps the run that ends lowest needs to be as good as each other run is at its last measurement. */
function accelerationOf(series: readonly ChartSeries[]): string {
  const measured = series.filter(({ points }) => points.x.length > 0)
  if (measured.length < 2) return ''
  const best = measured.reduce((low, own) => (own.points.y.at(-1)! < low.points.y.at(-1)! ? own : low))
  const sentences = measured.flatMap(({ name, points: { x, y } }) => {
    const [last, value] = [x.at(-1)!, y.at(-1)!]
    const at = best.points.y.findIndex((own) => own <= value)
    if (name === best.name || at < 0 || best.points.x[at]! >= last || best.points.x[at]! === 0) return []
    const step = best.points.x[at]!
    return [
      `${best.name} needs ${formatShortCount(step)} steps for what ${name} reaches in ${formatShortCount(last)}: ${formatSignificant(last / step, 2)} times fewer.`,
    ]
  })
  return sentences.join(' ')
}
