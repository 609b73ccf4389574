import { describe, expect, test, vi } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { KeyedPermutation } from '../../src/data/permutation.ts'
import { type BlockFeaturesOptions, blockFeatures } from '../../src/evaluation/block-features.ts'
import { evaluateCknna } from '../../src/evaluation/cknna.ts'
import { evaluateEncoderProbe } from '../../src/evaluation/encoder-probe.ts'
import { noisyInput } from '../../src/evaluation/noisy-input.ts'
import { evaluateProbe } from '../../src/evaluation/probe.ts'
import {
  cknnaOfPaper,
  cknnaOfPlatonicRep,
  mutualKnn,
  normaliseRows,
  prepareRepresentation,
} from '../../src/evaluation/representation-alignment.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import { native } from '../../src/native.ts'
import { memoryStats, synchronize } from '../../src/tensor/device.ts'
import { normalizeImages } from '../../src/tensor/ops/pixels.ts'
import { takeTokens } from '../../src/tensor/ops/tokens.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { encodeCaptions } from '../../src/text/encoded-captions.ts'
import { classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'
import { expectSameBits } from '../tensor/same-bits.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'

const SIZES = { depth: 3, hidden: 16, heads: 2, patch: 4 }
const TEXT = { tokens: 5, width: 20 } as const
const captionEncoder = new TableCaptionEncoder(TEXT)
const tiny = (
  options: Partial<Pick<SiTOptions, 'classes' | 'classDropout' | 'classTokenWidth' | 'ddtHead' | 'text'>> = {},
) => {
  const model = SiT.create(SIZES, { inputSize: [8, 8], channels: 4, classes: 5, seed: 1, ...options })
  // Blocks of a new model are the identity.
  for (const entry of model.entries) {
    if (!entry.name.includes('adaLN')) continue
    using view = model.arena.view('weights', entry)
    view.write(Float32Array.from({ length: view.elements }, (_, i) => 0.1 * Math.sin(i)))
  }
  return model
}

const common = { path: 'linear', seed: 4, batch: 3 } as const

type HiddenStates = SiT['hiddenStates']

/** The model, but for its hidden states. */
function spied(model: SiT, statesBy: (states: HiddenStates) => HiddenStates): SiT {
  return new Proxy(model, {
    get: (target, key) => {
      if (key === 'hiddenStates') return statesBy((...args) => target.hiddenStates(...args))
      const value = Reflect.get(target, key, target) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** Its class token is the first eight bytes of the image, of 256. */
const byImage: Encoder = {
  ...classTokenEncoder,
  features: (images, [rows, columns]) =>
    scope(() => {
      const pixels = normalizeImages(images, { divisor: 256, mean: [0, 0, 0], std: [1, 1, 1] })
      return takeTokens(
        pixels.reshape([images.shape[0]!, pixels.elements / images.shape[0]! / 8, 8]),
        0,
        1 + rows * columns,
      )
    }),
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

describe('blockFeatures', () => {
  test('come in order, whatever the batch, differ by layer, visit and noise, and leave nothing on the device', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny()
    await synchronize('cpu')
    const before = memoryStats('cpu').liveBytes
    const options = { ...common, model, data, indices: [1, 0, 1, 1], layers: [3, 1] }
    const batches = await all(blockFeatures({ ...options, noise: 0 }))
    expect(batches.map(({ labels }) => [...labels])).toEqual([[4, 0, 4], [4]])
    await synchronize('cpu')
    expect(memoryStats('cpu').liveBytes).toBe(before)

    // Sample 1 came first and third; with moments each visit draws from the posterior anew.
    const [first] = batches[0]!.layers
    expect([...first!.subarray(0, 16)]).not.toEqual([...first!.subarray(32, 48)])
    // The same from scratch: the batch's size does not matter.
    const single = await all(blockFeatures({ ...options, batch: 1, noise: 0 }))
    const joined = (layer: number) => [...single.flatMap(({ layers }) => [...layers[layer]!])]
    const whole = (layer: number) => batches.flatMap(({ layers }) => [...layers[layer]!])
    joined(0).forEach((value, i) => {
      expect(value).toBeCloseTo(whole(0)[i]!, 5)
    })
    expect(whole(0)).not.toEqual(whole(1))
    const noisy = await all(blockFeatures({ ...options, noise: 0.5 }))
    expect([...noisy[0]!.layers[0]!]).not.toEqual([...first!])
  })

  test('levels that are nearest to one 2^-20th have the same noise', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny()
    const nearest = Math.round(0.3 * 2 ** 20)
    const of = async (noise: number) => {
      const [features] = await all(blockFeatures({ ...common, model, data, indices: [0], layers: [1], noise }))
      return [...features!.layers[0]!]
    }
    const [at, on, before] = [await of(0.3), await of(nearest / 2 ** 20), await of((nearest - 1) / 2 ** 20)]
    const apart = (other: readonly number[]) => Math.max(...at.map((value, i) => Math.abs(value - other[i]!)))
    // Levels less than 2^-21 apart move latents, some units from their noise, by 4e-6 at most; other noise by tenths of a unit.
    expect(apart(on)).toBeLessThan(1e-4)
    expect(apart(before)).toBeGreaterThan(1e-2)
  })

  test('the model is told the null class, and its tokens are averaged', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny()
    let shown: Tensor | undefined
    const spy = spied(model, (states) => (x, t, labels, depth, { observe } = {}) => {
      const nulls = Tensor.from(new Int32Array(labels.shape[0]!).fill(5), labels.shape, 'cpu')
      return states(x, t, nulls, depth, {
        observe: (name, tensor) => {
          if (name === 'blocks.1') shown = keep(tensor.alias())
          observe!(name, tensor)
        },
      })
    })
    const options = { ...common, data, indices: [0, 1], layers: [2], noise: 0.3 }
    const [plain] = await all(blockFeatures({ ...options, model }))
    const [seen] = await all(blockFeatures({ ...options, model: spy }))
    expect(seen!.layers).toEqual(plain!.layers)
    using block = shown!
    const tokens = await block.data()
    const [count, length, width] = block.shape as [number, number, number]
    expect([count, length, width]).toEqual([2, 4, 16])
    plain!.layers[0]!.forEach((value, i) => {
      const [sample, d] = [Math.floor(i / width), i % width]
      let sum = 0
      for (let token = 0; token < length; token++) sum += tokens[(sample * length + token) * width + d]!
      expect(value).toBeCloseTo(sum / length, 5)
    })
  })

  test('a model of text is told the empty caption, of each sample', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny({ classes: 0, text: TEXT })
    const told: Tensor[] = []
    const spy = spied(model, (states) => (x, t, condition, ...rest) => {
      told.push(keep(condition.alias()))
      return states(x, t, condition, ...rest)
    })
    const options = { ...common, model: spy, data, captionEncoder, layers: [2], noise: 0.3 }
    await all(blockFeatures({ ...options, indices: [1, 0, 1, 1] }))
    using empty = encodeCaptions(captionEncoder, [''])
    const one = await empty.data()
    for (const [i, count] of [3, 1].entries()) {
      using condition = told[i]!
      expect(condition.shape).toEqual([count, TEXT.tokens, TEXT.width])
      const expected = Float32Array.from({ length: count * one.length }, (_, k) => one[k % one.length]!)
      expectSameBits(`condition of batch ${i}`, await condition.data(), expected)
    }
    expect(told).toHaveLength(2)
  })

  test('a class token is noised as the latents are, and is no part of the average', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny({ classTokenWidth: 8 })
    const shown: { token: Tensor; block: Tensor }[] = []
    const spy = spied(
      model,
      (states) =>
        (x, t, labels, depth, { observe, classToken } = {}) =>
          states(x, t, labels, depth, {
            classToken,
            observe: (name, tensor) => {
              if (name === 'blocks.1') shown.push({ token: keep(classToken!.alias()), block: keep(tensor.alias()) })
              observe!(name, tensor)
            },
          }),
    )
    const options = { ...common, data, layers: [2], classTokenEncoder: byImage }
    const [clean] = await all(blockFeatures({ ...options, model: spy, indices: [0, 1], noise: 0 }))
    const [noisy] = await all(blockFeatures({ ...options, model: spy, indices: [0, 1], noise: 0.25 }))
    const alone = await all(blockFeatures({ ...options, model: spy, indices: [0, 1], noise: 0.25, batch: 1 }))
    const tokens = await Promise.all(shown.map(({ token }) => token.data()))
    const images = await Promise.all([0, 1].map((i) => data.read(i, { image: true, latent: false })))
    expect([...tokens[0]!]).toEqual(
      images.flatMap(({ image }) => Array.from(image!.subarray(0, 8), (byte) => byte / 256)),
    )
    // (1 - t) of it, and t of noise of its own.
    const noise = tokens[1]!.map((value, i) => (value - 0.75 * tokens[0]![i]!) / 0.25)
    expect(new Set(noise.map((value) => Math.round(1e4 * value))).size).toBe(16)
    expect(Math.max(...noise.map(Math.abs))).toBeLessThan(4)
    expect([...tokens[2]!, ...tokens[3]!]).toEqual([...tokens[1]!])
    for (const [k, { layers }] of [clean!, noisy!].entries()) {
      const block = await shown[k]!.block.data()
      expect(shown[k]!.block.shape).toEqual([2, 5, 16])
      layers[0]!.forEach((value, i) => {
        const [sample, d] = [Math.floor(i / 16), i % 16]
        let sum = 0
        for (let token = 1; token < 5; token++) sum += block[(sample * 5 + token) * 16 + d]!
        expect(value).toBeCloseTo(sum / 4, 5)
      })
    }
    const joined = alone.flatMap(({ layers }) => [...layers[0]!])
    for (const [i, value] of joined.entries()) expect(value).toBeCloseTo(noisy!.layers[0]![i]!, 5)
    for (const { token, block } of shown) for (const tensor of [token, block]) tensor.dispose()
  })

  test.each<{ name: string; options: Parameters<typeof tiny>[0]; given?: Partial<BlockFeaturesOptions> }>([
    { name: 'classes', options: {} },
    { name: 'classes with a wide head', options: { ddtHead: { depth: 1, hidden: 16, heads: 2 } } },
    { name: 'a class token', options: { classTokenWidth: 8 }, given: { classTokenEncoder: byImage } },
    { name: 'text', options: { classes: 0, text: TEXT }, given: { captionEncoder } },
  ])('a model of $name runs no block behind the deepest that is looked at', async ({ options, given }) => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny(options)
    const shared = { ...common, ...given, data, indices: [0, 1], noise: 0.3 }
    for (const layers of [[1], [2, 1], [3]]) {
      const seen = new Set<string>()
      const watched = spied(
        model,
        (states) =>
          (x, t, condition, depth, { classToken, observe } = {}) =>
            states(x, t, condition, depth, {
              classToken,
              observe: (name, tensor) => {
                if (/^(blocks\.\d+|final_layer)$/.test(name)) seen.add(name)
                observe!(name, tensor)
              },
            }),
      )
      const whole = spied(model, () => (x, t, condition, _, shown) => model.forward(x, t, condition, shown).prediction)
      const [found] = await all(blockFeatures({ ...shared, model: watched, layers }))
      const [expected] = await all(blockFeatures({ ...shared, model: whole, layers }))
      expect([...seen]).toEqual(Array.from({ length: Math.max(...layers) }, (_, i) => `blocks.${i}`))
      expect(found).toEqual(expected)
    }
  })

  test.each([
    [{ layers: [4] }, {}, 'There is no layer 4; the model has the blocks 1 to 3.'],
    [{}, { classDropout: 0 }, 'has no null class'],
    [
      {},
      { classTokenWidth: 8 },
      "denoises an encoder's class token of 8 numbers along (REG), without which its blocks",
    ],
    [{ classTokenEncoder: constantEncoder }, { classTokenWidth: 8 }, 'and constant has none behind a final norm; name'],
    [{ classTokenEncoder }, { classTokenWidth: 6 }, 'and constant has one of 8; name the encoder that it was trained'],
    [{ classTokenEncoder }, {}, 'The model denoises no class token; leave out the encoder constant'],
    [{}, { classes: 0, text: TEXT }, 'The model is told captions; give what encodes them, by `captionEncoder`.'],
    [{ captionEncoder }, {}, 'The model is told classes; leave out the caption encoder table.'],
  ])('refuses %o of a model with %o', async (changes, modelOptions, message) => {
    const data = await Dataset.open(await tinyDataset())
    using model = tiny(modelOptions)
    const features = blockFeatures({ ...common, model, data, indices: [0], layers: [1], noise: 0, ...changes })
    await expect(features.next()).rejects.toThrow(message)
  })
})

