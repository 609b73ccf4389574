/** What a group asks of its charts. */
export interface GroupedChart {
  /** Marks a place across, where the chart has it; with a box of the values there or without. */
  mark(x: number, withValues: boolean): void
  clear(): void
  /** Draws anew, soon. */
  update(): void
}

/** Charts that show the same across: what is marked or magnified in one is in all. */
export class ChartGroup {
  readonly #charts = new Set<GroupedChart>()
  readonly #onView: () => void
  /** The stretch that is magnified; undefined shows all. */
  #view: readonly [from: number, to: number] | undefined
  /** What is marked, and in which chart. */
  #marked: { readonly x: number; readonly in: GroupedChart } | undefined

  constructor(onView: () => void) {
    this.#onView = onView
  }

  get view(): readonly [from: number, to: number] | undefined {
    return this.#view
  }

  set view(view: readonly [from: number, to: number] | undefined) {
    this.#view = view
    for (const chart of this.#charts) chart.update()
    this.#onView()
  }

  add(chart: GroupedChart): void {
    this.#charts.add(chart)
  }

  delete(chart: GroupedChart): void {
    this.#charts.delete(chart)
    if (this.#marked?.in === chart) this.#marked = undefined
  }

  mark(x: number, source: GroupedChart): void {
    this.#marked = { x, in: source }
    for (const chart of this.#charts) chart.mark(x, chart === source)
  }

  /** Marks in a chart that was drawn anew what was marked before. */
  markAgain(chart: GroupedChart): void {
    if (this.#marked) chart.mark(this.#marked.x, this.#marked.in === chart)
  }

  clear(): void {
    if (!this.#marked) return
    this.#marked = undefined
    for (const chart of this.#charts) chart.clear()
  }
}
