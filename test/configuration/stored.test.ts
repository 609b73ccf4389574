/** What another version may have stored is told from what no version has. */
import { expect, test } from 'vitest'
import * as z from 'zod'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { AnotherVersionError, parseStored } from '../../src/configuration/stored.ts'

const schema = z.strictObject({
  format: z.literal(1),
  step: z.int().nonnegative(),
  path: z.enum(['linear', 'cosine']).default('linear'),
  model: z.discriminatedUnion(
    'kind',
    [
      z.strictObject({ kind: z.literal('SiT'), depth: z.int() }),
      z.strictObject({ kind: z.literal('DiT'), depth: z.int() }),
    ],
    { error: 'expected "SiT" or "DiT"' },
  ),
})
const STORED = { format: 1, step: 3, model: { kind: 'SiT', depth: 2 } }

test('what this version has stored is its value', () => {
  expect(parseStored(schema, STORED, 'state.json', { format: 1 })).toEqual({ ...STORED, path: 'linear' })
})

const WROTE =
  'Another version of repa-native wrote that, or somebody by hand; go on with that version, or update this one.'

test.each<[what: string, change: object, sentence: string]>([
  [
    'another format, whatever else there is',
    { format: 2, step: -1 },
    'state.json has format 2, and this version of repa-native reads format 1: another version wrote it; update repa-native.',
  ],
  ['a key', { newThing: true }, `state.json: there is no setting "newThing". ${WROTE}`],
  [
    'a key further in, and a value that cannot be',
    { step: -1, model: { kind: 'SiT', depth: 2, newThing: true } },
    `state.json: step is -1: expected number to be >=0; there is no setting "newThing" in model. ${WROTE}`,
  ],
  ['a word', { path: 'spline' }, `state.json: path is "spline": expected one of "linear"|"cosine". ${WROTE}`],
  [
    'a word that tells forms apart',
    { model: { kind: 'UNet', depth: 2 } },
    `state.json: model.kind is "UNet": expected "SiT" or "DiT". ${WROTE}`,
  ],
])('%s: another version', (_, change, sentence) => {
  const parse = () => parseStored(schema, { ...STORED, ...change }, 'state.json', { format: 1 })
  expect(parse).toThrow(AnotherVersionError)
  expect(parse).toThrow(sentence)
})

test.each<[what: string, json: unknown, sentence: string]>([
  ['nothing', {}, 'state.json: format is missing: expected 1; step is missing: '],
  ['null', null, 'state.json: the value is null'],
  ['a value that cannot be', { ...STORED, step: -1 }, 'state.json: step is -1: expected number to be >=0.'],
  ['a format that is no number', { ...STORED, format: '1' }, 'state.json: format is "1": expected 1.'],
])('%s: no version', (_, json, sentence) => {
  const parse = () => parseStored(schema, json, 'state.json', { format: 1 })
  expect(parse).toThrow(ConfigurationError)
  expect(parse).not.toThrow(AnotherVersionError)
  expect(parse).toThrow(sentence)
})