test('evaluateProbe has a point for every layer and noise level', async () => {
  const data = await Dataset.open(await tinyDataset())
  using model = tiny()
  const schedule = { epochs: 2, batch: 2 }
  const progress: string[] = []
  const result = await evaluateProbe({
    ...common,
    model,
    data,
    test: data,
    noise: [0, 0.5],
    layers: [1, 3],
    schedule,
    onProgress: (stage, noise, done, total) => progress.push(`${stage} ${noise}: ${done}/${total}`),
  })
  // Each stage from its start, so that whoever shows it knows when that was.
  expect(progress.slice(0, 6)).toEqual([
    'features 0: 0/4',
    'features 0: 2/4',
    'features 0: 4/4',
    'probes 0: 0/2',
    'probes 0: 1/2',
    'probes 0: 2/2',
  ])
  expect(result.points.map(({ layer, noise }) => [layer, noise])).toEqual([
    [1, 0],
    [3, 0],
    [1, 0.5],
    [3, 0.5],
  ])
  expect(result).toMatchObject({
    kind: 'probe',
    trainImages: 2,
    testImages: 2,
    schedule: { epochs: 2, learningRate: 1e-3 },
  })
  for (const { accuracy } of result.points) expect([0, 0.5, 1]).toContain(accuracy)
})

