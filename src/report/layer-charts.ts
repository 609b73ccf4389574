import { type Chart, renderChart, renderLegend } from './chart.ts'
import type { Reference } from './chart-data.ts'
import { chartWidths } from './chart-widths.ts'
import type { Evaluation } from './evaluations.ts'
import { distinct, groupBy, pointsOf } from './grouping.ts'
import { type Html, html } from './html.ts'
import { formatShortCount } from './quantity.ts'

/** One value of a layer's features, at a noise level. */
interface LayerValue {
  readonly layer: number
  readonly noise: number
  readonly value: number
}

/** The layers' values of one checkpoint of one run. */
interface LayerProfile {
  readonly run: number
  readonly step: number | undefined
  readonly values: readonly LayerValue[]
}

interface NamedProfile extends LayerProfile {
  readonly name: string
  readonly age: number
}

/** A measure of features, as several checkpoints have it: one line each in charts over the layers. */
interface LayerMeasure {
  readonly title: string
  readonly description: string
  /** The same by another formula, which fewer readers want: folded up. */
  readonly isFolded?: boolean
  readonly yLabel: string
  readonly percent: boolean
  /** Values that no run of these has, to judge theirs by. */
  readonly references: readonly Reference[]
  readonly profiles: readonly LayerProfile[]
}

/** What the layers' features mean: a group of charts for each measure. */
export function renderLayers(all: readonly (readonly Evaluation[])[], names: readonly string[]): Html | undefined {
  const groups = [...probeMeasures(all), ...cknnaMeasures(all)].flatMap((measure) => {
    const profiles = named(measure.profiles, names)
    return profiles.length > 0 ? [renderMeasure(measure, profiles, names)] : []
  })
  if (groups.length === 0) return undefined
  return html`<section aria-label="What the features mean"><h2>What the features mean</h2>${groups}</section>`
}

/** The charts over layers and noise levels have the same lines, so that one legend names those of all; one heading is that of one alone. */
function renderMeasure(measure: LayerMeasure, profiles: readonly NamedProfile[], names: readonly string[]): Html {
  const { title, description, isFolded = false } = measure
  const charts = layerCharts(measure, profiles, names)
  const isHeaded = charts.length > 1
  const shown = html`<p class="remark">${description}</p>${renderLegend(profiles)}
<div class="charts">${charts.map((chart) => renderChart({ ...chart, isHeaded }))}</div>`
  return isFolded
    ? html`<details><summary>${title}</summary>${shown}</details>`
    : html`<div class="measure"><h3>${title}</h3>${shown}</div>`
}

function probeMeasures(all: readonly (readonly Evaluation[])[]): LayerMeasure[] {
  const profiles = all.flatMap((own, run) =>
    own.flatMap((evaluation) =>
      evaluation.kind === 'probe'
        ? [
            {
              run,
              step: evaluation.step,
              values: evaluation.points.map(({ layer, noise, accuracy }) => ({ layer, noise, value: accuracy })),
            },
          ]
        : [],
    ),
  )
  if (profiles.length === 0) return []
  return [
    {
      title: 'Linear probing',
      description: 'Held-out images whose class a linear classifier names, from the layer’s mean over the patches.',
      yLabel: 'Top-1 accuracy, %',
      percent: true,
      references: probeReferences(all.flat()),
      profiles,
    },
  ]
}

/** What guessing would name right, where all was measured with as many classes; and what the encoders know of clean images. */
function probeReferences(all: readonly Evaluation[]): Reference[] {
  const counts = distinct(all.flatMap((own) => (own.kind === 'probe' ? (own.classes ?? 0) : [])))
  const encoders = new Map(
    all.flatMap((own) => (own.kind === 'encoder-probe' ? [[own.encoder, own.accuracy] as const] : [])),
  )
  return [
    ...Array.from(encoders, ([name, value]) => ({ name, value })),
    ...(counts.length === 1 && counts[0]! > 0 ? [{ name: 'chance', value: 1 / counts[0]! }] : []),
  ]
}

const CKNNA_FORMULAS = [
  { key: 'cknna', suffix: '', formula: 'the paper’s formula' },
  { key: 'platonicCknna', suffix: ' (platonic-rep)', formula: 'the formula of platonic-rep’s code' },
] as const

