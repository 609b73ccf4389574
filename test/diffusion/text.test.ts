/** Sampling of a model of text: what it is told, how it is guided, and what is left beside the images. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ConditionalModel, type Guidance, type TextCondition } from '../../src/diffusion/guidance.ts'
import { type SampleImagesOptions, sampleImages } from '../../src/diffusion/sample-images.ts'
import { type SampleToFolderOptions, sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { sampleFlow } from '../../src/diffusion/samplers.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { repeatBatch } from '../../src/tensor/ops/batch.ts'
import { randomNormal } from '../../src/tensor/random.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { encodeCaptions } from '../../src/text/encoded-captions.ts'
import { scatterWeights } from '../pretraining/directional-derivatives.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { expectSameBits } from '../tensor/same-bits.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'

const [BATCH, SHAPE] = [3, [3, 3, 6, 6]]
const SIZES = { depth: 2, hidden: 16, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [6, 6] as [number, number], channels: 3 }
const TEXT = { tokens: 5, width: 20 } as const
const WHOLE = { low: 0, high: 1 }
const CAPTIONS = ['a bus', 'a cat', 'a dog that runs']

function textModel(options: Partial<Omit<SiTOptions, 'kind'>> = {}, scale = 0.2): SiT {
  const model = SiT.create(SIZES, { ...OPTIONS, classes: 0, text: TEXT, ...options })
  scatterWeights(model, scale)
  return model
}

function classModel(): SiT {
  const model = SiT.create(SIZES, { ...OPTIONS, classes: 4 })
  scatterWeights(model, 0.2)
  return model
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

const noiseOf = (shape: readonly number[]) => Tensor.from(Float32Array.from(random(shape, 5).data), shape, 'cpu')

/** Hidden states of the captions and of none, by the table. */
function condition(captions: readonly string[] = CAPTIONS): TextCondition & Disposable {
  using encoder = new TableCaptionEncoder(TEXT)
  const [text, none] = [encodeCaptions(encoder, captions), encodeCaptions(encoder, [''])]
  return {
    text,
    none,
    [Symbol.dispose]: () => {
      for (const tensor of [text, none]) tensor.dispose()
    },
  }
}

/**
 * What the longest chain of sums adds up on its way to a prediction: in a block its four products and its attention. Another size of a batch
 * may add up in another order, so that either side is off by as many halves of an ulp of the largest number.
 */
const TERMS = 2 * (16 + 14 + 16 + 16 + 16 + 64) + 12 + 20 + 256 + 16 + 16
function expectNear(actual: ArrayLike<number>, expected: ArrayLike<number>, factor = 1): void {
  const values = Array.from(expected)
  expect(actual.length).toBe(values.length)
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  const furthest = values.reduce((most, value, i) => Math.max(most, Math.abs(actual[i]! - value)), 0)
  expect(furthest).toBeLessThanOrEqual(factor * 2 * TERMS * 2 ** -24 * largest)
}