test('features for which there is no memory are refused before the first of them', async () => {
  const data = await Dataset.open(await tinyDataset(10))
  using model = tiny()
  const addon = native()
  const { memoryStats } = addon
  // Two layers of 16 numbers of 8 images to train on, twice on the CPU, and 2 to test on.
  const bytes = 4 * 16 * 2 * (8 + 8 + 2)
  const limited = (limitBytes: number) =>
    vi.spyOn(addon, 'memoryStats').mockImplementation((device) => ({ ...memoryStats(device), limitBytes }))
  const options = { ...common, model, data, layers: [1, 2], schedule: { epochs: 1 } }
  using less = limited(bytes - 1)
  await expect(evaluateProbe(options)).rejects.toThrow(
    'The features of 10 images in 2 layers take 2.3 KiB, more than the 2.2 KiB of memory here: look at fewer layers at a time, or at fewer images.',
  )
  less.mockRestore()
  using _ = limited(bytes)
  await evaluateProbe(options)
})

test('features that are not finite are no features', async () => {
  const data = await Dataset.open(await tinyDataset(4))
  using model = tiny()
  const broken = model.entries.find(({ name }) => name === 'blocks.1.mlp.fc2.bias')!
  using view = model.arena.view('weights', broken)
  view.write(Float32Array.from({ length: view.elements }, (_, i) => (i === 3 ? Number.NaN : 0)))
  const message =
    "A feature of layer 2 at noise level 0.5, for image 0 of those looked at (from 0), is NaN; check the model's weights."
  const options = { ...common, model, data, noise: [0.5] }
  await expect(evaluateProbe({ ...options, layers: [1, 2] })).rejects.toThrow(message)
  await expect(evaluateCknna({ ...options, encoder: constantEncoder, neighbours: 1 })).rejects.toThrow(message)
  const nan: Encoder = {
    ...constantEncoder,
    features: (images, [rows, columns]) => Tensor.full([images.shape[0]!, rows * columns, 8], Number.NaN, 'cpu'),
  }
  const ofEncoder = { encoder: nan, data, seed: 1, batch: 2, device: 'cpu' } as const
  await expect(evaluateEncoderProbe(ofEncoder)).rejects.toThrow(
    'A feature of the encoder constant, for image 0 of those looked at (from 0), is NaN; check its weights.',
  )
})

