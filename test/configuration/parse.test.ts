import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { ConfigurationError, parseConfiguration } from '../../src/configuration/parse.ts'
import { trainingSchema } from '../../src/training/configuration.ts'

const schema = z.strictObject({
  steps: z.int().positive(),
  name: z.string().optional(),
  path: z.enum(['linear', 'cosine']).default('linear'),
  betas: z.tuple([z.number(), z.number().lt(1)]).default([0.9, 0.999]),
  samples: z.strictObject({ count: z.int(), steps: z.int().default(5) }).optional(),
  model: z
    .union([z.enum(['small', 'large']), z.strictObject({ depth: z.int(), heads: z.int().optional() })])
    .default('small'),
})

test('gives the output with its defaults', () => {
  expect(parseConfiguration(schema, { steps: 3, model: { depth: 2 } }, 'a.json')).toEqual({
    steps: 3,
    path: 'linear',
    betas: [0.9, 0.999],
    model: { depth: 2 },
  })
})

describe('the message', () => {
  const cases: readonly (readonly [input: unknown, sentence: string])[] = [
    [{}, 'a.json: steps is missing: expected number.'],
    [{ steps: 'ten' }, 'a.json: steps is "ten": expected number.'],
    [{ steps: 0 }, 'a.json: steps is 0: expected number to be >0.'],
    [{ steps: Number.NaN }, 'a.json: steps is NaN: expected number.'],
    [{ steps: Number.POSITIVE_INFINITY }, 'a.json: steps is Infinity: expected number.'],
    [{ steps: () => 1 }, 'a.json: steps is a function: expected number.'],
    [{ steps: new Float32Array(1e6) }, 'a.json: steps is a value of class Float32Array: expected number.'],
    [{ steps: 2.5 }, 'a.json: steps is 2.5: expected int.'],
    [{ steps: 1, stpes: 2 }, 'a.json: there is no setting "stpes"; did you mean "steps"?'],
    [{ steps: 1, zzz: 2 }, 'a.json: there is no setting "zzz".'],
    [
      { steps: 1, samples: { cuont: 2 } },
      'a.json: samples.count is missing: expected number; there is no setting "cuont" in samples; did you mean "count"?',
    ],
    [{ steps: 1, betas: [0.9, 2] }, 'a.json: betas.1 is 2: expected number to be <1.'],
    [{ steps: 1, path: 'liner' }, 'a.json: path is "liner": expected one of "linear"|"cosine"; did you mean "linear"?'],
    [{ steps: 1, path: 7 }, 'a.json: path is 7: expected one of "linear"|"cosine".'],
    [{ steps: 0, name: 1 }, 'a.json: steps is 0: expected number to be >0; name is 1: expected string.'],
    // Of a union, the form that was meant: the names for a text, the sizes for an object.
    [{ steps: 1, model: 'smal' }, 'a.json: model is "smal": expected one of "small"|"large"; did you mean "small"?'],
    [{ steps: 1, model: { depth: 'x' } }, 'a.json: model.depth is "x": expected number.'],
    [
      { steps: 1, model: { depth: 1, haeds: 2 } },
      'a.json: there is no setting "haeds" in model; did you mean "heads"?',
    ],
    [{ steps: 1, model: null }, 'a.json: model is null, which is none of the forms it may have.'],
    [[], 'a.json: the value is []: expected object.'],
    ['text', 'a.json: the value is "text": expected object.'],
    [{ steps: 'x'.repeat(100) }, `a.json: steps is "${'x'.repeat(56)}...: expected number.`],
  ]

  test.each(cases)('%j', (input, sentence) => {
    expect(() => parseConfiguration(schema, input, 'a.json')).toThrow(new ConfigurationError(sentence))
  })

  const deep: unknown = JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))
  const keys = Array.from({ length: 20_000 }, (_, i) => [`key${i}`, 1])
  const large: readonly (readonly [what: string, input: unknown, sentence: string])[] = [
    ['a value of many levels', { steps: deep }, `a.json: steps is ${'['.repeat(57)}...: expected number.`],
    [
      'a level of many values',
      { steps: Array(1e6).fill(10) },
      `a.json: steps is [${'10,'.repeat(18)}10...: expected number.`,
    ],
    [
      'a level of many keys',
      { steps: Object.fromEntries(keys) },
      'a.json: steps is {"key0":1,"key1":1,"key2":1,"key3":1,"key4":1,"key5":1,"k...: expected number.',
    ],
    [
      'many keys that nobody knows',
      { steps: 1, ...Object.fromEntries(keys) },
      `a.json: ${keys
        .slice(0, 8)
        .map(([key]) => `there is no setting "${key}"`)
        .join('; ')}; and 19992 more.`,
    ],
    ['a long key', { steps: 1, ['k'.repeat(1e6)]: 1 }, `a.json: there is no setting "${'k'.repeat(56)}....`],
  ]

  test.each(large)('of %s shows its beginning', (_, input, sentence) => {
    expect(() => parseConfiguration(schema, input, 'a.json')).toThrow(new ConfigurationError(sentence))
  })

  test('of a long key on the way to a value shows its beginning', () => {
    const named = z.record(z.string(), z.int())
    expect(() => parseConfiguration(named, { ['k'.repeat(1e6)]: 'x' }, 'a.json')).toThrow(
      new ConfigurationError(`a.json: ${'k'.repeat(57)}... is "x": expected number.`),
    )
  })

  // A schema that goes down into what it checks has a level of the stack for each of the value's.
  test('of a value that has too many levels to be checked says so', () => {
    expect(() => parseConfiguration(z.json(), deep, 'a.json')).toThrow(
      new ConfigurationError('a.json: its values lie in each other too deep to be checked.'),
    )
  })
})

