import { nearest } from '../curve.ts'
import { formatCount } from '../quantity.ts'
import { appendElement } from './elements.ts'

/**
 * Turns a strip of sample grids into one grid and a slider over the steps. `step` is what was chosen before the strip was
 * replaced; undefined chooses, and keeps to, the newest. Returns what is chosen now in the same sense.
 */
export function addTimeline(section: Element, step: number | undefined): (() => number | undefined) | undefined {
  const frames = [...section.querySelectorAll<HTMLElement>('.frames figure')]
  if (frames.length < 2) return undefined
  const steps = Float64Array.from(frames, (frame) => Number(frame.dataset.step))
  section.classList.add('stage')
  const timeline = document.createElement('div')
  timeline.className = 'timeline'
  const slider = appendElement(timeline, 'input')
  slider.type = 'range'
  slider.min = '0'
  slider.max = String(steps.length - 1)
  slider.setAttribute('aria-label', 'Training step of the samples')
  const output = appendElement(timeline, 'output')
  const choose = () => {
    output.textContent = `Step ${formatCount(steps[Number(slider.value)]!)}`
    slider.setAttribute('aria-valuetext', output.textContent)
    for (const [i, frame] of frames.entries()) frame.classList.toggle('current', i === Number(slider.value))
  }
  slider.value = step === undefined ? slider.max : String(nearest(steps, step))
  slider.addEventListener('input', choose)
  section.querySelector('.strip')!.before(timeline)
  choose()
  return () => (slider.value === slider.max ? undefined : steps[Number(slider.value)])
}
