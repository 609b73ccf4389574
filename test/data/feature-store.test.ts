import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import type * as promises from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { FeatureSettings } from '../../src/data/dataset-info.ts'
import { FeatureStore, ShardWriter } from '../../src/data/feature-store.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { serialiseHeader } from '../../src/formats/safetensors-header.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** The most bytes that one call writes: a system may write less than it is given. */
const written = vi.hoisted(() => ({ atOnce: Number.POSITIVE_INFINITY }))
vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof promises>()
  const open = async (...asked: Parameters<typeof original.open>) => {
    const file = await original.open(...asked)
    const write = file.write.bind(file) as (...call: unknown[]) => Promise<{ bytesWritten: number }>
    const some = (data: Uint8Array, offset: number, length: number, position: number) =>
      write(data, offset, Math.min(length, written.atOnce), position)
    return Object.assign(file, { write: some })
  }
  return { ...original, open }
})

const SETTINGS: FeatureSettings = { encoder: 'means', weights: 'ab'.repeat(32), grid: [2, 3], width: 2 }
/** Halves of one image's features. */
const HALVES = 2 * 3 * 2

const features = (image: number) => Uint16Array.from({ length: HALVES }, (_, i) => 100 * image + i)

async function writeShard(folder: string, settings: FeatureSettings, flip = false): Promise<string> {
  const writer = new ShardWriter(folder, settings, flip, 0, 3)
  await writer.write(0, [0, 1, 2].map(features))
  await writer.finish()
  return join(folder, 'features/means', `${flip ? 'flip-' : ''}00000.safetensors`)
}

test.each([1, 7, 1000])('where the system writes %d bytes at a time, a shard is whole nevertheless', async (bytes) => {
  const folder = temporaryFolder()
  written.atOnce = bytes
  onTestFinished(() => {
    written.atOnce = Number.POSITIVE_INFINITY
  })
  const path = await writeShard(folder, SETTINGS)
  await using file = await SafetensorsFile.open(path)
  expect(file.metadata).toMatchObject({ encoder: 'means', images: 'as they are' })
  await using store = await FeatureStore.open(folder, SETTINGS, 3, false)
  for (const image of [0, 1, 2]) {
    const out = new Uint8Array(store.imageBytes)
    await store.readInto(image, false, out)
    expect(new Uint16Array(out.buffer)).toEqual(features(image))
  }
})

test.each([
  { cut: 0, whole: 2 },
  { cut: 1, whole: 1 },
  { cut: 2 * HALVES, whole: 1 },
  { cut: 2 * HALVES + 1, whole: 0 },
  { cut: 4 * HALVES + 1, whole: 0 },
])('of a shard that a kill left $cut bytes short, $whole images are done', async ({ cut, whole }) => {
  const folder = temporaryFolder()
  const writer = new ShardWriter(folder, SETTINGS, false, 0, 3)
  expect(await writer.done()).toBe(0)
  await writer.write(0, [0, 1].map(features))
  const partial = join(folder, 'features/means/00000.safetensors.partial')
  truncateSync(partial, statSync(partial).size - cut)
  expect(await writer.done()).toBe(whole)
})

describe('a shard in the place of another is refused when it is opened', () => {
  const open = (folder: string, flip = false) => FeatureStore.open(folder, SETTINGS, 3, flip)
  const again = (folder: string) => `Remove '${join(folder, 'features/means')}' and cache them again.`

  test.each([false, true])('of mirror images or not: %s', async (flip) => {
    const folder = temporaryFolder()
    const [plain, flipped] = [await writeShard(folder, SETTINGS), await writeShard(folder, SETTINGS, true)]
    await (await open(folder, true))[Symbol.asyncDispose]()
    const [from, to] = flip ? [plain, flipped] : [flipped, plain]
    copyFileSync(from, to)
    const [found, expected] = flip ? ['as they are', 'mirrored'] : ['mirrored', 'as they are']
    await expect(open(folder, true)).rejects.toThrow(
      `The cached features '${to}' are, as it says, of images '${found}'; '${expected}' were expected. ${again(folder)}`,
    )
  })

  const other = 'cd'.repeat(32)
  test.each<[string, Partial<FeatureSettings>, string]>([
    ['weights', { weights: other }, `of weights '${other}'; '${SETTINGS.weights}' were expected.`],
    [
      'weights, or none',
      { weights: undefined },
      `of weights that it does not name; '${SETTINGS.weights}' were expected.`,
    ],
    ['grid', { grid: [3, 2] }, "of grid '3x2'; '2x3' were expected."],
  ])('of other %s', async (_, change, says) => {
    const folder = temporaryFolder()
    const path = await writeShard(folder, { ...SETTINGS, ...change })
    await expect(open(folder)).rejects.toThrow(
      `The cached features '${path}' are, as it says, ${says} ${again(folder)}`,
    )
  })

  test('of another encoder', async () => {
    const folder = temporaryFolder()
    const path = await writeShard(folder, SETTINGS)
    const there = new ShardWriter(folder, { ...SETTINGS, encoder: 'hog' }, false, 0, 3)
    await there.write(0, [0, 1, 2].map(features))
    await there.finish()
    copyFileSync(join(folder, 'features/hog/00000.safetensors'), path)
    await expect(open(folder)).rejects.toThrow("of encoder 'hog'; 'means' were expected.")
  })

  test('of another dtype', async () => {
    const folder = temporaryFolder()
    const path = await writeShard(folder, SETTINGS)
    await using file = await SafetensorsFile.open(path)
    const bytes = 3 * HALVES * 4
    const header = serialiseHeader([['features', 'f32', [3, 6, 2], bytes]], file.metadata)
    writeFileSync(path, Buffer.concat([header, new Uint8Array(bytes)]))
    expect(readFileSync(path)).toHaveLength(header.length + bytes)
    await expect(open(folder)).rejects.toThrow(
      `The cached features '${path}' are f32 of shape [3,6,2]; f16 of 3 images of [6, 2] was expected. ${again(folder)}`,
    )
  })
})
