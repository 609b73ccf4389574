import { describe, expect, test } from 'vitest'
import { distillationLoss, entropy } from '../../../src/tensor/ops/distillation.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random } from '../../reference/array.ts'
import * as reference from '../../reference/distillation.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { type Draw, type LossCase, testLosses } from './loss-case.ts'
import { opCase, testOps } from './op-case.ts'

/** Distributions of rows, rounded to float32: sharp where `scale` is large. */
function distributions(shape: readonly number[], seed: number, scale: number): NdArray {
  const width = shape.at(-1)!
  const values = map(random(shape, seed, scale), Math.exp)
  return map(values, (value, i) => {
    const begin = Math.floor(i / width) * width
    return Math.fround(value / values.data.subarray(begin, begin + width).reduce((sum, each) => sum + each, 0))
  })
}

function distillationCase(
  draw: Draw,
  [views, teacherViews, batch, width]: readonly [number, number, number, number],
  { temperature, firstView }: reference.Distillation,
): LossCase {
  const prediction = draw([views, batch, width], 1)
  const target = distributions([teacherViews, batch, width], 2, 4)
  const weight = 0.5
  const options = { temperature, firstView }
  const dLoss = map(random([views, batch], 3), () => weight)
  const gradient = reference.distillationLossBackward(dLoss, prediction, target, options)
  // z has two roundings of its own magnitude, 2 / temperature, which is how far the exponential errs; a row's masses add to `others`.
  const others = Math.max(1, teacherViews)
  const steepness = 2 / temperature
  return {
    name: `distillationLoss of [${prediction.shape}] from view ${firstView} and ${teacherViews} of the teacher at ${temperature}`,
    prediction,
    target,
    weight,
    loss: (p, t, w, scaling) => distillationLoss(p, t, { ...options, weight: w, scaling }),
    perSample: reference.distillationLoss(prediction, target, options),
    gradient,
    rounding: {
      loss: { roundings: width + 8, scale: others * steepness },
      gradient: { roundings: width + 12, scale: Math.max(1, steepness / 4) * largestOf(gradient) },
    },
  }
}

testLosses(
  'distillationLoss',
  (draw) => [
    distillationCase(draw, [1, 2, 1, 1], { temperature: 0.1, firstView: 0 }),
    distillationCase(draw, [2, 2, 3, 7], { temperature: 0.1, firstView: 0 }),
    distillationCase(draw, [3, 2, 5, 257], { temperature: 0.2, firstView: 2 }),
    // The student's own view is the teacher's second; its next has no counterpart.
    distillationCase(draw, [2, 3, 2, 130], { temperature: 1, firstView: 2 }),
    distillationCase(draw, [2, 2, 4, 1031], { temperature: 0.1, firstView: 0 }),
  ],
  ['f32'],
)

testOps(
  'entropy',
  (
    [
      [[1, 1], 1],
      [[3, 7], 1],
      [[2, 3, 257], 4],
      [[5, 4099], 20],
    ] as const
  ).map(([shape, sharpness]) => {
    const p = distributions(shape, 1, sharpness)
    return opCase({
      name: `of [${shape}]`,
      inputs: { p },
      op: (tensors) => entropy(tensors.p!),
      forward: () => reference.entropy(p),
      // A term is rounded three times; on a GPU a thread adds every 256th, then a warp and the warps.
      rounding: () => ({ out: { roundings: 3 + Math.ceil(shape.at(-1)! / 256) + 13, scale: Math.log(shape.at(-1)!) } }),
    })
  }),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`distillation on ${device}`, () => {
    test('a class of no probability adds nothing to an entropy, and equal ones make it log K', async () => {
      using p = Tensor.from(new Float32Array([0, 1, 0, 0, 0.25, 0.25, 0.25, 0.25]), [2, 4], device)
      using values = entropy(p)
      const [sure, even] = await values.data()
      expect(sure).toBeCloseTo(0, 12)
      expect(even).toBeCloseTo(Math.log(4), 6)
    })

    test('a student of one view that is the only one of the teacher has nothing to learn', async () => {
      using student = Tensor.from(new Float32Array([1, 2, 3]), [1, 1, 3], device)
      using targets = Tensor.from(new Float32Array([0, 0, 1]), [1, 1, 3], device)
      using loss = distillationLoss(student, targets, { temperature: 0.1 })
      expect(await loss.item()).toBe(0)
    })

    test('logits far apart do not overflow', async () => {
      using student = Tensor.from(new Float32Array([-3e4, 3e4, 0]), [1, 1, 3], device)
      using targets = Tensor.from(fromValues([3], [1, 0, 0]).data, [1, 1, 3], device)
      using asFloats = Tensor.from(new Float32Array([1, 0, 0]), [1, 1, 3], device)
      expect(() => distillationLoss(student, targets, { temperature: 1, firstView: 1 })).toThrow('targets is f64')
      using loss = distillationLoss(student, asFloats, { temperature: 1, firstView: 1 })
      expect(await loss.item()).toBeCloseTo(6e4, 0)
    })

    const t = (...shape: number[]) => Tensor.zeros(shape, device)
    const REFUSALS: readonly (readonly [run: () => unknown, message: string])[] = [
      [
        () => distillationLoss(t(2, 3), t(2, 3, 4), { temperature: 1 }),
        'distillationLoss: student has shape [2, 3]; expected [V, B, K].',
      ],
      [
        () => distillationLoss(t(2, 3, 4), t(2, 3, 5), { temperature: 1 }),
        'distillationLoss: targets has shape [2, 3, 5]; expected [2, 3, 4].',
      ],
      [
        () => distillationLoss(t(2, 3, 4), t(2, 3, 4), { temperature: 0 }),
        'the temperature is 0.000000; expected more than 0.',
      ],
      [
        () => distillationLoss(t(2, 3, 4), t(2, 3, 4), { temperature: 1, firstView: -1 }),
        'firstView is -1; expected 0 or more.',
      ],
      [() => entropy(t()), 'entropy: p has shape []; expected [..., K].'],
    ]
    test.each(REFUSALS)('refusal %#', (run, message) => {
      expect(run).toThrow(message)
    })
  })
}
