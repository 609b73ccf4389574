import { type Html, html, trusted } from './html.ts'
import { flattenJson } from './json.ts'
import { formatCount } from './quantity.ts'
import type { RunData } from './run.ts'
import type { SampleGrid } from './sample-grids.ts'
import { scrolled } from './scrolled.ts'

/** Where the page finds a grid's picture: a `data:` URL, or a path on the server that serves the page. */
export type SampleSource = (run: number, grid: SampleGrid) => string

/** How `repa train` lays a grid out: tiles with a border of two pixels around each (`src/data/grid.ts`). */
interface Tiles {
  readonly count: number
  readonly across: number
  readonly width: number
  readonly height: number
}

const BORDER = 2

/**
 * The runs' sample grids side by side: steps across, runs down. Runs of one seed and one data set draw their grids from the
 * same noise and classes, so that a column compares the runs; the page's script can show one tile of every grid alone.
 */
export function renderSampleMatrix(runs: readonly RunData[], names: readonly string[], source: SampleSource): Html {
  const steps = [...new Set(runs.flatMap(({ samples }) => samples.shown.map(({ step }) => step)))].sort((a, b) => a - b)
  const tiles = commonTiles(runs)
  const attributes = tiles
    ? html` data-count="${tiles.count}" data-across="${tiles.across}" data-width="${tiles.width}" data-height="${tiles.height}" data-border="${BORDER}"`
    : undefined
  return html`<div class="card scroll matrix"${scrolled('Samples by run and step')}${attributes}><table>
<thead><tr><th>Run</th>${steps.map((step) => html`<th>Step ${formatCount(step)}</th>`)}</tr></thead>
<tbody>${runs.map(({ samples }, run) =>
    samples.shown.length === 0
      ? undefined
      : html`<tr class="strip run-${run}"><th><i class="swatch run-${run}"></i><span class="run-name">${names[run]!}</span></th>${steps.map(
          (step) => {
            const grid = samples.shown.find((own) => own.step === step)
            return html`<td>${grid && renderCell(grid, run, names[run]!, source)}</td>`
          },
        )}</tr>`,
  )}</tbody></table></div>`
}

function renderCell(grid: SampleGrid, run: number, name: string, source: SampleSource): Html {
  const { step, width, height } = grid
  return html`<div class="cell"><img class="${width < 640 ? 'small' : ''}" width="${width}" height="${height}" alt="Samples of ${name} at step ${formatCount(step)}" src="${trusted(source(run, grid))}"></div>`
}

/** The layout that all grids share; undefined where they do not, or where it is not known. */
function commonTiles(runs: readonly RunData[]): Tiles | undefined {
  const layouts = runs.flatMap(({ config, samples }) => {
    const count = flattenJson(config).get('training.samples.count')
    return samples.shown.map((grid) => (typeof count === 'number' ? tilesOf(grid, count) : undefined))
  })
  const first = layouts[0]
  return layouts.every((own) => own && first && JSON.stringify(own) === JSON.stringify(first)) ? first : undefined
}

function tilesOf({ width, height }: SampleGrid, count: number): Tiles | undefined {
  const across = Math.min(count, Math.round(Math.sqrt(count)))
  const down = Math.ceil(count / across)
  const tile = { width: (width - BORDER) / across - BORDER, height: (height - BORDER) / down - BORDER }
  const isWhole = Number.isInteger(tile.width) && Number.isInteger(tile.height) && tile.width > 0 && tile.height > 0
  return isWhole ? { count, across, ...tile } : undefined
}
