import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { beforeAll, expect, test } from 'vitest'
import type { Command } from '../../src/cli/command.ts'
import { COMMANDS } from '../../src/cli/commands.ts'
import { GLOBAL_OPTIONS } from '../../src/cli/global-options.ts'
import { flagOf } from '../../src/cli/option.ts'
import { withFlags } from '../../src/cli/with-flags.ts'
import { ROOT, sourceFiles } from './source-files.ts'

/** Files whose texts are command lines, or have a syntax of their own. */
const OF_COMMANDS = ['src/planning/recipe-commands.ts', 'src/report/stylesheet.ts']

/** What sentences name in backticks and no command has: arguments of functions of the library. */
const OF_FUNCTIONS = ['classToken', 'inertGlobals', 'onProgress', 'sampleDiffusion', 'sampleFlow', 'text']

interface Text {
  readonly file: string
  readonly text: string
}

/** The texts of a file, a template's with … in each place. */
function textsOf(file: string): Text[] {
  const source = ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest)
  const texts: Text[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) texts.push({ file, text: node.text })
    if (ts.isTemplateExpression(node)) {
      texts.push({ file, text: [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join('…') })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return texts
}

let commands: readonly Command[]
let texts: readonly Text[]

beforeAll(async () => {
  commands = await Promise.all(COMMANDS.map(({ load }) => load()))
  texts = sourceFiles('src', ['.ts'])
    .filter((file) => !file.startsWith('src/cli/') && !OF_COMMANDS.includes(file))
    .flatMap(textsOf)
  expect(texts.length).toBeGreaterThan(5000)
})

// Whoever calls the library has no command line. Where a sentence names a command it may name its flag too.
test('the library names settings, not flags', () => {
  const flags = new Set(
    [...commands.flatMap(({ options }) => Object.keys(options)), ...Object.keys(GLOBAL_OPTIONS)].map(flagOf),
  )
  const found = texts.filter(({ text }) => {
    const said = text.replaceAll(/repa [a-z-]+( [a-z-]+|\|[a-z]+)*( --[a-z-]+)*/g, '')
    return [...said.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].some(([flag]) => flags.has(flag))
  })
  expect(found).toEqual([])
})

test('what a sentence of the library names in backticks is an option of a command', () => {
  const named = new Map<string, string>()
  for (const { file, text } of texts) {
    for (const [, setting] of text.matchAll(/`([a-z][A-Za-z]*)(?:: [^`]+)?`/g)) named.set(setting!, file)
  }
  expect(named.size).toBeGreaterThan(40)
  const isOption = (setting: string) =>
    commands.some((command) => withFlags(`\`${setting}\``, command).startsWith('--'))
  const lost = [...named].filter(([setting]) => !OF_FUNCTIONS.includes(setting) && !isOption(setting))
  expect(lost).toEqual([])
})

test('a command that is named for an option has it', () => {
  const options = new Set(commands.flatMap((command) => Object.keys(command.options)))
  const elsewhere = [...options].flatMap((option) => {
    const [, name, flag] = /^repa (\S+) (--\S+)$/.exec(withFlags(`\`${option}\``, { options: {} })) ?? []
    return name === undefined ? [] : [{ name, flag: flag! }]
  })
  expect(elsewhere.length).toBeGreaterThan(15)
  const wrong = elsewhere.filter(
    ({ name, flag }) =>
      !commands.some((command) => command.name === name && Object.keys(command.options).map(flagOf).includes(flag)),
  )
  expect(wrong).toEqual([])
})