test('neighbours among features that are all the same are nobody', async () => {
  const data = await Dataset.open(await tinyDataset(6))
  using model = tiny()
  await expect(
    evaluateCknna({ ...common, model, data, encoder: constantEncoder, neighbours: 2, layers: [1] }),
  ).rejects.toThrow('The features of the encoder constant are the same for every image: there are no neighbours.')
})

test('evaluateCknna compares features of unit length by each formula under its own name', async () => {
  const [count, neighbours] = [12, 3]
  const data = await Dataset.open(await tinyDataset(count))
  using model = tiny()
  // Of very different lengths: without being divided by them the longest would be everybody's neighbours.
  const given = Float32Array.from(random([count, 8], 7).data, (value, i) => value * (1 + 3 * Math.floor(i / 8)))
  let seen = 0
  const encoder: Encoder = {
    ...constantEncoder,
    features: (images, [rows, columns]) => {
      const [batch, tokens] = [images.shape[0]!, rows * columns]
      const own = Float32Array.from({ length: batch * tokens * 8 }, (_, i) => {
        const image = seen + Math.floor(i / (tokens * 8))
        return given[image * 8 + (i % 8)]!
      })
      seen += batch
      return Tensor.from(own, [batch, tokens, 8], 'cpu')
    },
  }
  const options = { ...common, model, data, neighbours, layers: [1, 3] }
  const { points, images } = await evaluateCknna({ ...options, encoder, noise: [0.5] })
  expect(images).toBe(count)
  const prepared = (values: Float32Array) =>
    prepareRepresentation(
      normaliseRows({ values: Float64Array.from(values), count, width: values.length / count }),
      neighbours,
    )
  // The images in the order that the seed draws.
  const order = new KeyedPermutation(count, common.seed, 2 ** 40 + 1)
  const indices = Array.from({ length: count }, (_, i) => order.at(i))
  const batches = await all(blockFeatures({ ...options, indices, noise: 0.5 }))
  const target = await prepared(given)
  for (const [i, point] of points.entries()) {
    const own = await prepared(Float32Array.from(batches.flatMap(({ layers }) => [...layers[i]!])))
    expect(point.layer).toBe([1, 3][i])
    expect(point.noise).toBe(0.5)
    // The encoder's features are means of equal tokens: right to a few roundings of float32, as are these.
    expect(point.cknna).toBeCloseTo(cknnaOfPaper(own, target), 5)
    expect(point.platonicCknna).toBeCloseTo(cknnaOfPlatonicRep(own, target), 5)
    expect(point.mutualKnn).toBe(mutualKnn(own.neighbours, target.neighbours))
    expect(Math.abs(point.cknna - point.platonicCknna)).toBeGreaterThan(0.01)
  }
})

