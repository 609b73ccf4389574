import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { writeTorchCheckpoint } from '../../../src/formats/torch-checkpoint-writer.ts'
import { referenceCheckpoint } from '../../conversion/tiny-checkpoint.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  return await repaUntil(new AbortController().signal, ...words)
}

async function repaUntil(signal: AbortSignal, ...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

test('converts, says what it assumed, and refuses to overwrite', async () => {
  const folder = temporaryFolder()
  const [input, run, file] = [join(folder, 'a.pt'), join(folder, '0000007'), join(folder, 'a.safetensors')]
  await writeTorchCheckpoint(input, referenceCheckpoint())
  expect(await repa('convert', input, run)).toEqual({
    status: 0,
    stdout: '',
    stderr:
      `warning: ${input} does not tell how many attention heads it has: 1 assumed, one for every 64 features; ` +
      `--heads sets it.\n` +
      `${run}: training checkpoint, 150 tensors\n`,
  })
  const json = await repa('convert', run, file, '--weights', 'model', '--json')
  expect(JSON.parse(json.stdout)).toEqual({ output: file, kind: 'tensors', tensors: 38, notes: [] })
  expect(await repa('convert', run, file)).toEqual({
    status: 1,
    stdout: '',
    stderr: `repa convert: ${file} exists already; --force replaces it, or choose another name.\n`,
  })
  expect(await repa('convert', run, file, '--force', '--quiet')).toEqual({ status: 0, stdout: '', stderr: '' })
})

test('a folder may be named with a slash, as a shell completes it', async () => {
  const folder = temporaryFolder()
  const [input, run] = [join(folder, 'a.pt'), join(folder, 'new/0000007/')]
  await writeTorchCheckpoint(input, referenceCheckpoint())
  for (const words of [[], ['--force']]) {
    expect(await repa('convert', input, run, '--heads', '2', ...words)).toMatchObject({ status: 0 })
    expect(await readdir(join(folder, 'new'))).toEqual(['0000007'])
    expect(await readdir(run)).toContain('state.json')
  }
})

test('what a file does not tell of its model is taken where a checkpoint is written, and refused elsewhere', async () => {
  const folder = temporaryFolder()
  const [training, run, weights] = ['a.pt', '0000007', 'w.safetensors'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  await writeTorchCheckpoint(training, referenceCheckpoint())
  const taken = ['--heads', '2', '--align-depth', '1', '--kind', 'SiT']
  for (const words of [
    [training, run],
    [training, join(folder, 'b.pt')],
    [run, weights],
    [weights, join(folder, '0000000')],
    [run, join(folder, '0000001'), '--weights', 'ema'],
  ]) {
    expect(await repa('convert', ...words, ...(words[1] === weights ? [] : taken))).toMatchObject({ status: 0 })
  }
  const before = await readdir(folder)
  const [pt, safetensors] = [join(folder, 'o.pt'), join(folder, 'o.safetensors')]
  const asItIs = (output: string) =>
    `is of the model of a checkpoint, and ${output} is to hold one set of weights, which is written as it is; leave it out`
  const known = `is of a model that a file does not tell; ${run} is a checkpoint folder, which tells all of it; leave it out`
  for (const [input, output, choice, why] of [
    [weights, pt, [], asItIs(pt)],
    [run, safetensors, [], asItIs(safetensors)],
    [training, pt, ['--weights', 'model'], asItIs(pt)],
    [run, pt, [], known],
    [run, join(folder, '0000008'), [], known],
  ] as const) {
    for (const [flag, value] of [
      ['--heads', '2'],
      ['--align-depth', '1'],
      ['--kind', 'DiT'],
    ] as const) {
      expect(await repa('convert', input, output, ...choice, flag, value)).toEqual({
        status: 1,
        stdout: '',
        stderr: `repa convert: ${flag} ${value} ${why}.\n`,
      })
    }
  }
  expect(await readdir(folder)).toEqual(before)
})

test('ends with 130 when it is interrupted, and leaves nothing', async () => {
  const folder = temporaryFolder()
  await writeTorchCheckpoint(join(folder, 'a.pt'), referenceCheckpoint())
  const result = await repaUntil(AbortSignal.abort(), 'convert', join(folder, 'a.pt'), join(folder, 'b.safetensors'))
  expect(result).toEqual({ status: 130, stdout: '', stderr: '' })
  expect(await readdir(folder)).toEqual(['a.pt'])
})

test.each([
  [['convert', 'a.pt'], 2, 'OUT is missing'],
  [['convert', 'a.pt', 'b.safetensors', '--weights', 'both'], 2, 'expected ema or model'],
  [['convert', '/no/such/file.pt', 'b.safetensors'], 1, 'there is no such file'],
] as const)('%o', async (words, status, message) => {
  const result = await repa(...words)
  expect(result).toMatchObject({ status, stdout: '' })
  expect(result.stderr).toContain(message)
})
