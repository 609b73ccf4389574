import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** What the page's script is made of, each module behind those that it imports. Those of `page/` run in a browser alone. */
const MODULES = [
  'quantity',
  'axis',
  'curve',
  'plot',
  'packed-numbers',
  'spoken-chart',
  'page/elements',
  'page/growing-points',
  'page/chart-group',
  'page/page-chart',
  'page/timeline',
  'page/sample-matrix',
  'page/page',
  'page/live',
  'page/main',
]

let script: string | undefined

/**
 * The page's script: one classic script, because a page that may load nothing cannot import. The modules are those of this
 * folder as they were compiled, without their imports and exports; so their top-level names must differ.
 */
export function pageScript(): string {
  script ??= `'use strict';(() => {\n${MODULES.map((name) => withoutLinks(compiled(name), name)).join('\n')}\n})()`
  return script
}

function compiled(name: string): string {
  if (import.meta.url.endsWith('.js')) return readFileSync(new URL(`${name}.js`, import.meta.url), 'utf8')
  // In the source tree, which has the compiler.
  const ts: typeof import('typescript') = createRequire(import.meta.url)('typescript')
  const source = readFileSync(new URL(`${name}.ts`, import.meta.url), 'utf8')
  return ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
  }).outputText
}

function withoutLinks(code: string, name: string): string {
  const bare = code
    .replace(/^import\s[^'"]*['"](?<from>[^'"]+)['"];?$/gm, '')
    .replace(/^export\s*\{\s*\};?$/gm, '')
    .replace(/^export (?=(?:async )?(?:function|class|const|let)\b)/gm, '')
    .replace(/^\/\/# sourceMappingURL=.*$/gm, '')
  if (/^\s*(?:import|export)\b/m.test(bare)) {
    throw new Error(`pageScript: '${name}' has an import or an export of a form that cannot be joined.`)
  }
  return bare
}
