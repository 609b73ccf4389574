import { type Html, html, trusted } from './html.ts'
import { flattenJson } from './json.ts'
import { listing } from './listing.ts'
import { formatCount } from './quantity.ts'
import type { RunData } from './run.ts'
import { renderSampleMatrix, type SampleSource } from './sample-matrix.ts'

/**
 * The runs' sample grids over time. Of one run a strip to scroll through, which the page's script turns into one grid with
 * a slider over the steps; of several a matrix of steps and runs.
 */
export function renderGallery(runs: readonly RunData[], names: readonly string[], source: SampleSource): Html {
  if (runs.every(({ samples }) => samples.shown.length === 0)) return html``
  const grids = runs.length === 1 ? renderStrip(runs[0]!, names[0]!, source) : renderSampleMatrix(runs, names, source)
  return html`<section class="gallery" aria-labelledby="samples">
<header><h2 id="samples">Samples</h2><p>${remark(runs)}</p></header>
${grids}
</section>`
}

function renderStrip({ samples }: RunData, name: string, source: SampleSource): Html {
  return html`<div class="card strip"><div class="frames">${samples.shown.map((grid) => {
    const { step, width, height } = grid
    return html`<figure data-step="${step}">
<img class="${width < 640 ? 'small' : ''}" width="${width}" height="${height}" alt="Samples of ${name} at step ${formatCount(step)}" src="${trusted(source(0, grid))}">
<figcaption>Step ${formatCount(step)}</figcaption></figure>`
  })}</div></div>`
}

function remark(runs: readonly RunData[]): string {
  const shown = runs.reduce((sum, { samples }) => sum + samples.shown.length, 0)
  const available = runs.reduce((sum, { samples }) => sum + samples.available, 0)
  const drawn = runs.filter(({ samples }) => samples.available > 0)
  const settings = drawn.map(({ config }) => flattenJson(config))
  const areOfText = settings.map((own) => own.has('training.captionEncoder.file'))
  // Of the classes a grid takes one after the other, and how many there are is the data's.
  const differences = [
    ['seed', settings.map((own) => own.get('training.seed') ?? null)],
    ['data folder', settings.map((own) => own.get('data') ?? null)],
    ['conditioning', areOfText],
  ] as const
  const differing = differences.flatMap(([name, values]) => (new Set(values).size > 1 ? [name] : []))
  const noise = `noise and ${areOfText.length > 0 && areOfText.every(Boolean) ? 'captions' : 'classes'}`
  const what =
    differing.length > 0
      ? `Drawn as training went on. The runs differ in ${listing(differing)}, and so may their ${noise}.`
      : new Set(drawn.flatMap(({ samples }) => samples.shown.map(({ width, height }) => `${width} ${height}`))).size > 1
        ? `Drawn as training went on; grids of other sizes may be of other ${noise}.`
        : `The same ${noise}, drawn again as training went on.`
  return shown === available ? what : `${what} ${shown} of ${available} grids are shown, spread evenly over the run.`
}