test('evaluateCknna can be stopped between two layers', async () => {
  const data = await Dataset.open(await tinyDataset(6))
  using model = tiny()
  const encoder: Encoder = {
    ...constantEncoder,
    features: (images, [rows, columns]) => {
      const shape = [images.shape[0]!, rows * columns, 8]
      return Tensor.from(
        Float32Array.from({ length: shape[0]! * shape[1]! * 8 }, (_, i) => Math.sin(i ** 2)),
        shape,
        'cpu',
      )
    },
  }
  const stop = new AbortController()
  const onProgress = (_: number, done: number, total: number) => {
    if (done === total) stop.abort(new Error('stopped'))
  }
  const options = { ...common, model, data, encoder, neighbours: 2, signal: stop.signal, onProgress }
  await expect(evaluateCknna(options)).rejects.toThrow('stopped')
})

test("what is left out is the paper's: a probe's schedule, and CKNNA's images", async () => {
  const data = await Dataset.open(await tinyDataset())
  using model = tiny()
  const { schedule } = await evaluateProbe({ ...common, model, data, test: data, layers: [1] })
  expect(schedule).toEqual({ epochs: 90, batch: 16_384, learningRate: 1e-3 })
  const many = new Proxy(data, {
    get: (target, key) => (key === 'length' ? 12_000 : (Reflect.get(target, key, target) as unknown)),
  })
  const onProgress = (_: number, __: number, total: number) => {
    throw new Error(`asked for ${total} images`)
  }
  await expect(evaluateCknna({ ...common, model, data: many, encoder: constantEncoder, onProgress })).rejects.toThrow(
    'asked for 10000 images',
  )
})

