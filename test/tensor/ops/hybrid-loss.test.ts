import { describe, expect, test } from 'vitest'
import { gaussianDiffusion } from '../../../src/diffusion/gaussian-diffusion.ts'
import { hybridLossTable } from '../../../src/diffusion/hybrid-loss-table.ts'
import type { Device } from '../../../src/tensor/device.ts'
import type { ComputeDType } from '../../../src/tensor/dtype.ts'
import { hybridLoss } from '../../../src/tensor/ops/loss.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { STATE_BYTES } from '../../../src/training/optimizer.ts'
import { fromValues, map, type NdArray, random, roundTo } from '../../reference/array.ts'
import * as reference from '../../reference/hybrid-loss.ts'
import { DEVICES } from '../devices.ts'
import { narrowTensor, narrowValues } from '../narrow.ts'
import { expectRounded, largestOf } from '../rounding.ts'

const DIFFUSION = gaussianDiffusion()
const LOSS_SCALE = 4096

interface HybridCase {
  readonly name: string
  readonly inputs: reference.HybridLossInputs
  readonly weights: reference.HybridLossWeights
}

/** Inputs [B, C, ...] at these steps; the prediction's error is of `error`'s size, which step 0 bears only small. */
function hybridCase(
  shape: readonly number[],
  t: readonly number[],
  options: {
    error?: number
    predicts?: 'epsilon' | 'x-start'
    v?: number
    weights?: Partial<reference.HybridLossWeights>
  } = {},
): HybridCase {
  const { error = 1, predicts = 'epsilon', v = 1.5, weights = {} } = options
  const [batch, channels, ...rest] = shape
  const [noise, x0] = [random(shape, 2), random(shape, 3)]
  // Beyond the last grey levels on either side.
  x0.data.set([1, -1, Math.fround(0.9995)].slice(0, x0.data.length))
  const target = predicts === 'epsilon' ? noise : x0
  const size = noise.data.length / batch
  const errors = random(shape, 1, error)
  const prediction = map(random([batch, 2 * channels, ...rest], 4, v), (value, i) => {
    const [sample, place] = [Math.floor(i / (2 * size)), i % (2 * size)]
    const at = sample * size + place
    return place < size ? Math.fround(target.data[at] + errors.data[at]) : value
  })
  const settings = Object.entries(weights).map(([name, value]) => `, ${name} ${value}`)
  return {
    name: `[${shape}] at ${t}${predicts === 'epsilon' ? '' : ` of ${predicts}`}${settings.join('')}`,
    inputs: { prediction, noise, x0, t, predicts },
    weights: { mse: 1, vb: 1, throughMean: false, ...weights },
  }
}

const CASES: readonly HybridCase[] = [
  hybridCase([1, 1, 1], [700]),
  hybridCase([3, 4, 3, 5], [1, 2, 5]),
  hybridCase([2, 4, 8, 8], [40, 999], { weights: { mse: 0.5, vb: 2 } }),
  hybridCase([1, 3, 11, 31], [250], { weights: { throughMean: true } }),
  hybridCase([1, 2, 12_345], [600], { predicts: 'x-start', weights: { mse: 0, vb: 1000, throughMean: true } }),
  // The log-variance far beyond its bounds, where the series of the exponential is left.
  hybridCase([2, 3, 40], [1, 3], { v: 12 }),
  hybridCase([1, 1, 1], [0], { error: 0.3 }),
  hybridCase([2, 4, 5, 7], [0, 0], { error: 0.5, weights: { mse: 0.25, throughMean: true } }),
  hybridCase([1, 1, 301], [0], { error: 0.004, predicts: 'x-start' }),
]