describe('what guides', () => {
  const asked = async (model: SiT, x: Tensor, t: number, text: Tensor) => {
    using prediction = scope(() => model.forward(x, Tensor.full([x.shape[0]!], t, 'cpu'), text).prediction)
    return await prediction.data()
  }

  test('both halves are what the model says of the caption, and of the empty one', async () => {
    using model = textModel()
    using given = condition()
    using x = noiseOf(SHAPE)
    using conditional = new ConditionalModel(model, given, { scale: 2, ...WHOLE })
    using own = scope(() => conditional.predict(x, 0.4).prediction)
    using both = scope(() => conditional.predictBoth(x, 0.4).prediction)
    expect(both.shape).toEqual([2 * BATCH, ...SHAPE.slice(1)])
    using nothing = repeatBatch(given.none, BATCH)
    const [told, untold] = [await asked(model, x, 0.4, given.text), await asked(model, x, 0.4, nothing)]
    expectSameBits('alone', await own.data(), told)
    const halves = await both.data()
    expectNear(halves.subarray(0, told.length), told)
    expectNear(halves.subarray(told.length), untold)
    expect(untold).not.toEqual(told)
  })

  test('a guide is told the same captions', async () => {
    using model = textModel()
    using guide = textModel({ depth: 1 }, 0.1)
    using given = condition()
    using x = noiseOf(SHAPE)
    using conditional = new ConditionalModel(model, given, { scale: 2, ...WHOLE, guide })
    using both = scope(() => conditional.predictBoth(x, 0.4).prediction)
    const halves = await both.data()
    const own = await asked(model, x, 0.4, given.text)
    expectSameBits('the model', halves.subarray(0, own.length), own)
    expectSameBits('the guide', halves.subarray(own.length), await asked(guide, x, 0.4, given.text))
  })

  test('the states stay the caller’s', async () => {
    using model = textModel()
    using given = condition()
    const before = await given.text.data()
    for (const guidance of [undefined, { scale: 2, ...WHOLE }])
      new ConditionalModel(model, given, guidance)[Symbol.dispose]()
    expect(await given.text.data()).toEqual(before)
  })

  test('a step goes from the empty caption through the caption', async () => {
    using model = textModel()
    using given = condition()
    const stepped = async (text: Tensor, guidance?: Guidance) => {
      using noise = noiseOf(SHAPE)
      const options = { mode: 'ode', steps: 1, ...(guidance && { guidance }) } as const
      using state = await sampleFlow(model, noise, { text, none: given.none }, options)
      return await state.dataAs('f64')
    }
    using nothing = repeatBatch(given.none, BATCH)
    const [told, untold] = [await stepped(given.text), await stepped(nothing)]
    const guided = await stepped(given.text, { scale: 3, ...WHOLE })
    // Of three times one prediction and twice the other.
    expectNear(
      guided,
      told.map((value, i) => untold[i]! + 3 * (value - untold[i]!)),
      5,
    )
    expect(await stepped(given.text, { scale: 3, low: 0, high: 0.9 })).toEqual(told)
  })
})

describe('what does not go together is refused', () => {
  const scale = { scale: 2, ...WHOLE }
  type Refused = readonly [string, (given: TextCondition) => void, string]
  const REFUSED: readonly Refused[] = [
    [
      'labels of a model of text',
      () => {
        using model = textModel()
        new ConditionalModel(model, Int32Array.of(0, 1, 2))
      },
      'The model is told captions, and labels were given; give it the text of captions.',
    ],
    [
      'captions of a model of classes',
      (given) => {
        using model = classModel()
        new ConditionalModel(model, given)
      },
      'The model is told classes, and captions were given; give it labels.',
    ],
    [
      'a null label',
      (given) => {
        using model = textModel()
        new ConditionalModel(model, given, { ...scale, nullLabel: 0 })
      },
      'A model of text is guided away from the empty caption, and has no label 0.',
    ],
    [
      'a guide of other text',
      (given) => {
        using model = textModel()
        using guide = textModel({ text: { tokens: 5, width: 12 } })
        new ConditionalModel(model, given, { ...scale, guide })
      },
      'The guide does not predict what the model does: its text is 5 x 12, not 5 x 20.',
    ],
    [
      'a guide of classes',
      (given) => {
        using model = textModel()
        using guide = classModel()
        new ConditionalModel(model, given, { ...scale, guide })
      },
      'The guide does not predict what the model does: its classes is 4, not 0; its text is none, not 5 x 20.',
    ],
    [
      'a null label beside a guide',
      (given) => {
        using model = textModel()
        using guide = textModel()
        new ConditionalModel(model, given, { ...scale, guide, nullLabel: 0 })
      },
      'A guide is asked with the labels, and nullLabel 0 is of guidance without one; give one of them.',
    ],
  ]
  test.each(REFUSED)('%s', (_, run, message) => {
    using given = condition()
    expect(() => run(given)).toThrow(new RangeError(message))
  })
})

type Options = Partial<SampleImagesOptions>

/** The latents of images of these captions, one behind the other. */
async function imagesOf(model: SiT | DiT, captions: readonly string[], options: Options = {}): Promise<Float64Array> {
  using encoder = new TableCaptionEncoder(TEXT)
  const made: number[] = []
  const given = { mode: 'ode', steps: 3, seed: 1, batch: 2, prompts: { captions, encoder }, ...options }
  for await (const { latents } of sampleImages(model, given as SampleImagesOptions)) made.push(...latents)
  return Float64Array.from(made)
}

