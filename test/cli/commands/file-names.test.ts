import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { RecordingStream } from '../recording-stream.ts'

const FID = ['evaluate', 'fid', '--reference', 'r', '--samples', 's', '--features', 'hog']
const SAMPLE = ['sample', '--checkpoint', 'c', '--out', 'o', '--num', '1']

/** A report reads what ends in .json, an evaluation of images what ends in .npz; a picture is a PNG file. */
test.each([
  [
    [...FID, '--out', 'runs/xl/evaluation/fid'],
    "--out: expected a name that ends in .json, got 'runs/xl/evaluation/fid'",
  ],
  [
    ['evaluate', 'probe', '--encoder', 'hog', '--data', 'd', '--out', 'p.txt'],
    '--out: expected a name that ends in .json',
  ],
  [
    ['evaluate', 'cknna', '--checkpoint', 'c', '--data', 'd', '--encoder', 'hog', '--out', 'k'],
    '--out: expected a name',
  ],
  [[...SAMPLE, '--npz', 'samples'], "--npz: expected a name that ends in .npz, got 'samples'"],
  [[...SAMPLE, '--grid', 'grid.jpg'], "--grid: expected a name that ends in .png, got 'grid.jpg'"],
])('a file whose name does not say what it is is refused before any work: %o', async (words, sentence) => {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const { signal } = new AbortController()
  expect(await dispatch(words, { stdout, stderr, env: {}, signal })).toBe(2)
  expect(stderr.text).toContain(sentence)
})