for (const { device, missing } of DEVICES) {
  const dtypes: readonly ComputeDType[] = device === 'cpu' ? ['f32'] : ['f32', 'bf16', 'f16']
  describe.skipIf(missing).each(dtypes)(`hybridLoss on ${device} in %s`, (dtype) => {
    test.each(CASES)('$name', async ({ inputs, weights }) => {
      const rounded = { ...inputs, prediction: map(inputs.prediction, (value) => roundTo(dtype, value)) }
      const { mse, vb, gradient } = await run(rounded, weights, device, dtype)
      const exact = reference.hybridLoss(rounded, DIFFUSION)
      // A sample's sum runs in double; of a term, the error is rounded before it is squared, and the exponent's series errs by 2 ulp.
      expectRounded('mse', mse, exact.mse, { roundings: 3, scale: largestOf(exact.mse) })
      expectRounded('vb', vb, exact.vb, { roundings: 16, scale: largestOf(exact.vb) })
      const expected = reference.hybridLossBackward(rounded, DIFFUSION, weights)
      for (const half of [0, 1]) {
        const part = (a: NdArray) => halfOf(a, half, inputs.t.length)
        const scaled = map(part(expected), (value) => LOSS_SCALE * value)
        // The gradient by v is a difference of the two parts of the divergence; each is at most four times what is left of the largest.
        // Below 2^-14 the numbers of float16 are 2^-24 apart, which is half an ulp of float32 at 1.
        const bound = { roundings: 16, scale: 4 * largestOf(scaled) + (dtype === 'f16' ? 1 / 16 : 0) }
        expectRounded(`gradient, half ${half}`, part(gradient), scaled, bound, dtype, dtype)
      }
    })

    test('without a tape, the same losses', async () => {
      const { inputs, weights } = CASES[1]!
      const { mse, vb } = await run(inputs, weights, device, dtype)
      const plain = await run(inputs, weights, device, dtype, false)
      if (dtype === 'f32') expect([plain.mse, plain.vb]).toEqual([mse, vb])
    })

    test.each([
      ['NaN', 5, Number.NaN],
      ['NaN', 0, Number.NaN],
      ['infinite', 0, Number.POSITIVE_INFINITY],
      ['minus infinite', 0, Number.NEGATIVE_INFINITY],
    ])('a variance that is %s has no finite gradient at step %d', async (_, step, value) => {
      const { inputs, weights } = hybridCase([2, 1, 5], [step, 1])
      inputs.prediction.data[7] = value
      const { gradient } = await run(inputs, weights, device, dtype)
      expect([...gradient.data].map(Number.isFinite)).toEqual(Array.from({ length: 20 }, (_, i) => i !== 7))
    })

    test('a step that is not in the table makes its sample NaN, and no other', async () => {
      const { inputs, weights } = hybridCase([3, 1, 5], [10, 1000, -1])
      const tables = { ...inputs, t: [10, 1000, -1] }
      const { mse, vb, gradient } = await run(tables, weights, device, dtype)
      for (const losses of [mse, vb]) expect([...losses.data].map(Number.isNaN)).toEqual([false, true, true])
      expect([...gradient.data].map(Number.isNaN)).toEqual(Array.from({ length: 30 }, (_, i) => i >= 10))
    })
  })

  describe.skipIf(missing)(`hybridLoss on ${device} refuses`, () => {
    test.each([
      ['a prediction without v', [2, 3, 4], [2, 3, 4], [5, 4], 'prediction has shape [2, 3, 4]; expected [2, 6, 4].'],
      ['another batch of times', [2, 6, 4], [2, 3, 4], [5, 4], 't has shape [3]; expected [2].'],
      ['a table of other fields', [2, 6, 4], [2, 3, 4], [5, 3], 'table has shape [5, 3]; expected [5, 4].'],
    ])('%s', (_, prediction, target, table, sentence) => {
      const times = sentence.startsWith('t ') ? 3 : 2
      const tensors = [
        Tensor.zeros(prediction, device),
        Tensor.zeros(target, device),
        Tensor.from(new Int32Array(times), [times], device),
        Tensor.from(new Float64Array(table[0]! * table[1]!), table, device),
      ] as const
      const [p, x, t, rows] = tensors
      expect(() => hybridLoss(p, { target: x, x0: x, t, table: rows })).toThrow(`hybridLoss: ${sentence}`)
      for (const tensor of tensors) tensor.dispose()
    })
  })
}

async function run(
  { prediction, noise, x0, t, predicts = 'epsilon' }: reference.HybridLossInputs,
  weights: reference.HybridLossWeights,
  device: Device,
  dtype: ComputeDType,
  taped = true,
): Promise<{ mse: NdArray; vb: NdArray; gradient: NdArray }> {
  const upload = (a: NdArray) => Tensor.from(Float32Array.from(a.data), a.shape, device)
  using p = narrowTensor(prediction, device, dtype)
  using data = upload(x0)
  using drawn = upload(noise)
  using times = Tensor.from(Int32Array.from(t), [t.length], device)
  using table = Tensor.from(hybridLossTable(DIFFUSION, predicts), [DIFFUSION.steps, 4], device)
  using scaling = stateWith(LOSS_SCALE, device)
  const losses = () =>
    hybridLoss(
      p,
      { target: predicts === 'epsilon' ? drawn : data, x0: data, t: times, table },
      { mseWeight: weights.mse, vbWeight: weights.vb, throughMean: weights.throughMean, scaling },
    )
  using tape = new Tape()
  tape.watch(p)
  const { mse, vb } = taped ? tape.record(losses) : losses()
  const gradients = taped ? tape.backward() : undefined
  const gradient = gradients?.get(p)
  const values = {
    mse: fromValues(mse.shape, await mse.data()),
    vb: fromValues(vb.shape, await vb.data()),
    gradient: gradient ? await narrowValues(gradient) : fromValues([0], []),
  }
  gradients?.dispose()
  mse.dispose()
  vb.dispose()
  return values
}

/** The elements of the prediction, or of v, of [B, 2C, ...]. */
function halfOf(a: NdArray, half: number, batch: number): NdArray {
  const size = a.data.length / batch / 2
  const values = [...a.data].filter((_, i) => Math.floor((i % (2 * size)) / size) === half)
  return fromValues([values.length], values)
}

/** An optimizer's state with this loss scale (native/core/step_state.h). */
function stateWith(lossScale: number, device: Device): Tensor {
  const bytes = new Uint8Array(STATE_BYTES)
  new DataView(bytes.buffer).setFloat32(40, lossScale, true)
  return Tensor.from(bytes, [STATE_BYTES], device)
}
