import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { drawNegatives } from '../../src/training/contrastive-flow.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { fromValues, type NdArray, random } from '../reference/array.ts'
import { interpolant } from '../reference/interpolant.ts'
import { velocityLoss } from '../reference/velocity-loss.ts'

describe('the negatives', () => {
  test.each([2, 3, 8, 256])('of a batch of %d are other samples, drawn by seed and step alone', (batch) => {
    const drawn = Array.from({ length: 50 }, (_, step) => drawNegatives(batch, 7, step))
    for (const [step, places] of drawn.entries()) {
      expect(places).toHaveLength(batch)
      for (const [sample, place] of places.entries()) {
        expect(place).not.toBe(sample)
        expect(place).toBeGreaterThanOrEqual(0)
        expect(place).toBeLessThan(batch)
      }
      expect(drawNegatives(batch, 7, step)).toEqual(places)
    }
    if (batch === 2) return
    expect(new Set(drawn.map((places) => places.join())).size).toBeGreaterThan(1)
    expect(drawNegatives(batch, 8, 3).join() + drawNegatives(batch, 8, 4).join()).not.toBe(
      drawn[3]!.join() + drawn[4]!.join(),
    )
  })

  test('are any of the others with the same probability', () => {
    const [batch, steps] = [5, 4000]
    const counts = new Float64Array(batch)
    for (let step = 0; step < steps; step++) counts[drawNegatives(batch, 0, step)[2]!]!++
    const chance = 1 / (batch - 1)
    const deviation = Math.sqrt(steps * chance * (1 - chance))
    for (const place of [0, 1, 3, 4]) expect(Math.abs(counts[place]! - steps * chance)).toBeLessThan(5 * deviation)
  })
})

const SHAPE = [3, 2, 4, 6]
const TIMES = [0.1, 0.5, 0.9]
const given = () => ({ latents: random(SHAPE, 1), noise: random(SHAPE, 2), t: fromValues([3], TIMES) })
const onCpu = ({ data, shape }: NdArray) => Tensor.from(Float32Array.from(data), shape, 'cpu')

describe.each(['linear', 'cosine'] as const)('on the path %s', (path) => {
  test.each(['repa', 'sit'] as const)('a model of the convention %s is to predict', async (convention) => {
    const { latents, noise, t } = given()
    const sign = convention === 'repa' ? 1 : -1
    const expected = interpolant(latents, noise, t, path).target.data.map((value) => sign * value)
    const batch = { latents: onCpu(latents), noise: onCpu(noise), t: onCpu(t) }
    using velocities = new SiTObjective({ path, convention }).velocities(batch)
    expect(velocities.shape).toEqual(SHAPE)
    for (const [i, value] of (await velocities.data()).entries()) {
      // Two products, of numbers of about 5 at most, and their sum.
      expect(Math.abs(value - expected[i]!)).toBeLessThan(3 * 5 * 2 ** -23)
    }
    for (const tensor of Object.values(batch)) tensor.dispose()
  })
})

test('the loss is the mean squared distance of the prediction from the negatives', async () => {
  using model = SiT.create({ depth: 1, hidden: 16, heads: 2, patch: 2 }, { inputSize: [4, 6], channels: 2, classes: 4 })
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
  model.arena.allocateGradients()
  const { latents, noise, t } = given()
  const negatives = random(SHAPE, 5)
  const batch = {
    latents: onCpu(latents),
    noise: onCpu(noise),
    t: onCpu(t),
    condition: Tensor.from(Int32Array.from([0, 4, 2]), [3], 'cpu'),
    negatives: onCpu(negatives),
  }
  let predicted: Promise<Float32Array> | undefined
  const losses = forwardBackward(
    model,
    { ...batch, targets: [] },
    {
      objective: new SiTObjective(),
      alignWeight: 0,
      contrastiveWeight: 0.05,
      observe(name, tensor) {
        if (name === 'prediction') predicted = tensor.data()
      },
    },
  )
  const prediction = fromValues(SHAPE, Float64Array.from(await predicted!))
  const { perSample } = velocityLoss(prediction, negatives)
  for (const [i, value] of (await losses.contrastive!.data()).entries()) {
    // Of each difference, and of the mean.
    expect(Math.abs(value / perSample.data[i]! - 1)).toBeLessThan(4 * 2 ** -24)
  }
  for (const tensor of [...Object.values(batch), ...Object.values(losses)]) tensor?.dispose()
})

test.each([
  [DiT, 2, 'Contrastive flow matching contrasts velocities, and a DiT predicts noise; it is for SiT models.'],
  [
    SiT,
    1,
    'Contrastive flow matching contrasts a sample with another of its batch, and a batch of 1 has none; take 2 at least.',
  ],
])('is refused where it makes no sense', async (kind, batch, message) => {
  const data = await Dataset.open(await tinyDataset())
  using model = kind.create({ depth: 2, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 5 })
  expect(() => new Trainer({ model, data, batch, contrast: { weight: 0.05 } })).toThrow(message)
})
