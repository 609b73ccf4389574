import { appendElement } from './elements.ts'

/** Buttons that show one tile of every grid alone: the same noise and class in every run at every step. */
export function addTileChoice(section: Element, tile: number | undefined): (() => number | undefined) | undefined {
  const matrix = section.querySelector<HTMLElement>('.matrix[data-count]')
  if (!matrix) return undefined
  const [count, across, width, height, border] = ['count', 'across', 'width', 'height', 'border'].map((name) =>
    Number(matrix.dataset[name]),
  ) as [number, number, number, number, number]
  if (count < 2) return undefined
  let chosen = tile !== undefined && tile < count ? tile : undefined
  const controls = document.createElement('fieldset')
  controls.className = 'controls tiles-choice'
  controls.setAttribute('aria-label', 'Which sample of every grid')
  const show = () => {
    matrix.classList.toggle('one', chosen !== undefined)
    for (const image of matrix.querySelectorAll('img')) {
      if (chosen === undefined) {
        image.removeAttribute('style')
        image.parentElement!.removeAttribute('style')
        continue
      }
      const left = border + (chosen % across) * (width + border)
      const top = border + Math.floor(chosen / across) * (height + border)
      image.parentElement!.style.aspectRatio = `${width} / ${height}`
      const [gridWidth, gridHeight] = ['width', 'height'].map((name) => Number(image.getAttribute(name)))
      image.style.width = `${(gridWidth! / width) * 100}%`
      image.style.transform = `translate(${(-left / gridWidth!) * 100}%, ${(-top / gridHeight!) * 100}%)`
    }
  }
  const choices = [undefined, ...Array.from({ length: count }, (_, i) => i)]
  for (const choice of choices) {
    const label = appendElement(controls, 'label')
    const input = appendElement(label, 'input')
    input.type = 'radio'
    input.name = 'tile'
    input.checked = choice === chosen
    input.addEventListener('change', () => {
      chosen = choice
      show()
    })
    label.append(choice === undefined ? 'Whole grids' : String(choice + 1))
  }
  matrix.before(controls)
  show()
  return () => chosen
}

/** A click on a grid, or Enter where it has the focus, shows it as large as the window allows. */
export function enlargeOnClick(section: Element): void {
  for (const image of section.querySelectorAll('img')) {
    image.tabIndex = 0
    image.setAttribute('role', 'button')
  }
  section.addEventListener('keydown', (event) => {
    if (!(event instanceof KeyboardEvent) || !(event.target instanceof HTMLImageElement)) return
    if (event.key !== 'Enter' && event.key !== ' ') return
    event.preventDefault()
    event.target.click()
  })
  section.addEventListener('click', ({ target }) => {
    if (!(target instanceof HTMLImageElement)) return
    const dialog = appendElement(document.body, 'dialog', 'enlarged')
    dialog.setAttribute('aria-label', target.alt)
    const image = appendElement(dialog, 'img', target.className)
    image.src = target.src
    image.alt = target.alt
    appendElement(dialog, 'p', '', target.alt)
    dialog.addEventListener('click', () => dialog.close())
    dialog.addEventListener('close', () => dialog.remove())
    dialog.showModal()
  })
}
