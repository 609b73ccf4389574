import type { Command } from './command.ts'
import { GLOBAL_OPTIONS } from './global-options.ts'
import { flagOf, type Option, type OptionTable, placeholderOf } from './option.ts'
import type { Style } from './style.ts'

/** What the list of commands shows of one. */
export interface CommandSummary {
  readonly name: string
  readonly summary: string
}

/** `repa report RUN [RUN…] [options]`. */
export function usageOf(command: Command): string {
  const words = ['repa', command.name]
  for (const { placeholder, optional, repeated } of Object.values(command.positionals)) {
    if (repeated) words.push(optional ? `[${placeholder}…]` : `${placeholder} [${placeholder}…]`)
    else words.push(optional ? `[${placeholder}]` : placeholder)
  }
  for (const [name, option] of Object.entries(command.options)) {
    if (option.required) words.push(`${flagOf(name)} ${placeholderOf(option)}`)
  }
  return [...words, '[options]'].join(' ')
}

/** The help of one command. `width`: columns of the terminal. */
export function commandHelp(command: Command, style: Style, width: number): string {
  const name = `repa ${command.name}`
  const [heading, ...more] = wrap(`${name}: ${command.summary}`, width)
  const lines = [style.bold(name) + heading!.slice(name.length), ...more, '', `  ${usageOf(command)}`]
  if (command.description !== undefined) lines.push('', ...wrap(command.description, width))
  const positionals = Object.values(command.positionals)
  if (positionals.length > 0) {
    const rows = positionals.map(({ placeholder, description }): Row => [placeholder, description])
    lines.push('', style.bold('Arguments'), ...twoColumns(rows, width))
  }
  if (Object.keys(command.options).length > 0) {
    lines.push('', style.bold('Options'), ...twoColumns(optionRows(command.options), width))
    const switches = switchesOfConfiguration(command.options)
    if (switches.length > 0) {
      const negated = switches.map((name) => `--no-${flagOf(name).slice(2)}`).join(', ')
      lines.push('', ...wrap(`Against what --config says: ${negated} turn these off.`, width))
    }
  }
  lines.push('', style.bold('Options of every command'), ...twoColumns(optionRows(GLOBAL_OPTIONS), width))
  lines.push('', style.bold(command.examples.length > 1 ? 'Examples' : 'Example'))
  for (const { command: example, description } of command.examples) {
    lines.push(`  ${style.dim(`# ${description}`)}`, `  ${example}`)
  }
  return `${lines.join('\n')}\n`
}

/** The list of commands: all of them, or those of a two-word family such as `evaluate`. */
export function overviewHelp(
  commands: readonly CommandSummary[],
  style: Style,
  width: number,
  family: string | undefined = undefined,
): string {
  const name = family === undefined ? 'repa' : `repa ${family}`
  const rows = commands.map((command): Row => [command.name, command.summary])
  const lines =
    family === undefined
      ? [
          `${style.bold(name)}: train, sample and evaluate diffusion transformers with representation alignment`,
          '',
          '  repa COMMAND [options]',
        ]
      : [`${style.bold(name)} COMMAND [options]`]
  lines.push('', style.bold('Commands'), ...twoColumns(rows, width), '')
  if (family === undefined) {
    const streams = 'What people read goes to stderr; stdout has help, the version, and what --json prints.'
    lines.push(...wrap(`An option without a value is turned off by --no-OPTION. ${streams}`, width))
  }
  lines.push(...wrap(`'repa COMMAND --help' tells about one command; 'repa --version' prints the version.`, width))
  return `${lines.join('\n')}\n`
}

/** Options without a value that are on where a configuration file says so. */
function switchesOfConfiguration(options: OptionTable): string[] {
  if (!('config' in options)) return []
  return Object.entries(options).flatMap(([name, option]) =>
    option.type === 'boolean' && option.default === undefined ? [name] : [],
  )
}

type Row = readonly [term: string, description: string]

function optionRows(options: OptionTable): Row[] {
  return Object.entries(options).map(([name, option]) => [
    `${flagOf(name)} ${placeholderOf(option)}`.trimEnd(),
    option.description + remarksOn(option),
  ])
}

function remarksOn(option: Option): string {
  const remarks: string[] = []
  if (option.required) remarks.push('required')
  if (option.repeated) remarks.push('may be repeated')
  if (option.default !== undefined && option.default !== false) {
    const shown = Array.isArray(option.default) ? option.default.join(',') : String(option.default)
    if (shown !== '') remarks.push(`default: ${shown}`)
  }
  return remarks.length === 0 ? '' : ` (${remarks.join('; ')})`
}

/** Narrower columns break what stands in them word by word. */
const NARROWEST_COLUMN = 24

/**
 * Terms left, descriptions wrapped beside them; a term too long for its column gets a line of its own, and each does where the terminal has
 * no room beside.
 */
function twoColumns(rows: readonly Row[], width: number): string[] {
  const longest = Math.max(0, ...rows.map(([term]) => term.length))
  const beside = Math.min(longest, 28) + 4
  const column = width - beside < NARROWEST_COLUMN ? 6 : beside
  return rows.flatMap(([term, description]) => {
    const lines = wrap(description, width - column)
    const indented = lines.map((line) => ' '.repeat(column) + line)
    if (term.length + 4 > column) return [`  ${term}`, ...indented]
    return [`  ${term}`.padEnd(column) + (lines[0] ?? ''), ...indented.slice(1)]
  })
}

function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = []
    let line = ''
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) {
        lines.push(line)
        line = word
      } else {
        line = line === '' ? word : `${line} ${word}`
      }
    }
    return [...lines, line]
  })
}
