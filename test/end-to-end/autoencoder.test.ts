import { copyFile, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { NpzFile } from '../../src/formats/npz.ts'
import { autoencoderDigest } from '../../src/models/autoencoder-files.ts'
import { writeNarrowTaesd } from './narrow-taesd.ts'
import { Program } from './program.ts'
import { writeShapesZip } from './shapes-zip.ts'

const SIZE = 32
const MODEL = JSON.stringify({ kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 2 })

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(inWork('shapes.zip'), { perClass: 4, size: SIZE })
  await writeNarrowTaesd(program.work)
})

afterAll(() => program[Symbol.asyncDispose]())

async function repa(...words: string[]): Promise<string> {
  const { status, stderr } = await program.repa(...words)
  expect({ words, status, stderr: status === 0 ? '' : stderr }).toEqual({ words, status: 0, stderr: '' })
  return stderr
}

test('photos to latents, a model of them, and its samples decoded to pixels', async () => {
  await repa(
    'prepare',
    'shapes.zip',
    '--out',
    'data',
    '--size',
    String(SIZE),
    '--autoencoder',
    'taesd_encoder.safetensors',
  )
  const info = JSON.parse(await readFile(inWork('data/dataset-info.json'), 'utf8'))
  const weights = await autoencoderDigest(inWork('taesd_encoder.safetensors'), 'encoder')
  expect(info.latents).toEqual({ encoder: 'taesd', weights, shape: [8, 4, 4], scale: 1 })
  expect(JSON.parse(await readFile(inWork('data/vae-sd/dataset.json'), 'utf8')).labels).toHaveLength(12)

  const train = ['train', '--data', 'data', '--model', MODEL, '--batch', '4', '--steps', '3', '--sample-every', '3']
  const preview = await repa(...train, '--out', 'plain')
  expect(preview).toContain('Without --autoencoder the grids of samples are a linear preview')
  const decoded = await repa(...train, '--out', 'run', '--autoencoder', 'taesd_decoder.safetensors')
  expect(decoded).not.toContain('linear preview')
  const [small, large] = await Promise.all(
    ['plain', 'run'].map(async (run) => {
      const file = inWork(run, 'samples/0000003.png')
      return decodeImage(await readFile(file), file)
    }),
  )
  // Four in a row, with the same gaps.
  expect(large!.width - small!.width).toBe(4 * (SIZE - SIZE / 8))
  const stored = JSON.parse(await readFile(inWork('run/config.json'), 'utf8'))
  expect(stored.training.autoencoder).toBe('taesd_decoder.safetensors')

  const sample = ['sample', '--checkpoint', 'run', '--num', '3', '--steps', '2', '--npz', 'samples.npz']
  await repa(...sample, '--out', 'samples', '--autoencoder', 'taesd_decoder.safetensors')
  const image = await decodeImage(await readFile(inWork('samples/000002.png')), '000002.png')
  expect([image.width, image.height]).toEqual([SIZE, SIZE])
  await using npz = await NpzFile.open(inWork('samples.npz'))
  const { shape, data } = await npz.read('arr_0')
  expect(shape).toEqual([3, SIZE, SIZE, 3])
  expect([...data.subarray(2 * SIZE * SIZE * 3)]).toEqual([...image.data])
})

test('a file of another model, and an autoencoder for pixels', async () => {
  const wrong = await program.repa(
    'sample',
    '--checkpoint',
    'run',
    '--out',
    'x',
    '--num',
    '1',
    '--autoencoder',
    'run/checkpoints/0000003/model.safetensors',
  )
  expect(wrong.status).toBe(1)
  expect(wrong.stderr).toMatch(/repa sample: .*model\.safetensors holds no autoencoder that is known here.*\n$/)
  await repa('prepare', 'shapes.zip', '--out', 'pixels', '--size', '8')
  const pixels = await program.repa(
    'train',
    '--data',
    'pixels',
    '--out',
    'y',
    '--model',
    MODEL,
    '--batch',
    '4',
    '--autoencoder',
    'taesd_decoder.safetensors',
  )
  expect(pixels).toMatchObject({ status: 1, stderr: expect.stringContaining('are pixels, which need no autoencoder') })
})

test('latents made of every batch: the losses of those that were prepared, and goes on with that autoencoder alone', async () => {
  await repa('prepare', 'shapes.zip', '--out', 'images', '--size', String(SIZE))
  const train = ['train', '--data', 'images', '--model', MODEL, '--batch', '4']
  const encoded = [...train, '--encode-latents', '--out', 'encoded']
  const begun = await repa(...encoded, '--steps', '2', '--autoencoder', 'taesd_encoder.safetensors')
  expect(begun).toContain('latents of 4 x 4 x 4, made of the images of every step by taesd')
  const resume = [...encoded, '--resume', '--steps', '3']
  await mkdir(inWork('other'))
  await writeNarrowTaesd(inWork('other'), 2)
  const other = await program.repa(...resume, '--autoencoder', 'other')
  expect(other).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('other makes other latents than the autoencoder that the run began with: SHA-256'),
  })
  // The same files, wherever they lie.
  await mkdir(inWork('moved'))
  for (const half of ['encoder', 'decoder']) {
    await copyFile(inWork(`taesd_${half}.safetensors`), inWork('moved', `taesd_${half}.safetensors`))
  }
  await repa(...resume, '--autoencoder', 'moved')
  const lossesOf = async (name: string) =>
    (await readFile(inWork(name, 'metrics.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).loss as number)
  expect(await lossesOf('encoded')).toEqual(await lossesOf('plain'))

  await mkdir(inWork('half'))
  await copyFile(inWork('taesd_encoder.safetensors'), inWork('half', 'taesd_encoder.safetensors'))
  const half = await program.repa(...train, '--encode-latents', '--autoencoder', 'half', '--out', 'z')
  expect(half).toMatchObject({ status: 1, stderr: expect.stringContaining('The decoder of half is not here') })
  const without = await program.repa(...train, '--encode-latents', '--out', 'z')
  expect(without).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('and none is given; name one by --autoencoder.'),
  })
  const pixels = await program.repa(...train, '--autoencoder', 'taesd_encoder.safetensors', '--out', 'z')
  expect(pixels).toMatchObject({ status: 1, stderr: expect.stringContaining('make their latents by --encode-latents') })
})
