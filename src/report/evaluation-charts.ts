import { type Html, html } from './html.ts'
import { renderLayers } from './layer-charts.ts'
import { renderQuality } from './quality-charts.ts'
import type { RunData } from './run.ts'

/**
 * What `repa evaluate` found, of all runs side by side: sample quality by step, and probing and CKNNA by layer, by noise
 * level and by step, as REPA's figures 2 and 3 show them.
 */
export function renderEvaluations(runs: readonly Pick<RunData, 'evaluations'>[], names: readonly string[]): Html {
  const all = runs.map(({ evaluations }) => evaluations)
  return html`${renderQuality(all, names)}${renderLayers(all, names)}`
}
