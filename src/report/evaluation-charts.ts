import { basename } from 'node:path'
import { type Chart, type ChartSeries, renderChart } from './chart.ts'
import type { Reference } from './chart-data.ts'
import type { Points } from './curve.ts'
import type { Evaluation, FidEvaluation } from './evaluations.ts'
import { type Html, html } from './html.ts'
import { formatCount, formatShortCount, formatSignificant } from './quantity.ts'
import type { RunData } from './run.ts'

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

/** A measure of features, as several checkpoints have it: one line each in charts over the layers. */
interface LayerMeasure {
  readonly title: string
  readonly description: string
  readonly yLabel: string
  readonly percent: boolean
  /** Values that no run of these has, to judge theirs by. */
  readonly references: readonly Reference[]
  readonly profiles: readonly LayerProfile[]
}

/**
 * What `repa evaluate` found, of all runs side by side: sample quality by step, and probing and CKNNA by layer, by noise
 * level and by step, as REPA's figures 2 and 3 show them.
 */
export function renderEvaluations(runs: readonly Pick<RunData, 'evaluations'>[], names: readonly string[]): Html {
  const all = runs.map(({ evaluations }) => evaluations)
  return html`${renderSection('Sample quality', qualityCharts(all, names))}${renderSection(
    'What the features mean',
    [...probeMeasures(all), ...cknnaMeasures(all)].flatMap((measure) => layerCharts(measure, names)),
  )}`
}

function renderSection(title: string, charts: readonly Chart[]): Html | undefined {
  if (charts.length === 0) return undefined
  return html`<section aria-label="${title}"><h2>${title}</h2><div class="charts">${charts.map(renderChart)}</div></section>`
}

const QUALITY = [
  { key: 'sfid', title: 'sFID', yLabel: 'sFID', description: 'Of spatial features. Lower is better.', percent: false },
  { key: 'is', title: 'Inception Score', yLabel: 'IS', description: 'Higher is better.', percent: false },
  {
    key: 'precision',
    title: 'Precision',
    yLabel: '%',
    description: 'Samples that lie among real images. Higher is better.',
    percent: true,
  },
  {
    key: 'recall',
    title: 'Recall',
    yLabel: '%',
    description: 'Real images that lie among samples. Higher is better.',
    percent: true,
  },
] as const

function qualityCharts(all: readonly (readonly Evaluation[])[], names: readonly string[]): Chart[] {
  const groups = groupBy(
    all.flatMap((own, run) =>
      own.flatMap((evaluation) =>
        evaluation.kind === 'fid' && evaluation.step !== undefined ? [{ run, evaluation, step: evaluation.step }] : [],
      ),
    ),
    ({ evaluation: { network, reference } }) => JSON.stringify([network, reference]),
  )
  return groups.flatMap((group) => {
    const { network, reference, sampleImages } = group[0]!.evaluation
    const steps = group.map(({ step }) => step)
    const range = [Math.min(...steps), Math.max(...steps)] as const
    const seriesOf = (key: keyof FidEvaluation & ('fid' | (typeof QUALITY)[number]['key'])): ChartSeries[] =>
      names.map((name, run) => ({
        run,
        name,
        points: pointsOf(
          group.flatMap(({ run: of, step, evaluation }) => {
            const value = evaluation[key]
            return of === run && typeof value === 'number' ? [[step, value]] : []
          }),
        ),
      }))
    const suffix = groups.length > 1 ? `, ${network} against ${basename(reference)}` : ''
    const isInception = network === 'inception'
    const fid = seriesOf('fid')
    const own = QUALITY.filter(({ key }) => group.some(({ evaluation }) => typeof evaluation[key] === 'number'))
    const chart = { across: 'step', drawing: 'measured', range, legend: names.length > 1 } as const
    return [
      {
        ...chart,
        title: `${isInception ? 'FID' : 'Fréchet distance'}${suffix}`,
        description: `${sampleImages === null ? 'Samples' : `${formatCount(sampleImages)} samples`} against ${basename(reference)}, in the features of ${isInception ? 'Inception' : network}. Lower is better. ${accelerationOf(fid)}`,
        yLabel: isInception ? 'FID' : 'Fréchet distance',
        series: fid,
        width: 'full' as const,
      },
      ...own.map(({ key, title, ...rest }) => ({
        ...chart,
        ...rest,
        title: title + suffix,
        series: seriesOf(key),
        width: (own.length % 3 === 0 ? 'third' : 'half') as 'third' | 'half',
      })),
    ]
  })
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

function probeMeasures(all: readonly (readonly Evaluation[])[]): LayerMeasure[] {
  const profiles = all.flatMap((own, run) =>
    own.flatMap((evaluation) =>
      evaluation.kind === 'probe' && evaluation.encoder === undefined
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
  const probes = all.filter((evaluation) => evaluation.kind === 'probe')
  const [classes, ...others] = distinct(probes.map((own) => own.classes ?? Number.NaN))
  const isChanceKnown = classes !== undefined && !Number.isNaN(classes) && others.length === 0
  const encoders = groupBy(
    probes.filter((own) => own.encoder !== undefined),
    (own) => own.encoder!,
  )
  return [
    ...encoders.flatMap((group) =>
      best(
        group.flatMap(({ points }) => points.map(({ layer, noise, accuracy }) => ({ layer, noise, value: accuracy }))),
        0,
      ).map(([, value]) => ({ name: group[0]!.encoder!, value })),
    ),
    ...(isChanceKnown ? [{ name: 'chance', value: 1 / classes }] : []),
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
      description: `How far neighbours among the layer’s features are neighbours among the encoder’s; ${formula}, k = ${neighbours}.`,
      yLabel: 'CKNNA',
      percent: false,
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
function layerCharts(measure: LayerMeasure, names: readonly string[]): Chart[] {
  const profiles = named(measure.profiles, names)
  const values = profiles.flatMap((profile) => profile.values)
  if (values.length === 0) return []
  const noises = distinct(values.map(({ noise }) => noise))
  const layers = distinct(values.map(({ layer }) => layer))
  const { title, description, yLabel, percent, references } = measure
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
    legend: true,
  } as const
  const steps = distinct(profiles.flatMap(({ step }) => step ?? []))
  const charts: Chart[] = noises.map((noise) => ({
    ...chart,
    title: noises.length > 1 ? `${title}, t = ${noise}` : title,
    description: noises.length > 1 ? `${description} At noise level ${noise}.` : `${description} Noise level ${noise}.`,
    across: 'layer',
    range: [layers[0]!, layers.at(-1)!],
    width: noises.length === 1 ? 'full' : 'half',
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
      width: 'half',
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
      range: [steps[0]!, steps.at(-1)!],
      width: 'half',
      series: names.map((name, run) => ({
        run,
        name,
        points: pointsOf(
          profiles.flatMap((own) => (own.run === run && own.step !== undefined ? best(own.values, own.step) : [])),
        ),
      })),
    })
  }
  return charts
}

/** Lines of the profiles: a run's name, with the step where it has several checkpoints; the older the fainter. */
function named(
  profiles: readonly LayerProfile[],
  names: readonly string[],
): (LayerProfile & { readonly name: string; readonly age: number })[] {
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

/** Points by rising x; of several at one x the last. */
function pointsOf(pairs: readonly (readonly [x: number, y: number] | readonly number[])[]): Points {
  const sorted = [...new Map(pairs.map(([x, y]) => [x!, y!]))].sort(([a], [b]) => a - b)
  return { x: Float64Array.from(sorted, ([x]) => x), y: Float64Array.from(sorted, ([, y]) => y) }
}

function distinct(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b)
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return [...groups.values()]
}
