import { digitsOf, END_LABEL, positionOn, type Tick, tickText } from '../axis.ts'
import type { ChartData } from '../chart-data.ts'
import { type Curve, curveOf, firstAtLeast, nearest, pointsWithin, rangeOf, valueAt } from '../curve.ts'
import type { LoggedPoints } from '../live-message.ts'
import { unpackNumbers } from '../packed-numbers.ts'
import { axisBegin, type Plot, plotOf } from '../plot.ts'
import { formatCount, formatSignificant } from '../quantity.ts'
import { spokenChart } from '../spoken-chart.ts'
import type { ChartGroup, GroupedChart } from './chart-group.ts'
import { appendElement, isChecked, isRunShown } from './elements.ts'
import { GrowingPoints } from './growing-points.ts'

/** A line as it is drawn now. */
interface DrawnSeries {
  readonly series: PageSeries
  readonly curve: Curve
}

interface PageSeries {
  readonly run: number
  readonly name: string
  readonly age: number
  readonly points: GrowingPoints
  readonly raw: SVGPathElement
  readonly trend: SVGPathElement
}

/** Narrower selections are slips of the mouse. */
const NARROWEST_SELECTION = 8

/** A chart of the page come to life: it reads values, magnifies, grows. */
export class PageChart implements GroupedChart {
  readonly figure: HTMLElement
  readonly #data: ChartData
  readonly #group: ChartGroup
  readonly #series: readonly PageSeries[]
  readonly #pointer: HTMLElement
  #first: number
  #last: number
  #plot: Plot | undefined
  #drawn: readonly DrawnSeries[] = []
  /** What is marked: the place, its share of the width, and the values there. */
  #marked: { readonly x: number; readonly share: number; readonly readings: readonly Reading[] } | undefined
  /** Of the plot, in pixels. Lines are reduced to it. */
  #width = 0
  /** Asked of the layout that the page makes by itself: each chart that asked between two drawings would have it made once more. */
  readonly #resized = new ResizeObserver(([entry]) => {
    const { width } = entry!.contentRect
    if (width === this.#width) return
    this.#width = width
    this.draw()
    this.#group.markAgain()
  })
  /** Where the arrow keys go on from. */
  #keyed: number | undefined
  /** Where fingers or the pressed mouse are and where they began, in pixels across. */
  readonly #pressed = new Map<number, { readonly from: number; at: number }>()

  constructor(figure: HTMLElement, data: ChartData, group: ChartGroup) {
    this.figure = figure
    this.#data = data
    this.#group = group
    this.#first = data.first
    this.#last = data.last
    const [raw, trend] = ['raw', 'trend'].map((kind) => figure.querySelectorAll<SVGPathElement>(`svg .${kind}`))
    this.#series = data.series.map(({ run, name, age, x, y }, i) => ({
      run,
      name,
      age,
      points: new GrowingPoints({ x: unpackNumbers(x), y: unpackNumbers(y) }),
      raw: raw![i]!,
      trend: trend![i]!,
    }))
    this.#pointer = appendElement(figure.querySelector('.plot')!, 'div', 'pointer')
    this.#pointer.tabIndex = 0
    this.#pointer.setAttribute('role', 'group')
    this.#pointer.setAttribute(
      'aria-label',
      `Values of ${figure.dataset.chart}: arrow keys${this.#isMagnifiable ? '; + and - magnify, Escape shows all' : ''}`,
    )
    this.#listen()
    group.add(this)
    this.#resized.observe(this.#pointer)
  }

  /** Takes in what was logged; `first` and `last` are the ends of all runs. */
  append(logged: readonly LoggedPoints[], first: number, last: number): void {
    const { metric } = this.#data
    if (metric === undefined) return
    for (const { run, from, step, columns } of logged) {
      const column = columns[metric]
      for (const series of this.#series) if (series.run === run) series.points.replaceFrom(from, step, column ?? [])
    }
    this.#first = axisBegin(first, last)
    this.#last = last
    this.update()
  }

  update(): void {
    this.#group.update(this)
  }

  dispose(): void {
    this.#resized.disconnect()
    this.#group.delete(this)
  }

  clear(): void {
    this.#marked = undefined
    this.#pointer.replaceChildren()
  }

  mark(x: number): void {
    this.clear()
    const plot = this.#plot
    if (!plot || x < plot.x.low || x > plot.x.high) return
    const isMeasured = this.#data.drawing === 'measured'
    const readings = this.#drawn.flatMap((drawn) => this.#read(drawn, x) ?? [])
    if (readings.length === 0) return
    const marked = readings.reduce((best, own) => (Math.abs(own.x - x) < Math.abs(best.x - x) ? own : best)).x
    // Of what was measured at few places, only what was measured at this one.
    const here = isMeasured ? readings.filter((reading) => reading.x === marked) : readings
    const share = positionOn(plot.x, marked)
    if (share < 0 || share > 1) return
    appendElement(this.#pointer, 'i', 'rule').style.left = `${share * 100}%`
    for (const { series, x: at, y } of here) {
      const height = positionOn(plot.y, y)
      if (!(height >= 0 && height <= 1)) continue
      const dot = appendElement(this.#pointer, 'i', `dot run-${series.run} age-${series.age}`)
      dot.style.left = `${positionOn(plot.x, at) * 100}%`
      dot.style.top = `${(1 - height) * 100}%`
    }
    this.#marked = { x: marked, share, readings: here }
  }

  /** A line's value nearest to x: its trend, and what was logged where that is another thing. */
  #read({ series, curve }: DrawnSeries, x: number): Reading | undefined {
    const { points } = series.points.points.x.length > 0 ? series.points : { points: undefined }
    if (!points || curve.smooth.x.length === 0) return undefined
    if (this.#data.drawing === 'measured') {
      const i = nearest(points.x, x)
      return { series, x: points.x[i]!, y: points.y[i]!, logged: undefined }
    }
    if (x < points.x[0]! || x > points.x.at(-1)!) {
      // Beyond a line's end lies nothing, but the ends themselves must be within reach.
      const reach = (this.#plot!.x.high - this.#plot!.x.low) * 0.01
      if (x < points.x[0]! - reach || x > points.x.at(-1)! + reach) return undefined
    }
    const i = nearest(points.x, x)
    const [at, y] = [points.x[i]!, points.y[i]!]
    const isTrend = this.#data.drawing === 'noisy' && curve.smooth !== curve.raw
    return isTrend
      ? { series, x: at, y: valueAt(curve.smooth, at), logged: y }
      : { series, x: at, y, logged: undefined }
  }

  showValues(): void {
    if (!this.#marked) return
    const { x, share, readings } = this.#marked
    const tip = appendElement(this.#pointer, 'div', 'tip')
    tip.setAttribute('role', 'status')
    const { across } = this.#data
    const place =
      across === 'step'
        ? `Step ${formatCount(x)}`
        : across === 'layer'
          ? `Layer ${x}`
          : `t = ${Number(x.toPrecision(4))}`
    appendElement(tip, 'span', '', place)
    for (const { series, y, logged } of readings) {
      const row = appendElement(tip, 'div')
      if (this.#series.length > 1) {
        appendElement(row, 'i', `swatch run-${series.run} age-${series.age}`)
        row.append(`${series.name} `)
      }
      appendElement(row, 'b', '', this.#format(y))
      if (logged !== undefined && isChecked('show-raw', true)) {
        row.append(' ')
        appendElement(row, 'span', '', `logged ${this.#format(logged)}`)
      }
    }
    // Beside the rule, and inside the page however narrow that is.
    const room = this.#pointer.clientWidth
    const beside = share < 0.5 ? share * room + 12 : share * room - tip.offsetWidth - 12
    const isFitting = beside >= -24 && beside <= room - tip.offsetWidth + 8
    // Where it must lie on the rule it leaves the half in which most of the values are.
    const heights = readings.map(({ y }) => positionOn(this.#plot!.y, y))
    tip.classList.toggle('low', !isFitting && heights.filter((height) => height > 0.5).length * 2 > heights.length)
    // Moved, not placed: for that the layout would be made once more. By whole pixels, or its text would be blurred.
    tip.style.transform = `translateX(${Math.round(Math.max(-24, Math.min(room - tip.offsetWidth + 8, beside)))}px)`
  }

  #format(value: number): string {
    return this.#data.percent ? `${(value * 100).toFixed(1)} %` : formatSignificant(value, 4)
  }

  draw(): void {
    const { across, drawing, fromZero, values, ticks } = this.#data
    const view = across === 'step' ? this.#group.view : undefined
    const slices = Math.max(240, Math.min(1600, Math.round(this.#width)))
    this.#drawn = this.#series
      .filter(({ run }) => isRunShown(run))
      .map((series) => {
        const all = series.points.points
        const points = view && drawing !== 'measured' ? pointsWithin(all, ...view) : all
        return { series, curve: curveOf(points, drawing === 'noisy' ? 'noisy' : 'exact', slices) }
      })
    const curves = this.#drawn.map(({ curve }) => curve)
    const held = curves.filter(({ raw }) => raw.x.length > 0)
    // All runs hidden: what was drawn stays, invisible, as the style sheet has it.
    if (held.length === 0) return
    const isPositive = held.every(({ raw }) => rangeOf(raw.y)[0] > 0)
    const scale = across === 'step' && isPositive && isChecked('log-scale', false) ? 'log' : 'linear'
    const [first, last] = view ?? [this.#first, this.#last]
    const plot = plotOf(curves, { across, drawing, first, last, scale, fromZero, values, ticks })
    this.#plot = plot
    const lines = this.#drawn.map(({ series: { name }, curve }) => ({ name, curve }))
    const spoken = spokenChart(this.figure.dataset.chart!, across, lines, this.#data.references)
    this.figure.querySelector('svg')!.setAttribute('aria-label', spoken)
    this.figure.querySelector('svg .grid')!.setAttribute('d', plot.grid)
    for (const [i, { series }] of this.#drawn.entries()) {
      series.raw.setAttribute('d', plot.raw[i]!)
      series.trend.setAttribute('d', plot.trend[i]!)
      series.trend.classList.toggle('point', curves[i]!.smooth.x.length === 1)
    }
    this.#labels('.y-labels', 'top', plot.y.ticks, (value) => 1 - positionOn(plot.y, value), this.#data.percent)
    this.figure.style.setProperty('--digits', String(digitsOf(plot.y.ticks, this.#data.percent)))
    this.#labels('.x-labels', 'left', plot.x.ticks, (value) => positionOn(plot.x, value), false)
    for (const [i, line] of [...this.figure.querySelectorAll<HTMLElement>('.reference')].entries()) {
      const height = positionOn(plot.y, this.#data.references[i]!.value)
      line.style.top = `${((1 - height) * 100).toFixed(2)}%`
      line.classList.toggle('below', height > 0.9)
      line.hidden = !(height >= 0 && height <= 1)
    }
    const note = this.figure.querySelector('.above')!
    note.textContent =
      plot.above === undefined ? '' : `The highest value, ${formatSignificant(plot.above, 3)}, lies above the axis.`
  }

  #labels(
    selector: string,
    side: 'top' | 'left',
    ticks: readonly Tick[],
    position: (value: number) => number,
    percent: boolean,
  ): void {
    const parent = this.figure.querySelector(selector)!
    parent.replaceChildren()
    for (const tick of ticks) {
      const place = position(tick.value)
      const end = side === 'left' && place > END_LABEL ? 'end' : ''
      appendElement(parent, 'span', end, tickText(tick, percent)).style[side] = `${(place * 100).toFixed(2)}%`
    }
  }

  #listen(): void {
    const pointer = this.#pointer
    pointer.addEventListener('pointerdown', (event) => {
      const across = this.#across(event)
      this.#pressed.set(event.pointerId, { from: across, at: across })
      this.#markAt(event)
    })
    pointer.addEventListener('pointermove', (event) => {
      const pressed = this.#pressed.get(event.pointerId)
      if (pressed) pressed.at = this.#across(event)
      this.#markAt(event)
      const selection = this.#selection(event.pointerType)
      if (!selection) return
      // Only for a real drag: capturing at once would swallow a tap.
      if (event.pointerType === 'mouse') pointer.setPointerCapture(event.pointerId)
      const band = appendElement(pointer, 'i', 'band')
      band.style.left = `${selection[0]}px`
      band.style.width = `${selection[1] - selection[0]}px`
    })
    const end = (event: PointerEvent) => {
      const selection = event.type === 'pointerup' ? this.#selection(event.pointerType) : undefined
      this.#pressed.clear()
      if (selection) this.#magnify(selection)
    }
    pointer.addEventListener('pointerup', end)
    pointer.addEventListener('pointercancel', end)
    pointer.addEventListener('pointerleave', (event) => {
      // A finger that is lifted leaves what it read; the next touch elsewhere takes it away.
      if (event.pointerType === 'mouse') this.#group.clear()
    })
    pointer.addEventListener('dblclick', () => {
      this.#group.view = undefined
    })
    pointer.addEventListener('keydown', (event) => this.#key(event))
    pointer.addEventListener('blur', () => this.#group.clear())
  }

  #key(event: KeyboardEvent): void {
    // Of what was asked for last, which may not be drawn yet.
    this.#group.drawStale()
    if (event.key === 'Escape') this.#group.view = undefined
    const plot = this.#plot
    if (!plot || event.ctrlKey || event.altKey || event.metaKey) return
    const { low, high } = plot.x
    const [isBack, isOn] = [event.key === 'ArrowLeft', event.key === 'ArrowRight']
    if (isBack || isOn) {
      event.preventDefault()
      this.#keyed = this.#placeBeside(this.#keyed, isOn, (high - low) / 50)
      if (this.#keyed !== undefined) this.#group.mark(this.#keyed, this)
    } else if (event.key === '+' || event.key === '-') {
      const width = (high - low) * (event.key === '+' ? 0.5 : 2)
      this.#magnifyAround(this.#keyed ?? (low + high) / 2, width)
    }
  }

  /**
   * Where the next value lies, at least `by` away or else the last that way: no press is in vain, and what lies between is within reach where it
   * is magnified.
   */
  #placeBeside(from: number | undefined, isOn: boolean, by: number): number | undefined {
    const { low, high } = this.#plot!.x
    const all = this.#drawn.map(({ series: { points } }) => points.points.x)
    const placesFrom = (target: number, isUpwards: boolean) =>
      all
        .map((x) => {
          const i = firstAtLeast(x, target)
          return isUpwards || x[i] === target ? x[i] : x[i - 1]
        })
        .filter((x) => x !== undefined && x >= low && x <= high) as number[]
    const [first, last] = [Math.min(...placesFrom(low, true)), Math.max(...placesFrom(high, false))]
    if (!Number.isFinite(first)) return from
    if (isOn) return Math.min(...placesFrom(from === undefined ? low : Math.min(from + by, last), true))
    return Math.max(...placesFrom(from === undefined ? high : Math.max(from - by, first), false))
  }

  /** So much across, with `at` in the middle where there is room; all, where that is no more. */
  #magnifyAround(at: number, width: number): void {
    if (!this.#isMagnifiable || width < 2) return
    const span = this.#last - this.#first
    const from = Math.min(this.#last - width, Math.max(this.#first, at - width / 2))
    this.#group.view = width >= span ? undefined : [from, from + width]
  }

  get #isMagnifiable(): boolean {
    return this.#data.across === 'step' && this.#data.drawing !== 'measured'
  }

  /** Pixels across that the mouse has dragged over, or that lie between two fingers. */
  #selection(pointerType: string): readonly [number, number] | undefined {
    if (!this.#isMagnifiable) return undefined
    const pressed = [...this.#pressed.values()]
    const ends =
      pointerType === 'mouse'
        ? pressed.flatMap(({ from, at }) => [from, at])
        : pressed.length === 2
          ? pressed.map(({ at }) => at)
          : []
    if (ends.length < 2) return undefined
    const [low, high] = [Math.min(...ends), Math.max(...ends)]
    return high - low < NARROWEST_SELECTION ? undefined : [low, high]
  }

  #magnify([low, high]: readonly [number, number]): void {
    const [from, to] = [this.#stepAt(low), this.#stepAt(high)]
    if (to - from >= 2) this.#group.view = [from, to]
  }

  #markAt(event: PointerEvent): void {
    if (!this.#plot) return
    this.#keyed = this.#stepAt(this.#across(event))
    this.#group.mark(this.#keyed, this)
  }

  #across(event: PointerEvent): number {
    const { left, width } = this.#pointer.getBoundingClientRect()
    return Math.min(width, Math.max(0, event.clientX - left))
  }

  #stepAt(pixels: number): number {
    const { low, high } = this.#plot!.x
    return low + (pixels / this.#pointer.clientWidth) * (high - low)
  }
}

interface Reading {
  readonly series: PageSeries
  readonly x: number
  readonly y: number
  readonly logged: number | undefined
}
