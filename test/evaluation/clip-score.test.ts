import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { captionsJsonLines } from '../../src/data/captions-json.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { sampleName, writePrompts } from '../../src/diffusion/sampling-record.ts'
import { clipInput } from '../../src/evaluation/clip-input.ts'
import { type ClipScore, evaluateClipScore } from '../../src/evaluation/clip-score.ts'
import { NpzWriter } from '../../src/formats/npz.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { toPlanes } from '../../src/tensor/planes.ts'
import { syntheticImage } from '../data/synthetic-image.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import {
  CAPTIONS,
  cosine,
  IMAGE,
  IMAGE_SIZE,
  referenceImageFeatures,
  referenceTextFeatures,
  transformersClip,
  WIDTH,
  writeClip,
} from './clip-files.ts'

const COUNT = CAPTIONS.length
const SIDE = 40
const images = Array.from({ length: COUNT }, (_, i) => syntheticImage(SIDE, SIDE, 10 + i))
const png = (i: number) => encodePng(images[i]!.data, SIDE, SIDE, 3)
const captions = CAPTIONS.map(([caption]) => caption)

/** Of image i and caption j. */
const MATRIX = (() => {
  const area = IMAGE_SIZE ** 2
  const planes = new Uint8Array(COUNT * 3 * area)
  for (const [i, image] of images.entries()) toPlanes(clipInput(image, IMAGE_SIZE), planes, i * 3 * area)
  const ofImages = referenceImageFeatures(planes)
  const ofTexts = referenceTextFeatures(CAPTIONS.map(([, tokens]) => tokens))
  return images.map((_, i) => captions.map((_, j) => cosine(ofImages, i, ofTexts, j)))
})()

/**
 * A feature's roundings, as clip-model.test.ts counts them, are of the order of its length; a cosine is wrong by no more than its two
 * features are, of their lengths.
 */
const CLOSE =
  2 * Math.sqrt(WIDTH) * (3 * IMAGE.patch ** 2 + IMAGE.depth * (4 * IMAGE.hidden + IMAGE.ffnWidth)) * 2 ** -24

function expectScore(found: ClipScore, pairs: readonly (readonly [image: number, caption: number])[]): void {
  const cosines = pairs.map(([i, j]) => MATRIX[i]![j]!)
  const mean = cosines.reduce((sum, value) => sum + value) / cosines.length
  expect(Math.abs(found.cosine - mean)).toBeLessThan(CLOSE)
  expect(found.images).toBe(pairs.length)
  if (pairs.length === 1) {
    expect(found.standardError).toBeNull()
    return
  }
  const variance = cosines.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (pairs.length - 1)
  expect(Math.abs(found.standardError! - Math.sqrt(variance / pairs.length))).toBeLessThan(CLOSE)
}

const DIAGONAL = captions.map((_, i) => [i, i] as const)

/** A folder as repa sample leaves it. */
async function samples(lines: readonly string[] = captions): Promise<string> {
  const folder = temporaryFolder()
  writeTree(folder, Object.fromEntries(images.map((_, i) => [sampleName(i), png(i)])))
  await writeFile(join(folder, 'latents.npz'), 'are not looked at')
  await writePrompts(folder, lines)
  return folder
}

async function npz(): Promise<string> {
  const file = join(temporaryFolder(), 'samples.npz')
  const writer = await NpzWriter.create(file)
  const data = new Uint8Array(Buffer.concat(images.map((image) => image.data)))
  await writer.add('arr_0', { dtype: 'u8', shape: [COUNT, SIDE, SIDE, 3], data })
  await writer.close()
  return file
}

async function captionFile(lines: readonly string[], end = '\n'): Promise<string> {
  const file = join(temporaryFolder(), 'captions.txt')
  await writeFile(file, lines.join(end) + end)
  return file
}

const common = async () => ({ clip: await writeClip(temporaryFolder()), device: 'cpu' as const, batch: 3 })

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

test('no two ways to pair images and captions have a score within the tolerance', () => {
  const means = [0, 1, 2, 3].map((turn) => MATRIX.reduce((sum, row, i) => sum + row[(i + turn) % COUNT]!, 0) / COUNT)
  const sorted = means.sort((a, b) => a - b)
  for (const [i, value] of sorted.slice(1).entries()) expect(value - sorted[i]!).toBeGreaterThan(2 * CLOSE)
})

