import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { attention, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { dispersion } from '../../../src/tensor/ops/contrast.ts'
import { conv2d } from '../../../src/tensor/ops/conv2d.ts'
import { denoisingStep } from '../../../src/tensor/ops/diffusion.ts'
import { entropy } from '../../../src/tensor/ops/distillation.ts'
import { activation, add, swiGLU } from '../../../src/tensor/ops/elementwise.ts'
import { embedding } from '../../../src/tensor/ops/embedding.ts'
import { layerNorm, normModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { linear, mlp } from '../../../src/tensor/ops/linear.ts'
import { cosineAlignmentLoss, velocityLoss } from '../../../src/tensor/ops/loss.ts'
import { gatedResidual } from '../../../src/tensor/ops/residual.ts'
import { smoothL1Loss } from '../../../src/tensor/ops/smooth-l1.ts'
import { velocityCosineLoss } from '../../../src/tensor/ops/velocity-cosine.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { random } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { upload } from './op-case.ts'

interface NonFiniteCase {
  readonly name: string
  /** x [2, 3, 12] → the result, whose leading axis is the sample. */
  readonly op: (x: Tensor, make: (...shape: number[]) => Tensor) => Tensor
}

const CASES: readonly NonFiniteCase[] = [
  { name: 'silu', op: (x) => activation(x, 'silu') },
  { name: 'gelu-tanh', op: (x) => activation(x, 'gelu-tanh') },
  { name: 'gelu-erf', op: (x) => activation(x, 'gelu-erf') },
  { name: 'quick-gelu', op: (x) => activation(x, 'quick-gelu') },
  { name: 'swiGLU', op: (x) => swiGLU(x) },
  { name: 'add', op: (x) => add(x, x) },
  { name: 'linear', op: (x, make) => linear(x, { weight: make(5, 12), bias: undefined }) },
  {
    name: 'mlp',
    op: (x, make) =>
      mlp(
        x,
        [make(7, 12), make(5, 7)].map((weight) => ({ weight, bias: undefined })),
        'gelu-tanh',
      ),
  },
  { name: 'attention', op: (x) => attention(x, 2) },
  {
    name: 'qkNorm',
    op: (x, make) => qkNorm(x, { qWeight: make(2), qBias: make(2), kWeight: make(2), kBias: make(2) }, 2),
  },
  { name: 'layerNorm', op: (x, make) => layerNorm(x, make(12), make(12)) },
  { name: 'normModulate', op: (x, make) => normModulate(x, make(2, 2, 12), { shift: 0, scale: 1 }) },
  {
    name: 'normModulate with rmsNorm',
    op: (x, make) => normModulate(x, make(2, 2, 12), { shift: 0, scale: 1, norm: 'rmsNorm' }),
  },
  {
    name: 'qkNorm with rmsNorm',
    op: (x, make) => qkNorm(x, { qWeight: make(2), kWeight: make(2) }, 2, { norm: 'rmsNorm' }),
  },
  { name: 'gatedResidual', op: (x, make) => gatedResidual(x, x, make(2, 1, 12), 0) },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`NaN on ${device}`, () => {
    const make = (...shape: number[]) => upload(random(shape, 5), device)

    /** The result and x's gradient, of x with one element set. */
    async function run({ op }: NonFiniteCase, value: number) {
      const values = random([2, 3, 12], 1)
      values.data[1] = value
      using x = upload(values, device)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => op(x, make))
      tape.seed(out, upload(random(out.shape, 9), device))
      const gradients = tape.backward()
      const read = [await out.data(), await gradients.get(x)!.data()]
      gradients.dispose()
      return read
    }

    test.each(CASES)('$name shows it in its sample, and only there', async (table) => {
      const [out, dX] = await run(table, Number.NaN)
      const [clean, dClean] = await run(table, 0.5)
      const half = out.length / 2
      expect(out.subarray(0, half).some(Number.isNaN)).toBe(true)
      expect(out.subarray(half)).toEqual(clean.subarray(half))
      expect(dX.subarray(18 * 2)).toEqual(dClean.subarray(18 * 2))
      expect(clean.some(Number.isNaN) || dClean.some(Number.isNaN)).toBe(false)
    })

    test.each([velocityLoss, cosineAlignmentLoss])('a loss shows it for its sample', async (loss) => {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const values = random([2, 3, 12], 1)
        values.data[1] = value
        using prediction = upload(values, device)
        using target = make(2, 3, 12)
        using result = loss(prediction, target)
        const [first, second] = await result.data()
        expect(first).not.toSatisfy(Number.isFinite)
        expect(second).toSatisfy(Number.isFinite)
      }
    })

    // An optimizer leaves out a step by its gradient alone: a loss that is NaN with a gradient that is finite would train on.
    test.each<[string, (prediction: Tensor, target: Tensor) => Tensor]>([
      ['velocityLoss', velocityLoss],
      ['cosineAlignmentLoss', cosineAlignmentLoss],
      ['velocityCosineLoss', (prediction, target) => velocityCosineLoss(prediction, target)],
      ['smoothL1Loss', (prediction, target) => smoothL1Loss(prediction, target, 0.5)],
    ])('the gradient of %s shows it, of the prediction or of the target', async (_, loss) => {
      for (const side of ['prediction', 'target']) {
        const values = random([2, 3, 12], 1)
        values.data[1] = Number.NaN
        using odd = upload(values, device)
        using even = make(2, 3, 12)
        const [prediction, target] = side === 'prediction' ? [odd, even] : [even, odd]
        using tape = new Tape()
        tape.watch(prediction)
        using _loss = tape.record(() => loss(prediction, target))
        const gradients = tape.backward()
        const dPrediction = await gradients.get(prediction)!.data()
        gradients.dispose()
        expect(dPrediction[1], side).toBeNaN()
        expect(dPrediction.subarray(36).every(Number.isFinite), side).toBe(true)
      }
    })

    test.each([1, 2, 3])('a sample that is NaN disperses to NaN, of %d', async (batch) => {
      const values = random([batch, 12], 1)
      values.data[1] = Number.NaN
      using x = upload(values, device)
      using tape = new Tape()
      tape.watch(x)
      using loss = tape.record(() => dispersion(x, { temperature: 0.5 }))
      const gradients = tape.backward()
      expect(await loss.item()).toBeNaN()
      expect((await gradients.get(x)!.data()).some(Number.isNaN)).toBe(true)
      gradients.dispose()
    })

    test('where a denoising step has one variance, what the model says of it counts for nothing', async () => {
      const step = {
        x0FromX: 1,
        x0FromPrediction: 1,
        clip: false,
        meanFromX0: 1,
        meanFromX: 1,
        logVariances: [-2, -2],
      } as const
      using x = Tensor.zeros([1, 1, 3], device)
      using noise = Tensor.full([1, 1, 3], 1, device)
      using prediction = Tensor.from(Float32Array.of(0, 0, 0, Number.NaN, Infinity, 7), [1, 2, 3], device)
      using double = cast(x, 'f64')
      using next = denoisingStep(double, prediction, noise, step)
      const values = await next.dataAs('f64')
      for (const value of values) expect(value).toBeCloseTo(Math.exp(-1), 12)
    })

    test('a ReLU in front of a convolution lets it through', async () => {
      using x = Tensor.from(Float32Array.of(1, Number.NaN, -3, 4), [1, 1, 4, 1], device)
      using coefficients = Tensor.from(Float32Array.of(1, 0), [1, 2, 1], device)
      using weight = Tensor.full([1, 1, 1, 1], 1, device)
      using out = conv2d(x, { weight, bias: undefined }, { norm: { coefficients, activation: 'relu' } })
      expect([...(await out.data())]).toEqual([1, Number.NaN, 0, 4])
    })

    test('a token of no place but the one that is filled is NaN', async () => {
      using x = make(1, 3, 4)
      using fill = Tensor.full([4], 7, device)
      using ids = Tensor.from(Int32Array.of(-1, -2), [1, 2], device)
      using out = new Tensor(native().gatherTokens(x.handle, ids.handle, fill.handle), device)
      expect([...(await out.data())]).toEqual([...Array(4).fill(7), ...Array(4).fill(Number.NaN)])
    })

    test('the softmax of a row that holds it is it everywhere', async () => {
      using x = Tensor.from(Float32Array.of(1, Number.NaN, 3, Number.NaN, 1, 2, 1, 1, 1), [3, 3], device)
      using out = new Tensor(native().softmax(x.handle, 1, 'f32'), device)
      expect([...(await out.data())].map(Number.isNaN)).toEqual([...Array(6).fill(true), ...Array(3).fill(false)])
    })

    test('the entropy of a distribution that holds it is it', async () => {
      using p = Tensor.from(Float32Array.of(0.5, Number.NaN, 0, 0.5, 0.5, 0), [2, 3], device)
      using flatness = entropy(p)
      const [first, second] = await flatness.data()
      expect(first).toBeNaN()
      expect(second).toBeCloseTo(Math.LN2, 6)
    })

    test('an id outside of the table gives NaN, and its gradient goes nowhere', async () => {
      using table = make(3, 4)
      using ids = Tensor.from(Int32Array.of(1, 3, -1, 2 ** 31 - 1), [4], device)
      using tape = new Tape()
      tape.watch(table)
      using out = tape.record(() => embedding(table, ids))
      tape.seed(out, Tensor.full([4, 4], 1, device))
      const gradients = tape.backward()
      expect([...(await out.data())].map(Number.isNaN)).toEqual([...Array(4).fill(false), ...Array(12).fill(true)])
      expect([...(await gradients.get(table)!.data())]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
      gradients.dispose()
    })
  })
}
