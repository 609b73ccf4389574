import { type Html, html, trusted } from './html.ts'
import { formatCount } from './quantity.ts'
import type { RunData } from './run.ts'

/**
 * The sample grids of all runs over time. A strip to scroll through; the page's script turns it into one grid per run
 * with a slider over the steps.
 */
export function renderGallery(runs: readonly RunData[], names: readonly string[]): Html {
  if (runs.every(({ samples }) => samples.shown.length === 0)) return html``
  return html`<section class="gallery" aria-labelledby="samples">
<header><h2 id="samples">Samples</h2><p>${remark(runs)}</p></header>
<div class="grids">${runs.map((run, i) => (run.samples.shown.length === 0 ? undefined : renderStrip(run, names, i)))}</div>
</section>`
}

function renderStrip({ samples }: RunData, names: readonly string[], index: number): Html {
  const heading = names.length > 1 ? html`<h3><i class="swatch run-${index}"></i>${names[index]!}</h3>` : undefined
  return html`<div class="card strip run-${index}">${heading}<div class="frames">${samples.shown.map(
    ({ step, png, width, height }) => html`<figure data-step="${step}">
<img class="${width < 640 ? 'small' : ''}" width="${width}" height="${height}" alt="Samples of ${names[index]!} at step ${formatCount(step)}" src="data:image/png;base64,${trusted(Buffer.from(png).toString('base64'))}">
<figcaption>Step ${formatCount(step)}</figcaption></figure>`,
  )}</div></div>`
}

function remark(runs: readonly RunData[]): string {
  const shown = runs.reduce((sum, { samples }) => sum + samples.shown.length, 0)
  const available = runs.reduce((sum, { samples }) => sum + samples.available, 0)
  const what = 'The same noise and classes, drawn again as training went on.'
  return shown === available ? what : `${what} ${shown} of ${available} grids are shown, spread evenly over the run.`
}
