import { describe, expect, test } from 'vitest'
import { type ProbeSet, trainProbes } from '../../src/evaluation/linear-probe.ts'
import { random } from '../reference/array.ts'

const CLASSES = 3
const WIDTH = 6

/** Features of which the first layer knows the class and the second does not. Large and off centre: batch normalisation's to undo. */
function set(count: number, seed: number): ProbeSet {
  const labels = Int32Array.from({ length: count }, (_, i) => (i * 7 + seed) % CLASSES)
  const noise = random([count, WIDTH], seed).data
  const other = random([count, WIDTH], seed + 100).data
  const knows = Float32Array.from(noise, (value, i) => {
    const isMark = i % WIDTH === labels[Math.floor(i / WIDTH)]
    return 5000 + 900 * (0.3 * value + (isMark ? 1 : 0))
  })
  return { layers: [knows, Float32Array.from(other)], labels, width: WIDTH }
}

describe('trainProbes', () => {
  const options = { train: set(600, 1), test: set(300, 2), classes: CLASSES, device: 'cpu', seed: 3 }

  test('finds the classes in the features that know them and guesses in those that do not', async () => {
    const epochs: number[] = []
    const schedule = { epochs: 60, batch: 64, learningRate: 0.02 }
    const [knows, guesses] = await trainProbes({ ...options, schedule, onEpoch: (epoch) => epochs.push(epoch) })
    expect(epochs).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    expect(knows!.accuracy).toBeGreaterThan(0.97)
    // 300 guesses of a third: four standard deviations of 0.027.
    expect(Math.abs(guesses!.accuracy - 1 / 3)).toBeLessThan(0.11)
  })

  test('a batch is at most the training set, and the same seed gives the same numbers', async () => {
    const schedule = { epochs: 5, batch: 16_384, learningRate: 0.01 }
    const [first, second] = [await trainProbes({ ...options, schedule }), await trainProbes({ ...options, schedule })]
    expect(second).toEqual(first)
  })
})
