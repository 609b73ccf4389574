import { modelSetting, trainingSchema } from '../training/configuration.ts'
import { type Html, html } from './html.ts'
import { flattenJson, isObject, type Json, type JsonObject } from './json.ts'
import type { RunData } from './run.ts'
import { scrolled } from './scrolled.ts'

interface Setting {
  readonly path: string
  /** One per run; undefined where the run's configuration does not name the setting. */
  readonly values: readonly (Json | undefined)[]
  readonly differs: boolean
}

/** The runs' settings: all of one run by section; of several first what differs, then the rest. */
export function renderConfiguration(runs: readonly RunData[], names: readonly string[]): Html {
  const settings = settingsOf(runs)
  if (settings.length === 0) return html``
  if (runs.length === 1) {
    return html`<section aria-labelledby="configuration"><h2 id="configuration">Configuration</h2>
<div class="sections">${sectionsOf(settings).map(
      ([title, own]) => html`<div class="card section"><h3>${title}</h3>${renderSection(own, title)}</div>`,
    )}</div></section>`
  }
  const differing = settings.filter(({ differs }) => differs)
  const equal = settings.filter(({ differs }) => !differs)
  return html`<section aria-labelledby="configuration"><h2 id="configuration">Configuration</h2>
${
  differing.length > 0
    ? html`<h3>What differs</h3><div class="card scroll"${scrolled('What differs')}>${renderComparison(differing, names)}</div>`
    : html`<p class="remark">The runs' configurations are equal.</p>`
}
${
  equal.length > 0
    ? html`<details><summary>What is the same (${equal.length})</summary><div class="sections">${sectionsOf(equal).map(
        ([title, own]) => html`<div class="card section"><h3>${title}</h3>${renderSection(own, title)}</div>`,
      )}</div></details>`
    : undefined
}</section>`
}

function settingsOf(runs: readonly RunData[]): Setting[] {
  const flat = runs.map(({ config }) => flattenJson(withModelSetting(config)))
  const paths = [...new Set(flat.flatMap((leaves) => [...leaves.keys()]))]
  return paths.map((path) => {
    const values = flat.map((leaves) => leaves.get(path))
    return { path, values, differs: new Set(values.map((value) => JSON.stringify(value))).size > 1 }
  })
}

/** With its model's one spelling, where it has a model: an older run may have had another. */
function withModelSetting(config: JsonObject): JsonObject {
  const { training } = config
  if (!isObject(training)) return config
  const model = trainingSchema.shape.model.unwrap().safeParse(training.model)
  return model.success ? { ...config, training: { ...training, model: modelSetting(model.data) } } : config
}

/** Settings by the first part of their path; those at the top level come first. */
function sectionsOf(settings: readonly Setting[]): [title: string, settings: Setting[]][] {
  const sections = new Map<string, Setting[]>([['general', []]])
  for (const setting of settings) {
    const dot = setting.path.indexOf('.')
    const title = dot < 0 ? 'general' : setting.path.slice(0, dot)
    const section = sections.get(title)
    if (section === undefined) sections.set(title, [setting])
    else section.push(setting)
  }
  return [...sections].filter(([, own]) => own.length > 0)
}

function renderSection(settings: readonly Setting[], title: string): Html {
  return html`<dl>${settings.map(({ path, values }) => {
    const name = path.startsWith(`${title}.`) ? path.slice(title.length + 1) : path
    return html`<div><dt>${name}</dt><dd>${shown(values[0])}</dd></div>`
  })}</dl>`
}

function renderComparison(settings: readonly Setting[], names: readonly string[]): Html {
  return html`<table class="settings"><thead><tr><th>Setting</th>${names.map(
    (name, i) => html`<th><i class="swatch run-${i}"></i>${name}</th>`,
  )}</tr></thead><tbody>${settings.map(
    ({ path, values }) => html`<tr><th>${path}</th>${values.map((value) => html`<td>${shown(value)}</td>`)}</tr>`,
  )}</tbody></table>`
}

function shown(value: Json | undefined): Html {
  if (value === undefined) return html`<span class="absent">not set</span>`
  if (value === null || (Array.isArray(value) && value.length === 0)) return html`<span class="absent">none</span>`
  if (typeof value === 'string') return value === '' ? html`<span class="absent">empty</span>` : html`${value}`
  if (Array.isArray(value)) return html`${value.map(itemText).join(', ')}`
  return html`${JSON.stringify(value)}`
}

/** Of a list; an encoder, a name and maybe a file, reads as the command line spells it: `dinov2-vit-b=FILE`. */
function itemText(item: Json): string {
  if (typeof item === 'string') return item
  if (item === null || typeof item !== 'object' || Array.isArray(item)) return JSON.stringify(item)
  return Object.values(item)
    .map((part) => (typeof part === 'string' ? part : JSON.stringify(part)))
    .join('=')
}
