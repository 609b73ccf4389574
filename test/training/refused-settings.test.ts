/** Settings that do nothing, or nothing sensible: refused where they are given, as those of a trainer are. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { AdamW, type AdamWOptions, type StepSettings } from '../../src/training/optimizer.ts'
import { train } from '../../src/training/run.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
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
])('a training has no %j', async (wrong, message) => {
  const out = join(temporaryFolder(), 'run')
  const configuration = { model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 }, batch: 2, steps: 1 }
  const options = { out, data: await tinyDataset(), device: 'cpu', configuration, ...wrong }
  await expect(train(options as never)).rejects.toThrow(message)
  expect(existsSync(out)).toBe(false)
})