describe('images of captions', () => {
  const image = 3 * 6 * 6
  const of = (images: Float64Array, i: number) => images.subarray(i * image, (i + 1) * image)
  const SAMPLERS: readonly (readonly [string, Options])[] = [
    ['Euler', {}],
    ['Heun, guided', { solver: 'heun', guidance: { scale: 2, ...WHOLE } } as Options],
    ['the SDE, guided', { mode: 'sde', guidance: { scale: 2, ...WHOLE } } as Options],
  ]

  test.each(SAMPLERS)('depend on their seed, number and caption alone, by %s', async (_, options) => {
    using model = textModel()
    const all = await imagesOf(model, CAPTIONS, options)
    for (const batch of [1, 3]) {
      // The steps are one unit of time together, of velocities that are twice one prediction and once another.
      expectNear(await imagesOf(model, CAPTIONS, { ...options, batch }), all, 3)
    }
    const later = await imagesOf(model, CAPTIONS.slice(1), { ...options, firstImage: 1 } as Options)
    expectNear(later, all.subarray(image), 3)
    const changed = await imagesOf(model, [CAPTIONS[0]!, 'a pig', CAPTIONS[2]!], options)
    for (const i of [0, 2]) expectSameBits(`image ${i}`, of(changed, i), of(all, i))
    expect(of(changed, 1)).not.toEqual(of(all, 1))
    const reseeded = await imagesOf(model, CAPTIONS, { ...options, seed: 2 })
    for (const i of [0, 1, 2]) expect(of(reseeded, i)).not.toEqual(of(all, i))
  })

  test('are what the sampler makes of the noise and the states', async () => {
    using model = textModel()
    using given = condition()
    using noise = randomNormal(SHAPE, { seed: 1, stream: 'sampleNoise', step: 0, firstSample: 0 }, 'cpu')
    const guidance = { scale: 2, ...WHOLE }
    using state = await sampleFlow(model, noise, given, { mode: 'ode', steps: 3, guidance })
    const images = await imagesOf(model, CAPTIONS, { batch: 3, guidance } as Options)
    expectSameBits('images', images, await state.dataAs('f64'))
  })

  const REFUSED: readonly (readonly [string, () => SiT | DiT, Options, string])[] = [
    ['of a model of classes', classModel, {}, 'The model is told classes, and captions were given; give it labels.'],
    [
      'of a DiT',
      () => DiT.create(SIZES, { ...OPTIONS, classes: 4 }),
      { mode: 'ddim' } as Options,
      'The model is told classes, and captions were given; give it labels.',
    ],
    [
      'in a mode of another kind',
      textModel,
      { mode: 'ddim' } as Options,
      'A SiT is sampled in the modes ode and sde, not in ddim.',
    ],
    [
      'beside labels',
      textModel,
      { labels: Int32Array.of(0, 1, 2) } as Options,
      'expected an Int32Array of classes, or `prompts` of a model of text in their place',
    ],
    ['of neither', textModel, { prompts: undefined } as Options, 'expected an Int32Array of classes, or `prompts`'],
    [
      'by what encodes nothing',
      textModel,
      { prompts: { captions: CAPTIONS, encoder: 'clip-vit-L' } } as never,
      'prompts.encoder is "clip-vit-L": expected a caption encoder, as loadCaptionEncoder gives it',
    ],
  ]
  test.each(REFUSED)('refused: %s', async (_, make, options, message) => {
    using model = make()
    await expect(imagesOf(model, CAPTIONS, options)).rejects.toThrow(message)
  })

  test('refused: by an encoder of other states', async () => {
    using model = textModel()
    using encoder = new TableCaptionEncoder({ tokens: 5, width: 12 })
    const images = imagesOf(model, ['a', 'b'], { prompts: { captions: ['a', 'b'], encoder } } as Options)
    await expect(images).rejects.toThrow(
      'The caption encoder table makes 5 hidden states of 12, and the model reads 5 of 20; name the one that it was trained with by `captionEncoder`.',
    )
  })
})

