import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { resize } from '../../src/data/resample.ts'
import { cropImage } from '../../src/data/rgb-image.ts'
import { clipInput } from '../../src/evaluation/clip-input.ts'
import { type Clip, loadClip } from '../../src/evaluation/clip-model.ts'
import { fileDigest } from '../../src/formats/file-digest.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { toPlanes } from '../../src/tensor/planes.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { syntheticImage } from '../data/synthetic-image.ts'
import { compare, expectClose, fromValues, type NdArray } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { largestOf } from '../tensor/rounding.ts'
import type { FileTensors } from '../text/clip-files.ts'
import {
  CAPTIONS,
  type ClipFiles,
  IMAGE,
  IMAGE_REFERENCE,
  IMAGE_SIZE,
  openaiClip,
  referenceImageFeatures,
  referenceTextFeatures,
  TEXT,
  TEXT_REFERENCE,
  transformersClip,
  WIDTH,
  writeClip,
} from './clip-files.ts'

const PLANES = new Uint8Array(3 * 3 * IMAGE_SIZE ** 2)
for (let i = 0; i < 3; i++) {
  toPlanes(syntheticImage(IMAGE_SIZE, IMAGE_SIZE, i), PLANES, i * 3 * IMAGE_SIZE ** 2)
}

async function featuresOf(clip: Clip): Promise<{ images: NdArray; texts: NdArray }> {
  using planes = Tensor.from(PLANES, [3, 3, IMAGE_SIZE, IMAGE_SIZE], 'cpu')
  using images = clip.imageFeatures(planes)
  using texts = clip.textFeatures(CAPTIONS.map(([caption]) => caption))
  return { images: fromValues(images.shape, await images.data()), texts: fromValues(texts.shape, await texts.data()) }
}

/**
 * Half an ulp of the largest number for every term that a feature's longest chain of sums adds up: the patch's elements or the two
 * embeddings, in every block the widths that its four products and its attention sum over, and the projection's.
 */