function cknnaMeasures(all: readonly (readonly Evaluation[])[]): LayerMeasure[] {
  const found = all.flatMap((own, run) =>
    own.flatMap((evaluation) => (evaluation.kind === 'cknna' ? [{ run, evaluation }] : [])),
  )
  const groups = groupBy(found, ({ evaluation: { encoder, neighbours } }) => JSON.stringify([encoder, neighbours]))
  return groups.flatMap((group) => {
    const { encoder, neighbours } = group[0]!.evaluation
    const isOnlyOne = groups.filter((other) => other[0]!.evaluation.encoder === encoder).length === 1
    return CKNNA_FORMULAS.map(({ key, suffix, formula }) => ({
      title: `CKNNA to ${encoder}${isOnlyOne ? '' : `, k = ${neighbours}`}${suffix}`,
      description: `How far neighbours among the layer’s features are neighbours among the encoder’s; ${formula}, k\u00a0=\u00a0${neighbours}.`,
      yLabel: 'CKNNA',
      percent: false,
      isFolded: key !== 'cknna',
      references: [],
      profiles: group.map(({ run, evaluation: { step, points } }) => ({
        run,
        step,
        values: points.flatMap(({ layer, noise, ...point }) => {
          const value = point[key]
          return value === undefined ? [] : [{ layer, noise, value }]
        }),
      })),
    }))
  })
}

/** A measure's charts: by layer at each noise level, by noise level at the best layer, by step at the best layer. */
function layerCharts(
  { title, yLabel, percent, references }: LayerMeasure,
  profiles: readonly NamedProfile[],
  names: readonly string[],
): Chart[] {
  const values = profiles.flatMap((profile) => profile.values)
  const noises = distinct(values.map(({ noise }) => noise))
  const layers = distinct(values.map(({ layer }) => layer))
  const extent = [
    Math.min(0, ...values.map(({ value }) => value)),
    Math.max(...values.map(({ value }) => value)),
  ] as const
  const chart = {
    drawing: 'measured',
    yLabel,
    percent,
    fromZero: true,
    values: extent,
    references,
  } as const
  const steps = distinct(profiles.flatMap(({ step }) => step ?? []))
  const charts: Omit<Chart, 'width'>[] = noises.map((noise) => ({
    ...chart,
    title: noises.length > 1 ? `${title}, t = ${noise}` : title,
    description: noise === 0 ? 'By layer, of clean images.' : `By layer, at noise level ${noise}.`,
    across: 'layer',
    range: [layers[0]!, layers.at(-1)!],
    series: profiles.map(({ values, ...line }) => ({
      ...line,
      points: pointsOf(values.filter((own) => own.noise === noise).map(({ layer, value }) => [layer, value])),
    })),
  }))
  if (noises.length > 1) {
    charts.push({
      ...chart,
      title: `${title} by noise level`,
      description: 'The best layer’s value at each noise level.',
      across: 'noise',
      range: [noises[0]!, noises.at(-1)!],
      series: profiles.map(({ values, ...line }) => ({
        ...line,
        points: pointsOf(
          noises.flatMap((noise) =>
            best(
              values.filter((own) => own.noise === noise),
              noise,
            ),
          ),
        ),
      })),
    })
  }
  if (steps.length > 1) {
    charts.push({
      ...chart,
      title: `${title} by step`,
      description: 'The best layer’s value at the best noise level, as training went on.',
      across: 'step',
      legend: names.length > 1,
      range: [steps[0]!, steps.at(-1)!],
      series: names.map((name, run) => ({
        run,
        name,
        points: pointsOf(
          profiles.flatMap((own) => (own.run === run && own.step !== undefined ? best(own.values, own.step) : [])),
        ),
      })),
    })
  }
  const widths = chartWidths(charts.length)
  return charts.map((own, i) => ({ ...own, width: widths[i]! }))
}

/** Lines of the profiles that hold values: a run's name, with the step where it has several checkpoints; the older the fainter. */
function named(all: readonly LayerProfile[], names: readonly string[]): NamedProfile[] {
  const profiles = all.filter(({ values }) => values.length > 0)
  return profiles
    .map((profile) => {
      const steps = distinct(profiles.filter(({ run }) => run === profile.run).map(({ step }) => step ?? 0))
      const age = steps.length > 1 ? (steps.length - 1 - steps.indexOf(profile.step ?? 0)) / (steps.length - 1) : 0
      const step = profile.step === undefined ? '' : `, step ${formatShortCount(profile.step)}`
      const isShort = steps.length === 1 && names.length > 1
      return { ...profile, name: names[profile.run]! + (isShort ? '' : step), age }
    })
    .sort((a, b) => a.run - b.run || (a.step ?? 0) - (b.step ?? 0))
}

/** The highest value, at `x`; nothing of nothing. */
function best(values: readonly LayerValue[], x: number): [x: number, y: number][] {
  return values.length === 0 ? [] : [[x, Math.max(...values.map(({ value }) => value))]]
}