describe('a folder of images of captions', () => {
  const into = async (folder: string, options: Partial<SampleToFolderOptions> = {}, model = textModel()) => {
    using own = model
    using encoder = new TableCaptionEncoder(TEXT)
    const prompts = { captions: ['a  red\nbus', 'a cat', ''], encoder }
    const given = { folder, mode: 'ode', steps: 2, seed: 3, batch: 2, count: 5, prompts, ...options }
    return await sampleToFolder(own, given as SampleToFolderOptions)
  }
  const prompts = (folder: string) => readFileSync(join(folder, 'prompts.txt'), 'utf8')
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

  test('has a line for each image, of its caption, and a record of how many there were', async () => {
    const folder = temporaryFolder()
    const { labels, count } = await into(folder)
    expect([labels, count]).toEqual([[], 5])
    expect(prompts(folder)).toBe('a red bus\na cat\n\na red bus\na cat\n')
    expect((await readSamplingRecord(folder))?.sampling).toEqual({
      mode: 'ode',
      solver: 'euler',
      steps: 2,
      path: 'linear',
      guidanceScale: 1,
      seed: 3,
      classes: null,
      prompts: 3,
      promptsDigest: sha256('["a  red\\nbus","a cat",""]'),
      captionEncoder: 'table',
    })
  })

  test('is the same from two processes', async () => {
    const [whole, shared] = [temporaryFolder(), temporaryFolder()]
    await into(whole)
    // Each begins where the other is done.
    const world = (rank: number) => ({ ...ALONE, rank, size: 2, meet: () => Promise.resolve() })
    await into(shared, { world: world(1) })
    expect(existsSync(join(shared, 'prompts.txt'))).toBe(false)
    await into(shared, { world: world(0) })
    expect(prompts(shared)).toBe(prompts(whole))
    for (const name of ['000000.png', '000003.png', '000004.png']) {
      expect(readFileSync(join(shared, name)), name).toEqual(readFileSync(join(whole, name)))
    }
  })

  test('has no captions of earlier images, where it is of classes now or has failed', async () => {
    const folder = temporaryFolder()
    await into(folder)
    await into(folder, { prompts: undefined, classes: [1] }, classModel())
    expect(existsSync(join(folder, 'prompts.txt'))).toBe(false)
    expect((await readSamplingRecord(folder))?.sampling).toMatchObject({ classes: [1] })
    await into(folder)
    const world = { ...ALONE, meet: () => Promise.reject(new Error('process 1 of 2 has ended.')) }
    await expect(into(folder, { world })).rejects.toThrow('process 1 of 2 has ended.')
    expect(existsSync(join(folder, 'prompts.txt'))).toBe(false)
  })

  const REFUSED: readonly (readonly [string, Partial<SampleToFolderOptions>, () => SiT, string])[] = [
    [
      'without captions',
      { prompts: undefined },
      textModel,
      'The model is told captions, and has no classes; give it prompts.',
    ],
    [
      'by classes',
      { prompts: undefined, classes: [1] },
      textModel,
      'The model is told captions, and has no classes; give it prompts.',
    ],
    [
      'by captions and classes',
      { classes: [1] },
      textModel,
      'The model is told captions, and classes were given too; leave them out.',
    ],
    [
      'by captions, of a model of classes',
      {},
      classModel,
      'The model is told classes, and captions were given; give it classes.',
    ],
    [
      'by no caption',
      { prompts: { captions: [], encoder: { tokenize: () => [] } as never } },
      textModel,
      'There is no caption to sample an image of; give one at least.',
    ],
  ]
  test.each(REFUSED)('is refused %s, and what was there stays', async (_, options, make, message) => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'prompts.txt'), 'a bus\n')
    await expect(into(folder, options, make())).rejects.toThrow(new RangeError(message))
    expect(prompts(folder)).toBe('a bus\n')
  })

  test('replaces that of a sampling whose record is damaged', async () => {
    const folder = temporaryFolder()
    for (const name of ['prompts.txt', 'sampling.json']) writeFileSync(join(folder, name), '{')
    await into(folder)
    expect(prompts(folder)).toBe('a red bus\na cat\n\na red bus\na cat\n')
  })

  test('does not replace a prompts.txt that is of no sampling', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'prompts.txt'), 'a bus\n')
    await expect(into(folder)).rejects.toThrow(
      `${join(folder, 'prompts.txt')} is of no images that were sampled here, and would be replaced; move it, or choose another folder.`,
    )
    expect(prompts(folder)).toBe('a bus\n')
  })
})
