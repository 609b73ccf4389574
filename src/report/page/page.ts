import type { ChartData } from '../chart-data.ts'
import type { LoggedPoints } from '../live-message.ts'
import type { Across } from '../plot.ts'
import { ChartGroup } from './chart-group.ts'
import { PageChart } from './page-chart.ts'
import { addTileChoice, enlargeOnClick } from './sample-matrix.ts'
import { addTimeline } from './timeline.ts'

/** The report in the browser. What its parts are is markup; what was chosen in them outlives their being replaced. */
export class ReportPage {
  readonly #groups: Readonly<Record<Across, ChartGroup>>
  #charts: PageChart[] = []
  #chosenStep: (() => number | undefined) | undefined
  #chosenTile: (() => number | undefined) | undefined

  constructor() {
    const onView = () => this.#showReset()
    this.#groups = { step: new ChartGroup(onView), layer: new ChartGroup(onView), noise: new ChartGroup(onView) }
    for (const part of document.querySelectorAll('[data-part]')) this.#enliven(part)
    document.addEventListener('change', ({ target }) => {
      const isOurs = target instanceof HTMLInputElement && /^(?:show-run-\d+|log-scale)$/.test(target.id)
      if (isOurs) for (const chart of this.#charts) chart.update()
    })
    document.addEventListener('click', ({ target }) => {
      if (target instanceof Element && target.closest('.reset')) this.#groups.step.view = undefined
    })
    document.addEventListener('pointerdown', ({ target }) => {
      if (!(target instanceof Element && target.closest('.pointer'))) {
        for (const group of Object.values(this.#groups)) group.clear()
      }
    })
  }

  append(logged: readonly LoggedPoints[], first: number, last: number): void {
    for (const chart of this.#charts) chart.append(logged, first, last)
  }

  /** Puts in what has changed of another rendering of the page; `appended` parts have been kept up to date already. */
  replaceParts(other: ParentNode, appended: readonly string[]): void {
    for (const part of document.querySelectorAll<HTMLElement>('[data-part]')) {
      const name = part.dataset.part!
      const next = other.querySelector<HTMLElement>(`[data-part="${name}"]`)
      if (!next) continue
      const isCurrent = appended.includes(name)
        ? titles(part).join('\n') === titles(next).join('\n')
        : next.innerHTML === this.#markup.get(part)
      if (!isCurrent) this.#replace(part, next.innerHTML)
    }
  }

  /** Puts new markup, which the server has escaped, into a part that holds no charts. */
  setPart(name: string, markup: string): void {
    const part = document.querySelector(`[data-part="${name}"]`)
    if (part && this.#markup.get(part) !== markup) this.#replace(part, markup)
  }

  #replace(part: Element, markup: string): void {
    const checked = [...part.querySelectorAll<HTMLInputElement>('input[id]')].map(({ id, checked }) => ({
      id,
      checked,
    }))
    const open = [...part.querySelectorAll('details')].map((details) => details.open)
    const scrolled = [...part.querySelectorAll('.scroll')].map((own) => own.scrollLeft)
    const focused = part.contains(document.activeElement) ? labelOf(document.activeElement!) : undefined
    for (const chart of this.#charts) if (part.contains(chart.figure)) chart.dispose()
    this.#charts = this.#charts.filter(({ figure }) => !part.contains(figure))
    part.innerHTML = markup
    for (const { id, checked: is } of checked) {
      const box = part.querySelector<HTMLInputElement>(`#${CSS.escape(id)}`)
      if (box) box.checked = is
    }
    for (const [i, details] of [...part.querySelectorAll('details')].entries()) details.open = open[i] ?? false
    this.#enliven(part, markup)
    for (const [i, own] of [...part.querySelectorAll('.scroll')].entries()) own.scrollLeft = scrolled[i] ?? 0
    if (focused !== undefined) focusAgain(part, focused)
  }

  /** The markup of each part before the script had its way with it. */
  readonly #markup = new Map<Element, string>()

  #enliven(part: Element, markup = part.innerHTML): void {
    this.#markup.set(part, markup)
    for (const figure of part.querySelectorAll<HTMLElement>('.chart')) {
      const data = JSON.parse(figure.querySelector('script')!.textContent) as ChartData
      this.#charts.push(new PageChart(figure, data, this.#groups[data.across]))
    }
    const gallery = part.querySelector('.gallery')
    if (gallery) {
      this.#chosenStep = addTimeline(gallery, this.#chosenStep?.())
      this.#chosenTile = addTileChoice(gallery, this.#chosenTile?.())
      enlargeOnClick(gallery)
    }
    this.#showReset()
  }

  #showReset(): void {
    for (const button of document.querySelectorAll<HTMLElement>('.reset')) {
      button.hidden = this.#groups.step.view === undefined
    }
  }
}

/** What tells an element that takes the focus from the others of its part: the markup that replaces it says the same of it. */
function labelOf(element: Element): string {
  const { id, tagName } = element
  const said =
    element.getAttribute('aria-label') ?? element.getAttribute('alt') ?? element.closest('label')?.textContent
  return [tagName, id, said ?? element.textContent].join(' ')
}

/** Whoever goes by keys stays where they were when the part around them is replaced. */
function focusAgain(part: Element, label: string): void {
  const all = [...part.querySelectorAll<HTMLElement>('input, button, summary, [tabindex]')]
  all.find((own) => labelOf(own) === label)?.focus({ preventScroll: true })
}

function titles(part: ParentNode): string[] {
  return [...part.querySelectorAll<HTMLElement>('.chart')].map((figure) => figure.dataset.chart ?? '')
}