describe('the score of samples with their prompts.txt', () => {
  test.each([1, 2, 3, 4, 64])('in batches of %d', async (batch) => {
    const seen: (readonly number[])[] = []
    const found = await evaluateClipScore({
      ...(await common()),
      batch,
      samples: await samples(),
      onProgress: (done, total) => seen.push([done, total]),
    })
    expectScore(found, DIAGONAL)
    expect(found).toMatchObject({ kind: 'clip', network: 'ViT-128x2/8@24px', withoutCaption: 0 })
    const steps = Array.from({ length: Math.ceil(COUNT / batch) }, (_, i) => Math.min(COUNT, (i + 1) * batch))
    expect(seen).toEqual([0, ...steps].map((done) => [done, COUNT]))
  })

  test('is told to be of samples that are not all there', async () => {
    const folder = await samples()
    writeTree(folder, { 'unfinished/repa-sampling.json': '{}' })
    const notices: string[] = []
    await evaluateClipScore({ ...(await common()), samples: folder, onNotice: (sentence) => notices.push(sentence) })
    expect(notices).toEqual([
      `${folder} holds an unfinished sampling: its images are not all there, and may be of several calls.`,
    ])
  })

  test('leaves out what has a blank caption', async () => {
    const found = await evaluateClipScore({
      ...(await common()),
      samples: await samples(['', captions[1]!, ' ', captions[0]!]),
    })
    expectScore(found, [
      [1, 1],
      [3, 0],
    ])
    expect(found.withoutCaption).toBe(2)
    const one = await evaluateClipScore({ ...(await common()), samples: await samples(['', '', captions[3]!, '']) })
    expectScore(one, [[2, 3]])
  })

  test('is the same with other pictures beside them', async () => {
    const folder = await samples()
    const [grid, other] = [join(folder, 'grid.png'), join(folder, '-best.png')]
    for (const path of [grid, other]) await writeFile(path, encodePng(syntheticImage(90, 50, 3).data, 90, 50, 3))
    const found = await evaluateClipScore({ ...(await common()), samples: folder })
    expectScore(found, DIAGONAL)
    expect(found.withoutCaption).toBe(0)
    const file = await captionFile(captions)
    await expect(evaluateClipScore({ ...(await common()), samples: folder, captions: file })).rejects.toThrow(
      `${folder} has 6 images, and ${file} 4 captions; expected a line an image.`,
    )
  })

  test('is that of the numbers in their names, not of the order of their paths', async () => {
    const folder = await samples()
    await rm(join(folder, '000002.png'))
    await writeFile(join(folder, '0000002.png'), png(2))
    await expect(evaluateClipScore({ ...(await common()), samples: folder })).rejects.toThrow(
      /^There is no 000002\.png beside .*prompts\.txt, whose line 3 is its caption: /,
    )
  })
})

describe('the score with a file of captions', () => {
  test.each([0, 1, 2, 3])('turned by %d, each image has another', async (turn) => {
    const turned = captions.map((_, i) => captions[(i + turn) % COUNT]!)
    const pairs = captions.map((_, i) => [i, (i + turn) % COUNT] as const)
    const file = await captionFile(turned, turn % 2 === 0 ? '\n' : '\r\n')
    for (const path of [await samples(), await npz()]) {
      expectScore(await evaluateClipScore({ ...(await common()), samples: path, captions: file }), pairs)
    }
  })

  test('of images of several sizes, in the order of their paths', async () => {
    const folder = temporaryFolder()
    const exact = clipInput(images[0]!, IMAGE_SIZE)
    writeTree(folder, {
      'b.png': encodePng(exact.data, IMAGE_SIZE, IMAGE_SIZE, 3),
      'a/1.png': png(1),
    })
    const file = await captionFile([captions[2]!, captions[3]!])
    expectScore(await evaluateClipScore({ ...(await common()), samples: folder, captions: file }), [
      [1, 2],
      [0, 3],
    ])
  })

  test('a blank one of an npz is left out', async () => {
    const file = await captionFile([captions[0]!, '', captions[2]!, ''])
    const found = await evaluateClipScore({ ...(await common()), samples: await npz(), captions: file })
    expectScore(found, [
      [0, 0],
      [2, 2],
    ])
    expect(found.withoutCaption).toBe(2)
  })
})

