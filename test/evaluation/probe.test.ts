import { expect, test } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { blockFeatures } from '../../src/evaluation/block-features.ts'
import { evaluateEncoderProbe } from '../../src/evaluation/encoder-probe.ts'
import { type ProbeSet, trainProbes } from '../../src/evaluation/linear-probe.ts'
import { evaluateProbe, probeSplit } from '../../src/evaluation/probe.ts'
import { SiT } from '../../src/models/sit.ts'
import { normalizeImages } from '../../src/tensor/ops/pixels.ts'
import { takeTokens } from '../../src/tensor/ops/tokens.ts'
import { scope } from '../../src/tensor/scope.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'

const COUNT = 12
/** What it does not divide the images into: the last batch is a part of one. */
const BATCH = 5
const SEED = 4
/** So few steps that not all is classified rightly, which sets of something else could be too. */
const schedule = { epochs: 4, batch: 4, learningRate: 0.03 } as const

const labelsOf = (data: Dataset, indices: Int32Array) => Int32Array.from(indices, (index) => data.labels[index]!)

test("a model's probes have every image with its own label, and other noise where they are tested", async () => {
  const data = await Dataset.open(await tinyDataset(COUNT))
  using model = SiT.create(
    { depth: 2, hidden: 16, heads: 2, patch: 4 },
    { inputSize: [8, 8], channels: 4, classes: data.classes },
  )
  const weights = model.arena.array('weights')
  weights.write(Float32Array.from({ length: weights.elements }, (_, i) => Math.sin(i * i) / 5))
  const common = { model, data, layers: [1, 2], path: 'linear', batch: BATCH } as const
  const noise = [0.1, 0.6]
  const { points } = await evaluateProbe({ ...common, test: data, noise, seed: SEED, schedule })
  const parts = probeSplit({ data, test: data, seed: SEED })
  const setOf = async (indices: Int32Array, level: number, seed: number): Promise<ProbeSet> => {
    const layers: number[][] = [[], []]
    for await (const part of blockFeatures({ ...common, indices, noise: level, seed })) {
      for (const [i, values] of part.layers.entries()) layers[i]!.push(...values)
    }
    return { layers: layers.map((values) => Float32Array.from(values)), labels: labelsOf(data, indices), width: 16 }
  }
  const expected = []
  for (const level of noise) {
    const sets = { train: await setOf(parts.train, level, SEED), test: await setOf(parts.test, level, SEED + 1) }
    const found = await trainProbes({ ...sets, classes: data.classes, schedule, seed: SEED, device: 'cpu' })
    expected.push(...found.map((accuracy, i) => ({ layer: i + 1, noise: level, ...accuracy })))
  }
  expect(points).toEqual(expected)
})

test("an encoder's probe has the mean of every image's tokens", async () => {
  const [tokens, width] = [4, 8]
  const data = await Dataset.open(await tinyDataset(COUNT))
  // The image's first bytes, of 256: their means are exact.
  const encoder: Encoder = {
    ...constantEncoder,
    width,
    grid: [2, 2],
    features: (images) =>
      scope(() => {
        const pixels = normalizeImages(images, { divisor: 256, mean: [0, 0, 0], std: [1, 1, 1] })
        const count = images.shape[0]!
        return takeTokens(pixels.reshape([count, pixels.elements / count / width, width]), 0, tokens)
      }),
  }
  const options = { data, test: data, seed: SEED, schedule }
  const { accuracy, trainAccuracy } = await evaluateEncoderProbe({ ...options, encoder, batch: BATCH, device: 'cpu' })
  const setOf = async (indices: Int32Array): Promise<ProbeSet> => {
    const pooled = new Float32Array(indices.length * width)
    for (const [i, index] of indices.entries()) {
      const { image } = await data.read(index, { image: true, latent: false })
      for (let k = 0; k < tokens * width; k++) pooled[i * width + (k % width)]! += image![k]! / 256 / tokens
    }
    return { layers: [pooled], labels: labelsOf(data, indices), width }
  }
  const parts = probeSplit({ data, test: data, seed: SEED })
  const sets = { train: await setOf(parts.train), test: await setOf(parts.test) }
  const expected = await trainProbes({ ...sets, classes: data.classes, schedule, seed: SEED, device: 'cpu' })
  expect([{ accuracy, trainAccuracy }]).toEqual(expected)
})
