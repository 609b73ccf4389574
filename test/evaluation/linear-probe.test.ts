import { describe, expect, test, vi } from 'vitest'
import { KeyedPermutation } from '../../src/data/permutation.ts'
import { type ProbeSet, trainProbes } from '../../src/evaluation/linear-probe.ts'
import { native } from '../../src/native.ts'
import { fillNormal } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
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

/** Probes as the paper has them, in plain float64: predictions of the test features, with how far the best logit is above the next. */
async function reference(
  { train, test: tested }: { train: ProbeSet; test: ProbeSet },
  { epochs, batch, learningRate }: { epochs: number; batch: number; learningRate: number },
  seed: number,
): Promise<{ right: boolean; margin: number }[]> {
  using drawn = Tensor.empty([CLASSES, WIDTH], 'cpu')
  fillNormal(drawn, 0.01, { seed, stream: 'initialisation', step: 0 })
  // The weights, and behind them the biases.
  const w = Float64Array.from([...(await drawn.data()), 0, 0, 0])
  const [m, v] = [new Float64Array(w.length), new Float64Array(w.length)]
  const rowsOf = (x: Float32Array, rows: readonly number[]) =>
    rows.map((row) => Array.from(x.subarray(row * WIDTH, (row + 1) * WIDTH)))
  const moments = (rows: readonly (readonly number[])[]) =>
    Array.from({ length: WIDTH }, (_, d) => {
      const mean = rows.reduce((sum, row) => sum + row[d]!, 0) / rows.length
      const variance = rows.reduce((sum, row) => sum + (row[d]! - mean) ** 2, 0) / rows.length
      return { mean, deviation: Math.sqrt(variance + 1e-6) }
    })
  const normalised = (rows: readonly (readonly number[])[], by: ReturnType<typeof moments>) =>
    rows.map((row) => row.map((value, d) => (value - by[d]!.mean) / by[d]!.deviation))
  const logitsOf = (row: readonly number[]) =>
    Array.from({ length: CLASSES }, (_, k) =>
      row.reduce((sum, value, d) => sum + value * w[k * WIDTH + d]!, w[CLASSES * WIDTH + k]!),
    )
  const count = train.labels.length
  const perEpoch = Math.floor(count / batch)
  for (let step = 0; step < epochs * perEpoch; step++) {
    const order = new KeyedPermutation(count, seed, Math.floor(step / perEpoch))
    const rows = Array.from({ length: batch }, (_, i) => order.at((step % perEpoch) * batch + i))
    const raw = rowsOf(train.layers[0]!, rows)
    const gradient = new Float64Array(w.length)
    normalised(raw, moments(raw)).forEach((row, i) => {
      const exponentials = logitsOf(row).map(Math.exp)
      const total = exponentials.reduce((sum, value) => sum + value, 0)
      exponentials.forEach((value, k) => {
        const error = (value / total - Number(train.labels[rows[i]!] === k)) / batch
        for (let d = 0; d < WIDTH; d++) gradient[k * WIDTH + d]! += error * row[d]!
        gradient[CLASSES * WIDTH + k]! += error
      })
    })
    const rate = (learningRate * (1 + Math.cos((Math.PI * step) / (epochs * perEpoch)))) / 2
    gradient.forEach((g, i) => {
      m[i] = 0.9 * m[i]! + 0.1 * g
      v[i] = 0.999 * v[i]! + 0.001 * g * g
      w[i]! -= (rate * (m[i]! / (1 - 0.9 ** (step + 1)))) / (Math.sqrt(v[i]! / (1 - 0.999 ** (step + 1))) + 1e-8)
    })
  }
  const all = rowsOf(train.layers[0]!, [...train.labels.keys()])
  return normalised(rowsOf(tested.layers[0]!, [...tested.labels.keys()]), moments(all)).map((row, i) => {
    const logits = logitsOf(row)
    const [best, next] = [...logits].sort((a, b) => b - a) as [number, number]
    return { right: logits.indexOf(best) === tested.labels[i], margin: best - next }
  })
}

/** As `set`, of one layer that knows the class of some. */
function overlapping(count: number, seed: number): ProbeSet {
  const { layers, labels, width } = set(count, seed)
  const mixed = layers[0]!.map((value, i) => value / 900 + 0.8 * layers[1]![i]!)
  return { layers: [mixed], labels, width }
}

describe('trainProbes', () => {
  // So few steps that none of it may be wrong: the start, the batches, their statistics, the rates of the schedule, Adam's corrections.
  test.each([
    { epochs: 12, batch: 600, learningRate: 0.003 },
    { epochs: 2, batch: 64, learningRate: 0.003 },
  ])('classifies as a float64 probe does: $epochs epochs in batches of $batch', async (schedule) => {
    const sets = { train: overlapping(600, 1), test: overlapping(300, 2) }
    const [probe] = await trainProbes({ ...sets, classes: CLASSES, device: 'cpu', seed: 3, schedule })
    const expected = await reference(sets, schedule, 3)
    // Logits are sums of a few numbers of about 1, the weights' of some dozens of steps: where the two best are so close, either may win.
    const close = expected.filter(({ margin }) => margin < 1e-5).length
    expect(close).toBeLessThan(3)
    const right = expected.filter(({ right }) => right).length
    expect(Math.abs(probe!.accuracy * 300 - right)).toBeLessThanOrEqual(close)
    // Neither chance nor all: of most rows it is told apart what they are taken for.
    expect(right).toBeGreaterThan(120)
    expect(right).toBeLessThan(280)
  })

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

  test('the training accuracy is that of the training features', async () => {
    const schedule = { epochs: 2, batch: 64, learningRate: 0.003 }
    const [train, test] = [overlapping(600, 1), overlapping(300, 2)]
    const [[probe], [tested]] = await Promise.all(
      [test, train].map((test) => trainProbes({ ...options, train, test, schedule })),
    )
    expect(probe!.trainAccuracy).toBe(tested!.accuracy)
    expect(probe!.trainAccuracy).not.toBe(probe!.accuracy)
  })

  test('rows behind those that are classified at a time are held to their own labels', async () => {
    const schedule = { epochs: 2, batch: 64, learningRate: 0.003 }
    const [train, few] = [overlapping(600, 1), overlapping(300, 2)]
    const repeated = (values: ArrayLike<number>) =>
      Array.from({ length: 28 * values.length }, (_, i) => values[i % values.length]!)
    const many = {
      ...few,
      layers: few.layers.map((values) => Float32Array.from(repeated(values))),
      labels: Int32Array.from(repeated(few.labels)),
    }
    const [one, all] = await Promise.all(
      [few, many].map((test) => trainProbes({ ...options, train, test, schedule }).then(([probe]) => probe!)),
    )
    expect(all).toEqual(one)
  })

  test('goes through all training features for their statistics once a layer, however many rows are classified', async () => {
    // More than are classified at a time, of both sets.
    const [count, batch] = [20_000, 5000]
    const rows: number[] = []
    const addon = native()
    const { groupNormCoefficients } = addon
    using _spy = vi.spyOn(addon, 'groupNormCoefficients').mockImplementation((x, ...rest) => {
      rows.push(addon.shapeOf(x)[1]!)
      return groupNormCoefficients(x, ...rest)
    })
    const schedule = { epochs: 1, batch, learningRate: 0.01 }
    await trainProbes({ ...options, train: set(count, 1), test: set(count, 2), schedule })
    // Two layers: each step's batch, and everything after the last.
    expect(rows).toEqual([...Array(2 * (count / batch)).fill(batch), count, count])
  })
})
