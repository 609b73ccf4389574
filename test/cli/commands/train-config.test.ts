/** `repa train --config FILE` beside flags: what a file may say that a flag may not. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

const SETTINGS = {
  model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 4 },
  batch: 2,
  steps: 1,
  alignDepth: 1,
  alignWeight: 0.7,
  samples: { count: 1, steps: 1 },
}

/** With those settings in a file, in a folder that is not there yet. */
const train = (...words: string[]) => trainBy(SETTINGS, ...words)

async function trainBy(settings: object, ...words: string[]) {
  const folder = temporaryFolder()
  const [config, run] = [join(folder, 'settings.json'), join(folder, 'run')]
  writeFileSync(config, JSON.stringify(settings))
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const data = await tinyDataset()
  const status = await dispatch(['train', '--data', data, '--config', config, '--out', run, ...words], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  return { status, stderr: stderr.text, run, config }
}

test.each([
  ['without an encoder', [], {}],
  ['with one, and the flags go before the file', ['--encoder', 'hog', '--align-depth', '2'], { alignDepth: 2 }],
])('the block and the weight of an alignment stand in a file for a training %s', async (_, words, given) => {
  const { status, run } = await train(...words)
  expect(status).toBe(0)
  const { training } = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8')) as { training: object }
  expect(training).toMatchObject({ ...SETTINGS, ...given })
})

test.each([
  ['--align-depth', '1'],
  ['--align-weight', '0.6'],
  ['--projector-width', '32'],
  ['--self-align-depth', '1'],
])('%s without an encoder is refused', async (flag, value) => {
  const { status, stderr, run } = await train(flag, value)
  expect(status).toBe(1)
  expect(stderr).toMatch(
    new RegExp(`${value} is .*, and (none is named; name one by --encoder|there is none; give --self)`),
  )
  expect(existsSync(run)).toBe(false)
})

test.each([
  [{ stepz: 3 }, [], 'there is no setting "stepz"; did you mean "steps"?\n'],
  [{ training: { batch: 'two' }, recipe: {} }, ['--batch', '2'], /^batch is "two": expected number/],
])('%j is refused by the name of the file that says it', async (settings, words, problem) => {
  const { status, stderr, run, config } = await trainBy(settings, ...words)
  expect(status).toBe(1)
  const begin = `repa train: ${config}: `
  expect(stderr.slice(0, begin.length)).toBe(begin)
  expect(stderr.slice(begin.length)).toMatch(problem)
  expect(existsSync(run)).toBe(false)
})