test.each([
  [2, 10],
  [5, 3],
])('evaluateCknna says that %d images are too few for %d neighbours', async (images, neighbours) => {
  const data = await Dataset.open(await tinyDataset(images))
  using model = tiny()
  await expect(evaluateCknna({ ...common, model, data, encoder: constantEncoder, neighbours })).rejects.toThrow(
    `${images} images are too few for ${neighbours} neighbours of each`,
  )
})

describe('noisyInput', () => {
  const clean = Float32Array.from({ length: 8 }, (_, i) => i - 3)
  const noise = Float32Array.from({ length: 8 }, (_, i) => Math.cos(i))
  const sizes = { inputSize: [2, 2] as [number, number], channels: 1, classes: 3 }
  const size = { depth: 1, hidden: 8, heads: 1, patch: 2 }
  /** √ᾱ of DiT's step 500: β from 1e-4 to 0.02 over 1000 steps. */
  const signal = Math.sqrt(
    Array.from({ length: 501 }, (_, i) => 1 - (1e-4 + (i * (0.02 - 1e-4)) / 999)).reduce((a, b) => a * b, 1),
  )

  test.each([
    { name: 'SiT of REPA', make: () => SiT.create(size, sizes), level: 0.25, t: 0.25, alpha: 0.75, sigma: 0.25 },
    {
      name: 'the original SiT, whose time runs backwards',
      make: () => SiT.create(size, { ...sizes, convention: 'sit' }),
      level: 0.25,
      t: 0.75,
      alpha: 0.75,
      sigma: 0.25,
    },
    {
      name: 'DiT, by the nearest of its steps',
      make: () => DiT.create(size, sizes),
      level: 499.6 / 999,
      t: 500,
      alpha: signal,
      sigma: Math.sqrt(1 - signal ** 2),
    },
  ])('of $name', async ({ make, level, t, alpha, sigma }) => {
    using model = make()
    using x = Tensor.from(clean, [2, 1, 2, 2], 'cpu')
    using e = Tensor.from(noise, [2, 1, 2, 2], 'cpu')
    const made = scope(() => noisyInput(model, x, e, level, 'linear'))
    using input = made.x
    using time = made.t
    expect([...(await time.data())]).toEqual([t, t])
    const actual = await input.data()
    actual.forEach((value, i) => {
      expect(value).toBeCloseTo(alpha * clean[i]! + sigma * noise[i]!, 5)
    })
  })
})
