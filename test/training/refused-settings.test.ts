/** Settings that do nothing, or nothing sensible: refused where they are given, as those of a trainer are. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { TrainingOptions } from '../../src/training/configuration.ts'
import { AdamW, type AdamWOptions, type StepSettings } from '../../src/training/optimizer.ts'
import { OWNED_SETTINGS } from '../../src/training/owned-settings.ts'
import { train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BATCH, modelOf, tinyTrainer } from './tiny-trainer.ts'

const RANGES = 'begins and ends of ranges of the arena were expected, in pairs and ascending.'

test.each<readonly [options: Record<string, unknown>, message: string]>([
  [{ lr: 1 }, 'AdamW\'s options: there is no setting "lr".'],
  [{ learningrate: 1 }, 'AdamW\'s options: there is no setting "learningrate"; did you mean "learningRate"?'],
  [{ undecayed: [3] }, `AdamW: undecayed is [3]; ${RANGES}`],
  [{ undecayed: [30, 10] }, `AdamW: undecayed is [30,10]; ${RANGES}`],
  [{ undecayed: [0, 20, 10, 30] }, `AdamW: undecayed is [0,20,10,30]; ${RANGES}`],
  [{ undecayed: [0, 1e9] }, 'AdamW: undecayed ends at 1000000000, and the arena at '],
  [{ undecayed: [-1, 10] }, `AdamW: undecayed is [-1,10]; ${RANGES}`],
  [{ undecayed: [0, 1.5] }, `AdamW: undecayed is [0,1.5]; ${RANGES}`],
  [{ undecayed: 'bias' }, `AdamW: undecayed is "bias"; ${RANGES}`],
  [{ late: [0, 1e9] }, 'AdamW: late ends at 1000000000, and the arena at '],
])('an optimizer has no %j', (options, message) => {
  using model = modelOf()
  expect(() => new AdamW(model.arena, options as Partial<AdamWOptions>)).toThrow(message)
})

test('an optimizer takes ranges that touch, and the whole arena', () => {
  using model = modelOf()
  const { size } = model.arena
  using optimizer = new AdamW(model.arena, { undecayed: [0, 10, 10, size], late: [] })
  expect(optimizer.options).toMatchObject({ undecayed: [0, 10, 10, size], late: [] })
})

test.each<readonly [gradientScale: unknown, settings: Record<string, unknown> | undefined, message: string]>([
  [Number.NaN, undefined, 'AdamW: gradientScale is NaN; a number above 0 was expected.'],
  [0, undefined, 'AdamW: gradientScale is 0; a number above 0 was expected.'],
  [Number.POSITIVE_INFINITY, undefined, 'AdamW: gradientScale is Infinity; a number above 0 was expected.'],
  ['1', undefined, 'AdamW: gradientScale is 1; a number above 0 was expected.'],
  [1, { lr: 1 }, 'AdamW\'s settings of a step: there is no setting "lr".'],
])('an optimizer makes no step with %j and %j', async (gradientScale, settings, message) => {
  using model = modelOf()
  using optimizer = new AdamW(model.arena)
  expect(() => optimizer.step(gradientScale as number, settings as StepSettings)).toThrow(message)
  expect(await optimizer.state()).toMatchObject({ updates: 0, skipped: 0 })
})

test.each<readonly [options: Record<string, unknown>, message: string]>([
  [
    { steps: 1, sginal: new AbortController().signal },
    'the run\'s options: there is no setting "sginal"; did you mean "signal"?',
  ],
  [{ steps: 1, signal: 'x' }, 'the run\'s options: signal is "x": expected an AbortSignal.'],
])('a trainer has no run with %j', async (options, message) => {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  await expect(trainer.run(options as never).next()).rejects.toThrow(message)
  expect(trainer.step).toBe(0)
})

test('a run that has nothing to do is not one that was stopped', async () => {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  for await (const _ of trainer.run({ steps: 2 }));
  expect((await trainer.run({ steps: 3, signal: AbortSignal.abort() }).next()).done).toBe(true)
  expect(trainer.isStopped).toBe(true)
  expect((await trainer.run({ steps: 2 }).next()).done).toBe(true)
  expect(trainer.isStopped).toBe(false)
})

test.each<readonly [options: Record<string, unknown>, message: string]>([
  [{ onstep: () => {} }, 'the options of train: there is no setting "onstep"; did you mean "onStep"?'],
  [{ signal: 'x' }, 'the options of train: signal is "x": expected an AbortSignal.'],
  [{ onStep: 'log' }, 'the options of train: onStep is "log": expected a function.'],
  [{ resume: 'yes' }, 'the options of train: resume is "yes": expected boolean.'],
  [{ data: undefined }, 'the options of train: data is missing: expected string.'],
  [{ configuration: undefined }, 'the options of train: configuration is missing: expected object.'],
  [{ shared: 'sit-b-2' }, 'the options of train: shared is "sit-b-2": expected object.'],
])('a training has no %j', async (wrong, message) => {
  const out = join(temporaryFolder(), 'run')
  const configuration = { model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 }, batch: 2, steps: 1 }
  const options = { out, data: await tinyDataset(), device: 'cpu', configuration, ...wrong }
  await expect(train(options as never)).rejects.toThrow(message)
  expect(existsSync(out)).toBe(false)
})

const HOG = { encoders: [{ name: 'hog' }] } satisfies TrainingOptions
const NO_ENCODER = "and none is named; name one by `encoders: [{ name: 'NAME', file: 'FILE' }]`"

/** Settings of what a training has not, each alone beside what it is not of. */
const OWNED: readonly (readonly [setting: TrainingOptions, message: string, beside?: TrainingOptions])[] = [
  [{ alignWeight: 0.7 }, `\`alignWeight\` 0.7 is of the alignment with an encoder, ${NO_ENCODER}`],
  [
    { alignWeight: 0 },
    `\`alignWeight\` 0 is of the alignment with an encoder, ${NO_ENCODER}`,
    { selfAlignWeight: 0.2 },
  ],
  [{ alignDepth: 2 }, `\`alignDepth\` 2 is the block that is aligned with an encoder, ${NO_ENCODER}`],
  [
    { alignDepth: 2 },
    `\`alignDepth\` 2 is the block that is aligned with an encoder, ${NO_ENCODER}`,
    { selfAlignWeight: 0.2, selfAlignDepth: 1 },
  ],
  [{ alignLoss: 'nt-xent' }, `\`alignLoss\` nt-xent compares with an encoder, ${NO_ENCODER}`],
  [
    { alignTemperature: 0.2 },
    '`alignTemperature` 0.2 is of NT-Xent, and the loss is the cosine; give `alignLoss` nt-xent.',
  ],
  [
    { alignTemperature: 0.2 },
    '`alignTemperature` 0.2 is of NT-Xent, and the loss is the cosine; give `alignLoss` nt-xent.',
    HOG,
  ],
  [{ projector: 'conv' }, `\`projector\` conv projects to an encoder's features, ${NO_ENCODER}`],
  [{ projectorWidth: 32 }, `\`projectorWidth\` 32 is of what projects to an encoder's features, ${NO_ENCODER}`],
  [
    { projectorWidth: 32 },
    '`projectorWidth` 32 is of the projector mlp, and the projector is a convolution, which has no hidden width; leave one out.',
    { ...HOG, projector: 'conv' },
  ],
  [{ alignSpatialNorm: 0.6 }, `\`alignSpatialNorm\` 0.6 normalises an encoder's features, ${NO_ENCODER}`],
  [{ alignAttentionWeight: 0.5 }, `\`alignAttentionWeight\` 0.5 compares attention with an encoder's, ${NO_ENCODER}`],
  [
    { alignAttentionBlocks: 2 },
    '`alignAttentionBlocks` 2 says what of the attention is compared, and none is; give `alignAttentionWeight`.',
    HOG,
  ],
  [
    { alignAttentionHeads: 3 },
    '`alignAttentionHeads` 3 says what of the attention is compared, and none is; give `alignAttentionWeight`.',
    HOG,
  ],
  [
    { alignUntil: 5 },
    '`alignUntil` 5 ends an alignment, and there is none; name an encoder, or give `selfAlignWeight`.',
  ],
  [
    { dispersiveTemperature: 2 },
    '`dispersiveTemperature` 2 is of the dispersive loss, and there is none; give `dispersiveWeight`.',
    HOG,
  ],
  [
    { dispersiveDepth: 2 },
    '`dispersiveDepth` 2 is of the dispersive loss, and there is none; give `dispersiveWeight`.',
    { dispersiveWeight: 0 },
  ],
  [{ selfAlignDepth: 2 }, '`selfAlignDepth` 2 is of self-alignment, and there is none; give `selfAlignWeight`.', HOG],
  [
    { selfAlignTeacherDepth: 9 },
    '`selfAlignTeacherDepth` 9 is of self-alignment, and there is none; give `selfAlignWeight`.',
  ],
  [
    { selfAlignTimeOffset: 0.5 },
    '`selfAlignTimeOffset` 0.5 is of self-alignment, and there is none; give `selfAlignWeight`.',
  ],
  [{ routeFrom: 3 }, '`routeFrom` 3 says past which blocks tokens go, and none goes past any; give `routeTokens`.'],
  [{ routeTo: 9 }, '`routeTo` 9 says past which blocks tokens go, and none goes past any; give `routeTokens`.'],
]

const CASES = OWNED.map(([setting, message, beside]) => ({ setting, message, beside }))

test.each(CASES)('a training has no $setting beside $beside', async ({ setting, message, beside }) => {
  const out = join(temporaryFolder(), 'run')
  const model = { kind: 'SiT', depth: 4, hidden: 32, heads: 2, patch: 4 } as const
  const configuration = { model, batch: 2, steps: 1, ...beside, ...setting }
  await expect(train({ out, data: await tinyDataset(), device: 'cpu', configuration })).rejects.toThrow(message)
  expect(existsSync(out)).toBe(false)
})

test('and of each that is of something else there is such a row', () => {
  expect(new Set(OWNED.flatMap(([setting]) => Object.keys(setting)))).toEqual(OWNED_SETTINGS)
})