describe('the score of a data set', () => {
  function dataset(own: readonly (readonly string[])[] | undefined): Promise<Dataset> {
    const root = temporaryFolder()
    const names = images.map((_, i) => `00000/img0000000${i}.png`)
    writeTree(root, {
      'images/dataset.json': JSON.stringify({ labels: names.map((name) => [name, 0]) }),
      ...Object.fromEntries(names.map((name, i) => [`images/${name}`, png(i)])),
      ...(own && {
        'captions.json': [...captionsJsonLines(names.map((name, i) => [name, own[i]!] as const))].join(''),
      }),
    })
    return Dataset.open(root)
  }

  test("takes the first of an image's captions and leaves out what has none", async () => {
    const data = await dataset([[captions[3]!, captions[0]!], [], [captions[1]!], [captions[3]!]])
    const found = await evaluateClipScore({ ...(await common()), data })
    expectScore(found, [
      [0, 3],
      [2, 1],
      [3, 3],
    ])
    expect(found.withoutCaption).toBe(1)
  })

  test('is refused without captions', async () => {
    const data = await dataset(undefined)
    await expect(evaluateClipScore({ ...(await common()), data })).rejects.toThrow(
      'is a data set without captions; prepare it with captions, or name samples.',
    )
  })
})

describe('what is refused, in a sentence', () => {
  test('samples that do not say their captions', async () => {
    const folder = await samples()
    await rm(join(folder, 'prompts.txt'))
    const nothing = ['in it', 'it is no folder with a prompts.txt'] as const
    for (const [path, why] of [
      [folder, nothing[0]],
      [await npz(), nothing[1]],
    ] as const) {
      const scored = evaluateClipScore({ ...(await common()), samples: path })
      await expect(scored).rejects.toThrow("does not say its images' captions: ")
      await expect(scored).rejects.toThrow(why)
    }
  })

  test.each(['not-there', 'not-there.npz', 'prompts.txt/not-there'])(
    'a path where there is nothing: %s',
    async (name) => {
      const path = join(await samples(), name)
      await expect(evaluateClipScore({ ...(await common()), samples: path })).rejects.toThrow(
        new Error(`There is no ${path}; check the path.`),
      )
    },
  )

  test('another number of captions', async () => {
    const file = await captionFile(captions.slice(1))
    for (const path of [await samples(), await npz()]) {
      await expect(evaluateClipScore({ ...(await common()), samples: path, captions: file })).rejects.toThrow(
        `${path} has 4 images, and ${file} 3 captions; expected a line an image.`,
      )
    }
  })

  test('a line too few or too many in prompts.txt', async () => {
    const few = await samples(captions.slice(1))
    await writeFile(join(few, 'grid.png'), png(0))
    await expect(evaluateClipScore({ ...(await common()), samples: few })).rejects.toThrow(
      `${few} has 4 images by number, from 000000.png, and ${join(few, 'prompts.txt')} 3 captions; expected a line an image.`,
    )
    const many = await samples([...captions, captions[0]!])
    await writeFile(join(many, 'grid.png'), png(0))
    await expect(evaluateClipScore({ ...(await common()), samples: many })).rejects.toThrow(
      `There is no 000004.png beside ${join(many, 'prompts.txt')}, whose line 5 is its caption: `,
    )
  })

  test('captions that are not there, and images without any', async () => {
    const folder = await samples(['', '', '', ''])
    await expect(
      evaluateClipScore({ ...(await common()), samples: folder, captions: join(folder, 'none.txt') }),
    ).rejects.toThrow(/^Cannot read .*none\.txt/)
    await expect(evaluateClipScore({ ...(await common()), samples: folder })).rejects.toThrow(
      `${folder} has no image with a caption: there is nothing to score.`,
    )
  })

  test('features that are not finite, by the image', async () => {
    const tensors = transformersClip()
    tensors.set('visual_projection.weight', hostFloat32(new Float32Array(WIDTH * IMAGE.hidden), [WIDTH, IMAGE.hidden]))
    const clip = await writeClip(temporaryFolder(), { tensors })
    await expect(evaluateClipScore({ ...(await common()), clip, samples: await samples() })).rejects.toThrow(
      `The cosine of 000000.png and its caption is NaN; check the weights of CLIP in ${clip}.`,
    )
  })

  test('an abort stops between batches', async () => {
    const controller = new AbortController()
    const seen: number[] = []
    const scored = evaluateClipScore({
      ...(await common()),
      batch: 1,
      samples: await samples(),
      signal: controller.signal,
      onProgress: (done) => {
        seen.push(done)
        if (done === 1) controller.abort(new Error('enough'))
      },
    })
    await expect(scored).rejects.toThrow('enough')
    expect(seen).toEqual([0, 1])
  })
})
