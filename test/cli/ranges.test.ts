/** What a flag lets through the configuration takes: else a command line that is wrong would fail as a run does, in words that name no flag. */
import { expect, test } from 'vitest'
import type { ZodType } from 'zod'
import type { Command } from '../../src/cli/command.ts'
import { benchStepCommand } from '../../src/cli/commands/bench-step.ts'
import { pretrainEncoderCommand } from '../../src/cli/commands/pretrain-encoder.ts'
import { trainCommand } from '../../src/cli/commands/train.ts'
import { CONFIGURATION_NAMES } from '../../src/cli/configuration-names.ts'
import { flagOf, type IntegerOption, type NumberOption } from '../../src/cli/option.ts'
import { parseCommandLine } from '../../src/cli/parse.ts'
import { pretrainingSchema } from '../../src/pretraining/configuration.ts'
import { trainingSchema } from '../../src/training/configuration.ts'

interface Case {
  readonly command: Command
  readonly name: string
  readonly option: IntegerOption | NumberOption
  readonly setting: ZodType
}

function numbersOf(command: Command, settings: Readonly<Record<string, ZodType>>): Case[] {
  return Object.entries(command.options).flatMap(([name, option]) => {
    const setting = settings[CONFIGURATION_NAMES[name] ?? name]
    const isNumber = option.type === 'integer' || option.type === 'number'
    return isNumber && setting ? [{ command, name, option, setting }] : []
  })
}

const CASES = [
  ...numbersOf(trainCommand, trainingSchema.shape),
  ...numbersOf(pretrainEncoderCommand, pretrainingSchema.shape),
  ...numbersOf(benchStepCommand, { routeTokens: trainingSchema.shape.routeTokens }),
]

/** What else of a command its flags need. */
const REQUIRED = ['--data', 'd', '--out', 'r']

function parsed({ command, name }: Case, value: number): unknown {
  const required = command.options.data ? REQUIRED : []
  return parseCommandLine(command, [...required, `${flagOf(name)}=${value}`]).args[name]
}

test('all flags that are numbers of a configuration are here', () => {
  expect(CASES.length).toBeGreaterThan(35)
  for (const { option, name } of CASES) expect(option.min ?? option.above, name).toBeDefined()
})

const BOUNDS = CASES.flatMap((each) => {
  const { min, max, above, below } = each.option
  const title = `repa ${each.command.name} ${flagOf(each.name)}`
  return [
    { ...each, title, bound: min, isTaken: true, inside: min },
    { ...each, title, bound: max, isTaken: true, inside: max },
    { ...each, title, bound: above, isTaken: false, inside: above !== undefined ? above + 1e-9 : undefined },
    { ...each, title, bound: below, isTaken: false, inside: below !== undefined ? below - 1e-9 : undefined },
  ].flatMap(({ bound, inside, ...rest }) =>
    bound === undefined || inside === undefined ? [] : [{ ...rest, bound, inside }],
  )
})

test.each(BOUNDS)('$title: $bound, itself taken: $isTaken', ({ bound, isTaken, inside, ...each }) => {
  if (!isTaken) expect(() => parsed(each, bound)).toThrow(`${flagOf(each.name)}: expected a number `)
  expect(each.setting.safeParse(bound).success).toBe(isTaken)
  expect(parsed(each, inside)).toBe(inside)
  expect(each.setting.safeParse(inside).success).toBe(true)
})

test.each([
  ['--max-grad-norm', '0', 'a number above 0'],
  ['--lr', '-1', 'a number above 0'],
  ['--ema-decay', '1', 'a number of at least 0 and below 1'],
  ['--batch', '0', 'an integer of at least 1'],
  ['--class-dropout', '2', 'a number from 0 to 1'],
])('%s %s is refused by its name', (flag, value, expected) => {
  expect(() => parseCommandLine(trainCommand, [...REQUIRED, `${flag}=${value}`])).toThrow(
    `${flag}: expected ${expected}, got '${value}'.`,
  )
})
