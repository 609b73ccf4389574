import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Program } from './program.ts'
import { writeShapesZip } from './shapes-zip.ts'

const MODEL = JSON.stringify({ kind: 'DiT', depth: 3, hidden: 64, heads: 2, patch: 4 })
const SIZE = 16

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(inWork('shapes.zip'), { perClass: 16, size: SIZE })
  expect(await program.repa('prepare', 'shapes.zip', '--out', 'data', '--size', String(SIZE))).toMatchObject({
    status: 0,
  })
})

afterAll(() => program[Symbol.asyncDispose]())

test('train: the losses of a DiT with REPA fall, and each is logged', async () => {
  const { status, stderr } = await program.repa(
    ...['train', '--data', 'data', '--model', MODEL, '--encoder', 'hog', '--projector-width', '64', '--out', 'run'],
    ...['--batch', '16', '--lr', '2e-3', '--ema-decay', '0.9', '--steps', '120', '--sample-every', '60', '--quiet'],
  )
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const lines = (await readFile(inWork('run/metrics.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>)
  const mean = (name: string, from: number, to: number) =>
    lines.slice(from, to).reduce((sum, line) => sum + line[name]!, 0) / (to - from)
  expect(mean('denoising', 100, 120)).toBeLessThan(mean('denoising', 0, 5) / 1.5)
  expect(mean('alignment', 100, 120)).toBeLessThan(mean('alignment', 0, 1) - 0.3)
  for (const { loss, denoising, vb, alignment } of lines) {
    expect(loss).toBeCloseTo(denoising! + vb! + 0.5 * alignment!, 6)
  }
  expect(await readdir(inWork('run', 'samples'))).toEqual(['0000060.png', '0000120.png'])
})

const SAMPLES = [
  ['as the reference', []],
  ['ddim', ['--mode', 'ddim']],
  ['ddim with noise', ['--mode', 'ddim', '--eta', '1']],
  ['guided by more', ['--cfg-scale', '4']],
  ['guided in part of the times', ['--cfg-scale', '4', '--guidance-high', '0.5']],
  ['without guidance', ['--cfg-scale', '1']],
] as const

test('sample: every way makes other pictures, of one noise', async () => {
  const pictures = new Set<string>()
  for (const [name, words] of SAMPLES) {
    const { status, stdout, stderr } = await program.repa(
      ...['sample', '--checkpoint', 'run', '--out', name, '--num', '2', '--steps', '6', '--json', ...words],
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({ count: 2, folder: name })
    pictures.add(await readFile(inWork(name, '000001.png'), 'base64'))
  }
  expect(pictures.size).toBe(SAMPLES.length)
})

// Three channels are all that an image of colours has.
test('sample: picture by picture as in one batch, and the same from a file of weights', async () => {
  expect(await program.repa('convert', 'run/checkpoints/0000120', 'dit.safetensors')).toMatchObject({ status: 0 })
  const pictures = await Promise.all(
    [
      ['run', '--batch', '1', '--guided-channels', '3'],
      ['dit.safetensors', '--heads', '2', '--kind', 'DiT', '--guided-channels', 'all'],
    ].map(async ([checkpoint, ...words], i) => {
      const result = await program.repa(
        ...[
          'sample',
          '--checkpoint',
          checkpoint!,
          '--out',
          `again ${i}`,
          '--num',
          '2',
          '--steps',
          '6',
          '--quiet',
          ...words,
        ],
      )
      expect(result).toMatchObject({ status: 0, stderr: '' })
      return readFile(inWork(`again ${i}`, '000001.png'), 'base64')
    }),
  )
  expect(new Set([...pictures, await readFile(inWork('as the reference', '000001.png'), 'base64')]).size).toBe(1)
})

test.each([
  [['--mode', 'sde'], 2, 'repa sample: --mode sde is not for a DiT: expected ddpm or ddim.\n'],
  [['--path', 'cosine'], 2, 'repa sample: --path cosine is of a SiT, not of a DiT; leave it out.\n'],
  [['--steps', '1001'], 1, 'repa sample: Of 1000 steps of the diffusion, 1001 cannot be taken (respacing 1001).\n'],
])('sample %j: one line', async (words, status, stderr) => {
  const result = await program.repa(
    ...['sample', '--checkpoint', 'run', '--out', 'nowhere', '--num', '1', '--quiet', ...words],
  )
  expect(result).toMatchObject({ status, stdout: '', stderr })
})

test('train: a setting of SiT is refused before anything is written', async () => {
  const result = await program.repa(
    ...['train', '--data', 'data', '--model', MODEL, '--out', 'refused', '--batch', '4', '--path', 'cosine', '--quiet'],
  )
  expect(result).toMatchObject({
    status: 1,
    stdout: '',
    stderr: "repa train: A DiT learns a fixed diffusion of 1000 steps: it has no path cosine, which is SiT's.\n",
  })
  expect(await readdir(program.work)).not.toContain('refused')
})

test('report: shows the bound', async () => {
  expect(await program.repa('report', 'run', '--out', 'report.html', '--quiet')).toMatchObject({ status: 0 })
  expect(await readFile(inWork('report.html'), 'utf8')).toContain('Variational bound')
})
