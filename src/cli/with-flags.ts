import type { Command } from './command.ts'
import { CONFIGURATION_NAMES } from './configuration-names.ts'
import { GLOBAL_OPTIONS } from './global-options.ts'
import { flagOf } from './option.ts'

/** Options by their settings in the library, of whichever call, where those are called otherwise. */
const OPTION_NAMES: ReadonlyMap<string, string> = new Map([
  ...Object.entries(CONFIGURATION_NAMES).map(([option, setting]): [string, string] => [setting, option]),
  ['encoders', 'encoder'],
  ['tile', 'autoencoderTile'],
])

/** Options that sentences of other commands speak of, by the command that has them: a conversion, say, of the run that is to go on with it. */
const OPTIONS_ELSEWHERE = {
  train: [
    'captionEncoder',
    'classTokenWeight',
    'encoder',
    'init',
    'maxGradNorm',
    'precision',
    'resume',
    'routeFrom',
    'routeTo',
    'selfAlignDepth',
    'selfAlignTeacherDepth',
    'selfAlignWeight',
  ],
  prepare: ['captions', 'flip'],
  sample: ['autoencoderTile', 'convention', 'heads'],
  convert: ['alignDepth', 'inert', 'key', 'kind'],
} as const

const COMMANDS_WITH: ReadonlyMap<string, string> = new Map(
  Object.entries(OPTIONS_ELSEWHERE).flatMap(([command, options]) => options.map((option) => [option, command])),
)

/** A setting as the library's sentences name it, by itself or with a value: `alignUntil`, `recompute: 'elementwise'`. */
const SETTING = /`([a-z][A-Za-z]*)(?:: ([^`]+))?`/g

/** A value as a command line has it. A structure's texts stand side by side: `[{ name: 'hog', file: 'FILE' }]` is hog=FILE. */
function wordOf(value: string): string {
  const texts = [...value.matchAll(/'([^']*)'/g)].map(([, text]) => text)
  return texts.length > 0 ? texts.join('=') : value
}

/**
 * A sentence of the library's as whoever has typed a command reads it: settings that it names in backticks are the command's flags, or those
 * of the command that has them. What no command has stays as it is.
 */
export function withFlags(sentence: string, { options }: Pick<Command, 'options'>): string {
  return sentence.replace(SETTING, (whole, setting: string, value?: string) => {
    const option = OPTION_NAMES.get(setting) ?? setting
    const isOwn = Object.hasOwn(options, option) || Object.hasOwn(GLOBAL_OPTIONS, option)
    const other = COMMANDS_WITH.get(option)
    if (!isOwn && other === undefined) return whole
    const flag = isOwn ? flagOf(option) : `repa ${other} ${flagOf(option)}`
    return value === undefined ? flag : `${flag} ${wordOf(value)}`
  })
}
