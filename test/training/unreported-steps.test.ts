/** Steps that were made when their run ends before they are reported: the log has them, for the checkpoint has. */
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { HogEncoder } from '../../src/alignment/hog.ts'
import { MetricsLog } from '../../src/training/metrics.ts'
import { type TrainOptions, train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BATCH, modelOf, tinyTrainer } from './tiny-trainer.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const STEPS = 12
const FAILS_AT = 7

const CONFIGURATION = {
  model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
  batch: BATCH,
  steps: STEPS,
} as const

const stepsOf = (out: string) =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { step: number }).step)

const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)

test.each<readonly [what: string, made: number, failure: () => Partial<TrainOptions>]>([
  [
    // Two steps are under way then.
    'the caller',
    FAILS_AT + 2,
    () => ({
      onStep: ({ index }) => {
        if (index === FAILS_AT) throw new Error('once')
      },
    }),
  ],
  [
    'what enqueues a step',
    FAILS_AT - 1,
    () => {
      const { features } = HogEncoder.prototype
      let calls = 0
      vi.spyOn(HogEncoder.prototype, 'features').mockImplementation(function (this: HogEncoder, ...args) {
        if (++calls === FAILS_AT) throw new Error('once')
        return features.apply(this, args)
      })
      return {}
    },
  ],
])('where %s fails, a resumed run leaves a log without a gap', async (_, made, failure) => {
  const [out, data] = [temporaryFolder(), await tinyDataset(2 * BATCH)]
  const run = (more: Partial<TrainOptions>) =>
    train({
      out,
      data,
      device: 'cpu',
      configuration: {
        ...CONFIGURATION,
        encoders: [{ name: 'hog' }],
        alignDepth: 1,
      },
      ...more,
    })
  await expect(run(failure())).rejects.toThrow('once')
  expect(stepsOf(out)).toEqual(upTo(made))
  expect((await run({ resume: true })).step).toBe(STEPS)
  expect(stepsOf(out)).toEqual(upTo(STEPS))
})

test('where the log takes half a line and fails, that line and those behind it are written again', async () => {
  const [out, data] = [temporaryFolder(), await tinyDataset(2 * BATCH)]
  const handle = await open(join(data, 'images/dataset.json'))
  const files = Object.getPrototypeOf(handle) as typeof handle
  await handle.close()
  const { appendFile } = files
  let calls = 0
  vi.spyOn(files, 'appendFile').mockImplementation(async function (this: typeof handle, line) {
    if (++calls !== FAILS_AT) return appendFile.call(this, line)
    await this.write(String(line).slice(0, 10))
    throw new Error('ENOSPC: no space left on device')
  })
  const notices: string[] = []
  const onNotice = (sentence: string) => void notices.push(sentence)
  await expect(train({ out, data, device: 'cpu', configuration: CONFIGURATION, onNotice })).rejects.toThrow('ENOSPC')
  expect(stepsOf(out)).toEqual(upTo(FAILS_AT + 2))
  expect(notices.filter((sentence) => sentence.startsWith('The log lacks'))).toEqual([])
})

test('where the log fails for good, it is said which steps it lacks', async () => {
  const [out, data] = [temporaryFolder(), await tinyDataset(2 * BATCH)]
  const { write } = MetricsLog.prototype
  vi.spyOn(MetricsLog.prototype, 'write').mockImplementation(function (this: MetricsLog, step) {
    if (step.index < FAILS_AT) return write.call(this, step)
    return Promise.reject(new Error('EDQUOT: quota exceeded'))
  })
  const notices: string[] = []
  const onNotice = (sentence: string) => void notices.push(sentence)
  await expect(train({ out, data, device: 'cpu', configuration: CONFIGURATION, onNotice })).rejects.toThrow('EDQUOT')
  expect(notices).toContain(`The log lacks the steps from ${FAILS_AT} on: EDQUOT: quota exceeded`)
})

test('a trainer keeps what a loop that was left has not seen, until the next begins', async () => {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  for await (const { index } of trainer.run({ steps: 9 })) if (index === 3) break
  expect(trainer.step).toBe(5)
  expect(trainer.unreported.map(({ index }) => index)).toEqual([4, 5])
  for await (const { index } of trainer.run({ steps: 6 })) expect(index).toBe(6)
  expect(trainer.unreported).toEqual([])
})
