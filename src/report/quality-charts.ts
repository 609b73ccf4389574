import { type Chart, type ChartSeries, renderChart } from './chart.ts'
import { chartWidths } from './chart-widths.ts'
import type { Evaluation, FidEvaluation } from './evaluations.ts'
import { distinct, pointsOf } from './grouping.ts'
import { type Html, html } from './html.ts'
import { type QualityGroup, qualityGroups } from './quality-groups.ts'
import { formatCount, formatShortCount, formatSignificant } from './quantity.ts'
import { scrolled } from './scrolled.ts'

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

/** How good samples are: curves by step, or a table where no two steps were measured. */
export function renderQuality(all: readonly (readonly Evaluation[])[], names: readonly string[]): Html | undefined {
  const groups = qualityGroups(all)
  if (groups.length === 0) return undefined
  return html`<section aria-label="Sample quality"><h2>Sample quality</h2>${groups.map((group) => {
    const steps = distinct(evaluationsOf(group).flatMap(({ step }) => step ?? []))
    return steps.length > 1
      ? html`<div class="charts">${qualityCharts(group, steps, names, groups.length > 1).map(renderChart)}</div>`
      : renderTable(group, names)
  })}</section>`
}

function evaluationsOf({ ways }: QualityGroup): FidEvaluation[] {
  return ways.flatMap(({ measured }) => measured.map(({ evaluation }) => evaluation))
}

function measuresOf(group: QualityGroup) {
  const evaluations = evaluationsOf(group)
  return QUALITY.filter(({ key }) => evaluations.some((evaluation) => typeof evaluation[key] === 'number'))
}

function distanceOf({ network }: QualityGroup): string {
  return network === 'inception' ? 'FID' : 'Fréchet distance'
}

/** What was compared; the distance depends on the number of samples, so numbers that differ are said. */
function comparisonOf(group: QualityGroup): string {
  const { network, reference } = group
  const counts = distinct(evaluationsOf(group).flatMap(({ sampleImages }) => sampleImages ?? [])).map(formatCount)
  const samples = counts.length === 0 ? 'Samples' : `${[...new Set([counts[0], counts.at(-1)])].join(' to ')} samples`
  return `${samples} against ${reference}, in the features of ${network === 'inception' ? 'Inception' : network}.`
}

function renderTable(group: QualityGroup, names: readonly string[]): Html {
  const shown = (value: number | null | undefined) => (typeof value === 'number' ? formatSignificant(value, 3) : '–')
  const measures = measuresOf(group)
  const isNamed = group.ways.length > 1
  const rows = group.ways
    .flatMap(({ name, measured }) => measured.map((own) => ({ ...own, name })))
    .sort((a, b) => a.run - b.run)
  return html`<div class="card scroll"${scrolled(distanceOf(group))}><table class="numbers"><caption>${comparisonOf(group)}</caption>
<thead><tr><th>Run</th><th>Step</th>${isNamed ? html`<th class="words">Sampling</th>` : undefined}<th>${distanceOf(group)}</th>${measures.map(
    ({ title }) => html`<th>${title}</th>`,
  )}</tr></thead>
<tbody>${rows.map(
    ({ run, evaluation, name }) =>
      html`<tr class="run-${run}"><th><i class="swatch run-${run}"></i><span class="run-name">${names[run]!}</span></th><td>${
        evaluation.step === undefined ? '–' : formatCount(evaluation.step)
      }</td>${isNamed ? html`<td class="words">${name}</td>` : undefined}<td>${shown(evaluation.fid)}</td>${measures.map(
        ({ key }) => html`<td>${shown(evaluation[key])}</td>`,
      )}</tr>`,
  )}</tbody></table></div>`
}

function qualityCharts(
  group: QualityGroup,
  steps: readonly number[],
  names: readonly string[],
  isOneOfSeveral: boolean,
): Chart[] {
  const { network, reference, ways } = group
  const seriesOf = (way: number, key: 'fid' | (typeof QUALITY)[number]['key']): ChartSeries[] =>
    names.map((name, run) => ({
      run,
      way,
      age: ways.length > 1 ? way / (ways.length - 1) : 0,
      name: [name, ways[way]!.name].filter((part) => part !== '').join(', '),
      points: pointsOf(
        ways[way]!.measured.flatMap(({ run: of, evaluation: { step, [key]: value } }) =>
          of === run && step !== undefined && typeof value === 'number' ? [[step, value]] : [],
        ),
      ),
    }))
  const linesOf = (key: 'fid' | (typeof QUALITY)[number]['key']) =>
    ways.flatMap((_, way) => seriesOf(way, key)).sort((a, b) => a.run - b.run)
  const suffix = isOneOfSeveral ? `, ${network} against ${reference}` : ''
  const own = measuresOf(group)
  const widths = chartWidths(own.length)
  const range = [steps[0]!, steps.at(-1)!] as const
  const legend = names.length > 1 || ways.length > 1
  const chart = { across: 'step', drawing: 'measured', range, legend } as const
  const accelerations = ways.flatMap((_, way) => accelerationOf(seriesOf(way, 'fid'))).join(' ')
  return [
    {
      ...chart,
      title: distanceOf(group) + suffix,
      description: `${comparisonOf(group)} Lower is better. ${accelerations}`,
      yLabel: distanceOf(group),
      series: linesOf('fid'),
      width: 'full',
    },
    ...own.map(({ key, title, ...rest }, i) => ({
      ...chart,
      ...rest,
      title: title + suffix,
      series: linesOf(key),
      width: widths[i]!,
    })),
  ]
}

/** How many times fewer steps the run that ends lowest needs to be as good as each other run is at its last measurement: sentences. */
function accelerationOf(series: readonly ChartSeries[]): string[] {
  const measured = series.filter(({ points }) => points.x.length > 0)
  if (measured.length < 2) return []
  const best = measured.reduce((low, own) => (own.points.y.at(-1)! < low.points.y.at(-1)! ? own : low))
  return measured.flatMap(({ name, points: { x, y } }) => {
    const [last, value] = [x.at(-1)!, y.at(-1)!]
    const at = best.points.y.findIndex((own) => own <= value)
    if (name === best.name || at < 0 || best.points.x[at]! >= last || best.points.x[at]! === 0) return []
    const step = best.points.x[at]!
    return [
      `${best.name} needs ${formatShortCount(step)} steps for what ${name} reaches in ${formatShortCount(last)}: ${formatSignificant(last / step, 2)} times fewer.`,
    ]
  })
}
