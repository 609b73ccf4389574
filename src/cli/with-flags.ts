import type { Command } from './command.ts'
import { GLOBAL_OPTIONS } from './global-options.ts'
import { flagOf } from './option.ts'

/** Settings of the library, of whichever call, whose option is called otherwise. */
const OPTION_NAMES: Readonly<Record<string, string>> = {
  encoders: 'encoder',
  learningRate: 'lr',
  learningRateWarmup: 'lrWarmup',
  learningRateDecay: 'lrDecay',
  learningRateDecayFrom: 'lrDecayFrom',
  learningRateDecayUntil: 'lrDecayUntil',
  learningRateFinal: 'lrFinal',
  inertGlobals: 'inert',
  tile: 'autoencoderTile',
}

/** The command that has an option which others speak of: a conversion of what the run will take that it makes. */
const COMMANDS_WITH: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
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
    ].map((option) => [option, 'train']),
  ),
  alignDepth: 'convert',
  autoencoderTile: 'sample',
  captions: 'prepare',
  convention: 'sample',
  flip: 'prepare',
  heads: 'sample',
  inert: 'convert',
  key: 'convert',
  kind: 'convert',
}

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
    const option = OPTION_NAMES[setting] ?? setting
    const isOwn = option in options || option in GLOBAL_OPTIONS
    const other = COMMANDS_WITH[option]
    if (!isOwn && other === undefined) return whole
    const flag = isOwn ? flagOf(option) : `repa ${other} ${flagOf(option)}`
    return value === undefined ? flag : `${flag} ${wordOf(value)}`
  })
}
