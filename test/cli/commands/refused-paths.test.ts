/** What the system refuses of a path, every command says in one line of words that names the path once. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { train } from '../../../src/training/run.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { RecordingStream } from '../recording-stream.ts'

const MODEL = { kind: 'SiT', depth: 1, hidden: 16, heads: 2, patch: 4 } as const
const root = mkdtempSync(join(tmpdir(), 'repa-refused-'))
const data = join(root, 'data')
const run = join(root, 'run')
const weights = join(root, 'weights.safetensors')
const NAMES = ['loop', 'file/x', 'n'.repeat(256)]

beforeAll(async () => {
  await tinyDataset(2, data)
  await train({ data, out: run, device: 'cpu', configuration: { model: MODEL, batch: 2, steps: 1 } })
  symlinkSync('loop', join(root, 'loop'))
  writeFileSync(join(root, 'file'), '')
  expect(await said('convert', join(run, 'checkpoints/0000001'), weights)).toEqual({ status: 0, stderr: '' })
})

afterAll(() => rmSync(root, { recursive: true }))

async function said(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const { signal } = new AbortController()
  const status = await dispatch([...words, '--quiet', '--device', 'cpu'], { stdout, stderr, env: {}, signal })
  return { status, stderr: stderr.text }
}

const TRAINING = ['--batch', '2', '--steps', '1', '--model', JSON.stringify(MODEL)]
const SAMPLING = ['sample', '--num', '1', '--steps', '1', '--checkpoint', run]
const FID = ['evaluate', 'fid', '--features', 'hog', '--reference', join(data, 'images')]

describe.each<[name: string, words: (path: string) => string[]]>([
  ['train --data', (path) => ['train', '--data', path, '--out', join(root, 'new'), ...TRAINING]],
  ['train --out', (path) => ['train', '--data', data, '--out', path, ...TRAINING]],
  ['train --resume', (path) => ['train', '--data', data, '--out', path, '--resume']],
  ['train --config', (path) => ['train', '--config', path, '--data', data, '--out', join(root, 'new')]],
  ['train --init', (path) => ['train', '--data', data, '--out', join(root, 'new'), '--init', path, ...TRAINING]],
  ['prepare SRC', (path) => ['prepare', path, '--size', '32', '--out', join(root, 'new')]],
  ['prepare --out', (path) => ['prepare', join(data, 'images'), '--size', '32', '--out', path]],
  ['prepare --out X.zip', (path) => ['prepare', join(data, 'images'), '--size', '32', '--out', `${path}/x.zip`]],
  [
    'prepare --autoencoder',
    (path) => ['prepare', join(data, 'images'), '--size', '32', '--out', join(root, 'new'), '--autoencoder', path],
  ],
  ['pretrain-encoder --data', (path) => ['pretrain-encoder', '--data', path, '--out', join(root, 'new')]],
  [
    'pretrain-encoder --out',
    (path) => ['pretrain-encoder', '--data', data, '--out', path, '--steps', '1', '--batch', '2'],
  ],
  ['sample --checkpoint', (path) => ['sample', '--num', '1', '--checkpoint', path, '--out', join(root, 'images')]],
  ['sample --out', (path) => [...SAMPLING, '--out', path]],
  ['sample --npz', (path) => [...SAMPLING, '--out', join(root, 'images'), '--npz', `${path}/x.npz`]],
  ['sample --grid', (path) => [...SAMPLING, '--out', join(root, 'images'), '--grid', `${path}/x.png`]],
  [
    'evaluate fid --reference',
    (path) => ['evaluate', 'fid', '--features', 'hog', '--reference', path, '--samples', data],
  ],
  ['evaluate fid --samples', (path) => [...FID, '--samples', path]],
  ['evaluate fid --save-statistics', (path) => [...FID, '--save-statistics', `${path}/x.safetensors`]],
  ['evaluate fid --out', (path) => [...FID, '--samples', join(data, 'images'), '--out', `${path}/x.json`]],
  ['evaluate probe --data', (path) => ['evaluate', 'probe', '--encoder', 'hog', '--data', path]],
  ['convert IN', (path) => ['convert', path, join(root, 'new.pt')]],
  ['convert OUT', (path) => ['convert', weights, `${path}/x.pt`]],
  ['plan', (path) => ['plan', path]],
  ['report RUN', (path) => ['report', path, '--out', join(root, 'report.html')]],
  ['report --out', (path) => ['report', run, '--out', path]],
  ['watch', (path) => ['watch', path, '--port', '0']],
  ['verify', (path) => ['verify', path]],
  ['demo --out', (path) => ['demo', '--out', path]],
])('%s', (_, words) => {
  test.each(NAMES)('%s', async (name) => {
    const path = join(root, name)
    const { status, stderr } = await said(...words(path))
    expect(status, stderr).toBe(1)
    expect(stderr.replace(/^warning: .*\n/gm, '')).toMatch(/^repa [^\n]+\.\n$/)
    expect(stderr).not.toMatch(/\bE[A-Z]{3,}: /)
    expect(stderr.split(path)).toHaveLength(2)
  })
})