const tolerance = (tower: 'image' | 'text', expected: NdArray) => {
  const { hidden, depth, ffnWidth } = tower === 'image' ? IMAGE : TEXT
  const [first, tokens] = tower === 'image' ? [3 * IMAGE.patch ** 2, 1 + IMAGE.side ** 2] : [2, TEXT.tokens]
  const terms = first + depth * (3 * hidden + tokens + ffnWidth) + hidden
  return { atol: terms * 2 ** -24 * Math.max(1, largestOf(expected)), rtol: 0 }
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

const EXPECTED = {
  images: referenceImageFeatures(PLANES),
  texts: referenceTextFeatures(CAPTIONS.map(([, tokens]) => tokens)),
}

describe('the features of images and captions are those of a float64 composition, from', () => {
  test.each<{ what: string } & ClipFiles>([
    { what: 'CLIPModel as safetensors' },
    { what: 'CLIPModel by torch.save', name: 'pytorch_model.bin' },
    { what: "OpenAI's model", tensors: openaiClip(), name: 'ViT-L-14.pt' },
  ])('$what', async ({ what: _, ...files }) => {
    const file = await writeClip(temporaryFolder(), files)
    using clip = await loadClip(file, { device: 'cpu' })
    expect(clip).toMatchObject({
      name: 'ViT-128x2/8@24px',
      file,
      sha256: await fileDigest(file),
      imageSize: IMAGE_SIZE,
      width: WIDTH,
    })
    const { images, texts } = await featuresOf(clip)
    expectClose('image features', images, EXPECTED.images, tolerance('image', EXPECTED.images))
    expectClose('text features', texts, EXPECTED.texts, tolerance('text', EXPECTED.texts))
  })

  test('a folder, whose config.json states other towers', async () => {
    const config = {
      model_type: 'clip',
      text_config: { hidden_act: 'gelu', num_attention_heads: 2 },
      vision_config: { hidden_act: 'gelu_pytorch_tanh', num_attention_heads: 8, layer_norm_eps: 1e-3 },
    }
    const file = await writeClip(temporaryFolder(), { config })
    using clip = await loadClip(dirname(file), { device: 'cpu' })
    const { images, texts } = await featuresOf(clip)
    const changed = { activation: 'gelu-tanh', heads: 8, epsilon: 1e-3 } as const
    const expected = referenceImageFeatures(PLANES, { ...IMAGE_REFERENCE, ...changed })
    expectClose('image features', images, expected, tolerance('image', expected))
    expect(compare(expected, EXPECTED.images, tolerance('image', expected)).close).toBe(false)
    const ofTexts = referenceTextFeatures(
      CAPTIONS.map(([, tokens]) => tokens),
      { ...TEXT_REFERENCE, activation: 'gelu-erf', heads: 2 },
    )
    expectClose('text features', texts, ofTexts, tolerance('text', ofTexts))
  })
})

describe('what is refused, in a sentence', () => {
  const without = (tensors: FileTensors, ...names: string[]) =>
    new Map([...tensors].filter(([name]) => !names.includes(name)))
  const narrow = hostFloat32(new Float32Array(6), [3, 2])
  test.each<{ what: string; message: string | RegExp } & ClipFiles>([
    {
      what: 'a text tower alone',
      tensors: new Map([...transformersClip()].filter(([name]) => name.startsWith('text_'))),
      message: 'holds no whole CLIP: it has neither visual.proj and text_projection',
    },
    {
      what: 'towers without projections',
      tensors: without(openaiClip(), 'visual.proj'),
      message: 'holds no whole CLIP: it has neither visual.proj and text_projection',
    },
    {
      what: 'an image tower without its last norm',
      tensors: without(transformersClip(), 'vision_model.post_layernorm.bias'),
      message: `does not fit the model: norm.bias [${IMAGE.hidden}] is missing.`,
    },
    {
      what: 'projections into two spaces',
      tensors: new Map([...transformersClip(), ['text_projection.weight', narrow]]),
      message: `visual_projection.weight gives ${WIDTH} features of an image and text_projection.weight 3 of a text; expected as many.`,
    },
    {
      what: 'the projection of another tower',
      tensors: new Map([
        ...transformersClip(),
        ['text_projection.weight', hostFloat32(new Float32Array(2 * WIDTH), [WIDTH, 2])],
      ]),
      message: `the projection of the text tower is of 2 features, and the tower of ${TEXT.hidden}; they do not fit.`,
    },
    {
      what: 'a projection that is no matrix',
      tensors: new Map([...openaiClip(), ['visual.proj', hostFloat32(new Float32Array(4), [4])]]),
      message: 'visual.proj has shape [4]; expected a matrix.',
    },
    {
      what: 'an activation that is not computed',
      config: { model_type: 'clip', vision_config: { hidden_act: 'relu' } },
      message: 'vision_config.hidden_act is "relu"',
    },
  ])('$what', async ({ what: _, message, ...files }) => {
    const file = await writeClip(temporaryFolder(), files)
    await expect(loadClip(file, { device: 'cpu' })).rejects.toThrow(message)
  })

  test('a path where there is nothing', async () => {
    await expect(loadClip(join(temporaryFolder(), 'clip'), { device: 'cpu' })).rejects.toThrow(
      /^There is no CLIP .*clip: expected a file of CLIP's weights or a folder with one; name where it lies now\.$/,
    )
  })

  test('a file of something else', async () => {
    const file = join(temporaryFolder(), 'weights.safetensors')
    await writeFile(file, 'no weights')
    await expect(loadClip(file, { device: 'cpu' })).rejects.toThrow(file)
  })
})

// afterEach sees whether what was opened before it was freed.
test.each([
  ['image', IMAGE.hidden],
  ['text', TEXT.hidden],
])('where there is no memory for the projection of the %s tower, nothing is left of CLIP', async (_, hidden) => {
  const file = await writeClip(temporaryFolder())
  const from = Tensor.from.bind(Tensor)
  using _spy = vi.spyOn(Tensor, 'from').mockImplementation((data, shape, device) => {
    if (String(shape) === String([WIDTH, hidden])) throw new Error('out of memory')
    return from(data, shape, device)
  })
  await expect(loadClip(file, { device: 'cpu' })).rejects.toThrow('out of memory')
})

// By hand from torchvision's Resize and CenterCrop; what resize gives is Pillow's (test/data/transforms.test.ts).
test.each([
  { what: 'a wide picture', from: [300, 200], scaled: [336, 224], crop: [56, 0], size: 224 },
  { what: 'a tall one', from: [120, 167], scaled: [24, 33], crop: [0, 4], size: 24 },
  { what: 'an odd remainder of 3', from: [17, 10], scaled: [11, 7], crop: [2, 0], size: 7 },
  { what: 'an odd remainder of 7', from: [200, 100], scaled: [14, 7], crop: [4, 0], size: 7 },
  { what: 'its own size, cropped', from: [29, 24], scaled: [29, 24], crop: [2, 0], size: 24 },
  { what: 'its own size', from: [24, 24], scaled: [24, 24], crop: [0, 0], size: 24 },
])('CLIP sees the middle of $what', ({ from, scaled, crop, size }) => {
  const image = syntheticImage(from[0]!, from[1]!, 3)
  const whole = resize(image, scaled[0]!, scaled[1]!, 'bicubic')
  expect(clipInput(image, size)).toEqual(cropImage(whole, crop[0]!, crop[1]!, size, size))
})
