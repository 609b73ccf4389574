/** What a group asks of its charts. */
export interface GroupedChart {
  draw(): void
  /** Marks a place across, where the chart has it. */
  mark(x: number): void
  /** Shows the values at the marked place in a box, for which it asks for the layout. */
  showValues(): void
  clear(): void
}

/**
 * Charts that show the same across: what is marked or magnified in one is in all. A change is written in all of them before the layout is
 * asked for: it is made once, and not once more for each chart.
 */
export class ChartGroup {
  readonly #charts = new Set<GroupedChart>()
  readonly #onView: () => void
  /** What the next frame draws anew. */
  readonly #stale = new Set<GroupedChart>()
  #frame = 0
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
    for (const chart of this.#charts) this.update(chart)
    this.#onView()
  }

  add(chart: GroupedChart): void {
    this.#charts.add(chart)
  }

  delete(chart: GroupedChart): void {
    this.#charts.delete(chart)
    this.#stale.delete(chart)
    if (this.#marked?.in === chart) this.#marked = undefined
  }

  /** Draws a chart anew in the next frame. */
  update(chart: GroupedChart): void {
    this.#stale.add(chart)
    this.#frame ||= requestAnimationFrame(() => this.drawStale())
  }

  /** Draws at once what was to be drawn in the next frame. */
  drawStale(): void {
    if (this.#frame === 0) return
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    for (const chart of this.#stale) chart.draw()
    this.#stale.clear()
    this.markAgain()
  }

  mark(x: number, source: GroupedChart): void {
    this.#marked = { x, in: source }
    this.markAgain()
  }

  /** Marks in charts that were drawn anew what was marked before. */
  markAgain(): void {
    if (!this.#marked) return
    for (const chart of this.#charts) chart.mark(this.#marked.x)
    this.#marked.in.showValues()
  }

  clear(): void {
    if (!this.#marked) return
    this.#marked = undefined
    for (const chart of this.#charts) chart.clear()
  }
}
