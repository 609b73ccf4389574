import { formatCount, formatDuration, formatSignificant } from '../../src/report/quantity.ts'
import { type Comparison, compare, MEASURES, type Measure, type Reach, type Spread, spreadOf } from './analysis.ts'
import { curveOf, type Result, seedsOf } from './result.ts'

export const MEASURE_NAMES = Object.keys(MEASURES) as readonly Measure[]

/** A value of a measure, as it is written. */
export function formatValue(measure: Measure, value: number): string {
  return measure === 'accuracy' ? `${(100 * value).toFixed(1)} %` : formatSignificant(value, 4)
}

/** How far two values are apart, or their mean and its deviation over seeds: with a sign, and of shares in percentage points. */
export function formatDifference(measure: Measure, { mean, deviation }: Spread): string {
  const isShare = measure === 'accuracy'
  const write = (size: number): string => (isShare ? (100 * size).toFixed(1) : formatSignificant(size, 3))
  const spread = deviation === undefined ? '' : ` ± ${write(deviation)}`
  return `${mean < 0 ? '−' : '+'}${write(Math.abs(mean))}${spread}${isShare ? ' points' : ''}`
}

export function comparisonsOf(result: Result, measure: Measure): readonly (Comparison & { readonly seed: number })[] {
  const { better } = MEASURES[measure]
  return seedsOf(result).map((seed) => ({
    seed,
    ...compare(curveOf(result, seed, 'vanilla', measure), curveOf(result, seed, 'aligned', measure), better),
  }))
}

/** `step 1,234`, `before step 300`, `not reached`. */
function formatReach(reach: Reach): string {
  if (reach.kind === 'not reached') return reach.kind
  return `${reach.kind === 'before' ? 'before step' : 'step'} ${formatCount(Math.round(reach.step))}`
}

function formatSpeedUp({ speedUp, reach }: Comparison): string {
  if (speedUp === undefined) return '–'
  return `${reach.kind === 'before' ? '> ' : ''}${speedUp.toFixed(2)} ×`
}

function withDeviation(values: readonly number[], write: (value: number) => string): string {
  const { mean, deviation } = spreadOf(values)
  return deviation === undefined ? write(mean) : `${write(mean)} ± ${write(deviation)}`
}

/** One table a measure, a row a seed and one of means ± standard deviations, in Markdown. */
export function measureTable(result: Result, measure: Measure): string {
  const rows = comparisonsOf(result, measure)
  const write = (value: number): string => formatValue(measure, value)
  const reached = rows.map(({ speedUp }) => speedUp).filter((speedUp) => speedUp !== undefined)
  const difference = (row: Comparison): number => row.aligned - row.vanilla
  const cells = rows.map((row) => [
    `seed ${row.seed}`,
    write(row.vanilla),
    write(row.aligned),
    formatDifference(measure, spreadOf([difference(row)])),
    formatReach(row.reach),
    formatSpeedUp(row),
  ])
  const mean = [
    `mean ± deviation of ${rows.length}`,
    withDeviation(
      rows.map(({ vanilla }) => vanilla),
      write,
    ),
    withDeviation(
      rows.map(({ aligned }) => aligned),
      write,
    ),
    formatDifference(measure, spreadOf(rows.map(difference))),
    `reached by ${reached.length} of ${rows.length}`,
    reached.length === rows.length ? withDeviation(reached, (value) => `${value.toFixed(2)} ×`) : '–',
  ]
  const last = formatCount(curveOf(result, rows[0]!.seed, 'vanilla', measure).at(-1)!.step)
  const head = [
    MEASURES[measure].title,
    `vanilla, step ${last}`,
    `aligned, step ${last}`,
    'difference',
    "aligned reaches vanilla's last value",
    'fewer steps',
  ]
  return markdown(head, [...cells, ...(rows.length > 1 ? [mean] : [])])
}

/** How long each part took. */
export function secondsTable({ seconds }: Result): string {
  const groups = new Map<string, number>()
  for (const [part, value] of Object.entries(seconds)) {
    // All runs of one kind in one row.
    const name = part.replace(/^train: seed \d+, (.*)$/, 'training, $1, all seeds')
    groups.set(name, (groups.get(name) ?? 0) + value)
  }
  const total = [...groups.values()].reduce((sum, value) => sum + value, 0)
  const rows = [...groups].map(([part, value]) => [part, formatDuration(value)])
  return markdown(['part', 'time'], [...rows, ['in all', formatDuration(total)]])
}

/** A line a measure, for the terminal. */
export function summaryLines(result: Result): readonly string[] {
  return MEASURE_NAMES.map((measure) => {
    const found = comparisonsOf(result, measure).map(
      (row) =>
        `seed ${row.seed}: ${formatValue(measure, row.vanilla)} → ${formatValue(measure, row.aligned)}, ${formatReach(row.reach)} (${formatSpeedUp(row)})`,
    )
    return `${MEASURES[measure].title}, vanilla → aligned: ${found.join('; ')}`
  })
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}
