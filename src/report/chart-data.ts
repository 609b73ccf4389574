import type { PackedNumbers } from './packed-numbers.ts'
import type { Across, Drawing } from './plot.ts'

/** What stands beside a chart's drawing for the page's script, which reads values, zooms, appends and draws anew. */
export interface ChartData {
  readonly across: Across
  readonly drawing: Drawing
  /** The column of `metrics.jsonl` that the chart shows, where it shows one. */
  readonly metric?: string
  readonly first: number
  readonly last: number
  readonly fromZero: boolean
  readonly values?: readonly [low: number, high: number] | undefined
  readonly ticks: number
  /** A share of one, read as per cent. */
  readonly percent: boolean
  readonly references: readonly Reference[]
  readonly series: readonly SeriesData[]
}

/** A value that all lines are to be judged by, drawn right across the chart. */
export interface Reference {
  readonly name: string
  readonly value: number
}

export interface SeriesData {
  /** The run's index in the page, which gives the series its colour. */
  readonly run: number
  readonly name: string
  /** How faint it is drawn, as its class says: 0 is the newest. */
  readonly age: number
  readonly x: PackedNumbers
  readonly y: PackedNumbers
}