test('shows a number that JSON has not', () => {
  expect(() => parseConfiguration(schema, { steps: 2n ** 70n }, 'a.json')).toThrow(
    'a.json: steps is 1180591620717411303424: expected number.',
  )
})

describe('of a training configuration', () => {
  const cases: readonly (readonly [input: unknown, sentence: RegExp])[] = [
    [{ model: 'SiT-XL/3' }, /^run: model is "SiT-XL\/3": .*"SiT-S\/2"\|.*; did you mean "SiT-XL\/2"\?$/],
    [{ model: 'sit-s/2' }, /; did you mean "SiT-S\/2"\?$/],
    [{ model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2 } }, /^run: model\.patch is missing: [^;]*\.$/],
    [
      { model: { kind: 'UNet', depth: 2, hidden: 32, heads: 2, patch: 2 } },
      /^run: model\.kind is "UNet": expected "SiT" or "DiT"\.$/,
    ],
    [
      { encoders: [{ name: 'dinov2-vit-bb' }] },
      /^run: encoders\.0\.name is "dinov2-vit-bb": .*; did you mean "dinov2-vit-b"\?$/,
    ],
    [{ learning_rate: 1 }, /^run: there is no setting "learning_rate"; did you mean "learningRate"\?$/],
    [{ batch: 0, emaDecay: 1 }, /^run: batch is 0: .*; emaDecay is 1: .*\.$/],
  ]

  test.each(cases)('%j', (input, sentence) => {
    expect(() => parseConfiguration(trainingSchema, input, 'run')).toThrow(sentence)
  })
})

test('of a union that is told apart by a field, the settings of the object that is meant', () => {
  const sizes = { depth: 2, hidden: 64, heads: 2, patch: 4 }
  const parse = (model: object) => () => parseConfiguration(trainingSchema, { model: { ...sizes, ...model } }, 'a.json')
  expect(parse({ kind: 'DiT', text: { width: 64 } })).toThrow(
    new ConfigurationError('a.json: there is no setting "text" in model.'),
  )
  expect(parse({ kind: 'SiT', txet: { width: 64 } })).toThrow(
    'a.json: there is no setting "txet" in model; did you mean "text"?',
  )
  expect(parse({ kind: 'DiT', convension: 'sit' })).toThrow(
    new ConfigurationError('a.json: there is no setting "convension" in model.'),
  )
  expect(parse({ kind: 'DiT', qkNrom: true })).toThrow(
    'a.json: there is no setting "qkNrom" in model; did you mean "qkNorm"?',
  )
})
