import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { allowTf32Meanwhile } from '../../../src/tensor/device.ts'
import { dispersion, l2Normalize, matchingLoss } from '../../../src/tensor/ops/contrast.ts'
import { smoothL1Loss } from '../../../src/tensor/ops/smooth-l1.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, random } from '../../reference/array.ts'
import * as contrast from '../../reference/contrast.ts'
import { smoothL1, smoothL1Backward } from '../../reference/smooth-l1.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { type Draw, type LossCase, runLoss, testLosses } from './loss-case.ts'
import { opCase, testOps } from './op-case.ts'

/**
 * A logit is a dot product of unit vectors, D products of at most 1 whose two operands are rounded twice each, over the temperature;
 * the exponentials of a row are summed. Their quotient is multiplied with D-wide rows once more, and the way back through the unit
 * length takes another dot product.
 */
function matchingCase(
  draw: Draw,
  [rows, width]: readonly [number, number],
  group: number,
  temperature: number,
): LossCase {
  const prediction = draw([rows, width], 1, 2)
  // Near its own target, as in training: the softmax is neither flat nor one-hot.
  const target = map(random([rows, width], 2, 2), (value, i) => Math.fround(value + prediction.data[i]!))
  const gradient = contrast.matchingLossBackward(0.5, prediction, target, group, temperature)
  const sums = width + 8
  return {
    name: `matchingLoss of [${[rows, width]}] in groups of ${group} at ${temperature}`,
    prediction,
    target,
    weight: 0.5,
    loss: (p, t, weight, scaling) => matchingLoss(p, t, { group, temperature, weight, scaling }),
    perSample: contrast.matchingLoss(prediction, target, group, temperature),
    gradient,
    rounding: {
      loss: { roundings: sums + group, scale: 2 / temperature },
      gradient: { roundings: 2 * sums + group, scale: (2 / temperature) * largestOf(gradient) },
    },
  }
}

testLosses('matchingLoss', (draw) => [
  matchingCase(draw, [1, 3], 1, 0.5),
  matchingCase(draw, [7, 5], 3, 0.1),
  matchingCase(draw, [4, 72], 4096, 0.2),
  matchingCase(draw, [131, 33], 64, 1),
  // Logits of up to 100, whose exponentials alone are beyond float32.
  matchingCase(draw, [24, 3], 5, 0.01),
  matchingCase(draw, [300, 17], 300, 0.3),
])

testOps('l2Normalize', (draw) =>
  [
    [1, 3],
    [7, 5],
    [2, 3, 257],
    [33, 72],
  ].map((shape) => {
    const x = draw(shape, 1, 2)
    const width = shape.at(-1)!
    const shortest = Math.min(
      ...Array.from({ length: x.data.length / width }, (_, row) =>
        Math.hypot(...x.data.subarray(row * width, (row + 1) * width)),
      ),
    )
    return opCase({
      name: `of [${shape}]`,
      inputs: { x },
      compute: ['x'],
      op: (tensors) => l2Normalize(tensors.x!),
      forward: () => contrast.l2Normalize(x),
      backward: (dOut) => ({ x: contrast.l2NormalizeBackward(dOut, x) }),
      // The norm is a sum of D squares, then a root and a quotient; the gradient takes another dot product, of D terms of at most |dOut|.
      rounding: (dOut) => ({
        out: { roundings: width + 3, scale: 1 },
        x: { roundings: 2 * width + 8, scale: (Math.sqrt(width) * largestOf(dOut)) / shortest },
      }),
    })
  }),
)

function smoothL1Case(draw: Draw, shape: readonly number[], beta: number, weight?: number): LossCase {
  const prediction = draw(shape, 1, 0.2)
  const target = random(shape, 2, 0.2)
  const difference = largestOf(prediction) + largestOf(target)
  return {
    name: `smoothL1Loss of [${shape}], beta ${beta}`,
    prediction,
    target,
    weight,
    loss: (p, t, w, scaling) => smoothL1Loss(p, t, beta, w, scaling),
    perSample: smoothL1(prediction, target, beta),
    gradient: smoothL1Backward(weight ?? 1, prediction, target, beta),
    // On the CPU blocks of 4096 are summed in float32, 16 lanes and four sums side by side at most.
    rounding: {
      loss: { roundings: 6 + 4096 / 16, scale: difference },
      gradient: { roundings: 5, scale: ((weight ?? 1) / prediction.data.length) * Math.max(1, difference / beta) },
    },
  }
}

testLosses('smoothL1Loss', (draw) => [
  smoothL1Case(draw, [1], 0.05),
  smoothL1Case(draw, [3, 1, 5], 0.05, 2),
  smoothL1Case(draw, [2, 257, 33], 0.1, 0.5),
  smoothL1Case(draw, [1, 70_001], 0.05),
])

/** x f32 [B, F]; the target is not looked at. */
function dispersionCase(draw: Draw, shape: readonly number[], temperature: number, spread = 1): LossCase {
  const prediction = draw(shape, 1, spread)
  const flat = { ...prediction, shape: [shape[0]!, prediction.data.length / shape[0]!] }
  const gradient = { ...contrast.dispersionBackward(0.25, flat as typeof prediction, temperature), shape: [...shape] }
  const furthest = 4 * largestOf(prediction) ** 2
  return {
    name: `dispersion of [${shape}] at ${temperature}`,
    prediction,
    target: prediction,
    weight: 0.25,
    loss: (x, _, weight, scaling) => dispersion(x, { temperature, weight, scaling }),
    perSample: fromValues([1], [contrast.dispersion(flat as typeof prediction, temperature)]),
    gradient: gradient as typeof prediction,
    // A squared distance is a sum of F terms, each rounded three times, in float32 over 256 at most; divided by F and the temperature it is
    // an exponent. The gradient adds B products to a sum over the row.
    rounding: {
      loss: { roundings: 256 + 8, scale: Math.max(1, furthest / temperature) },
      gradient: {
        roundings: 256 + 2 * shape[0]! + 8,
        scale: (Math.max(1, furthest / temperature) * largestOf(prediction)) / (temperature * flat.shape[1]!),
      },
    },
  }
}

testLosses(
  'dispersion',
  (draw) => [
    dispersionCase(draw, [1, 5], 0.5),
    dispersionCase(draw, [2, 3, 1], 1),
    dispersionCase(draw, [5, 7, 11], 0.5),
    dispersionCase(draw, [17, 130], 0.25),
    dispersionCase(draw, [3, 40_000], 0.5),
    dispersionCase(draw, [35, 9, 8], 2),
  ],
  ['f32'],
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`contrast on ${device}`, () => {
    test('a row of zeros has the unit vector 0, and its gradient is that of a constant divisor', async () => {
      using x = Tensor.from(new Float32Array([0, 0, 3, 4]), [2, 2], device)
      const [unitHandle, normsHandle] = native().l2Normalize(x.handle)
      using unit = new Tensor(unitHandle, device)
      using norms = new Tensor(normsHandle, device)
      expect([...(await unit.data())]).toEqual([0, 0, Math.fround(0.6), Math.fround(0.8)])
      expect([...(await norms.data())]).toEqual([0, 5])
      using dUnit = Tensor.from(new Float32Array([1e-12, 0, 0, 0]), [2, 2], device)
      using dX = new Tensor(native().l2NormalizeBackward(dUnit.handle, unit.handle, norms.handle, 'f32'), device)
      expect((await dX.data())[0]).toBeCloseTo(1, 6)
    })

    test.skipIf(device === 'cpu')(
      'where products may round to tf32, samples with much in common disperse the same',
      async () => {
        const far = {
          ...dispersionCase(random, [16, 64], 0.5),
          prediction: map(random([16, 64], 1), (value) => 300 + value),
        }
        const exact = await runLoss(far, device, 'f32')
        using _ = allowTf32Meanwhile(device, true)
        expect(await runLoss(far, device, 'f32')).toEqual(exact)
      },
    )

    test('a row shorter than the least norm has the gradient of a constant divisor, whatever its direction', async () => {
      using x = Tensor.from(Float32Array.of(3e-13, 4e-13), [1, 2], device)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => l2Normalize(x))
      tape.seed(out, Tensor.from(Float32Array.of(1e-12, 0), [1, 2], device))
      const gradients = tape.backward()
      const [first, second] = await gradients.get(x)!.data()
      gradients.dispose()
      expect(first).toBeCloseTo(1, 5)
      expect(second).toBeCloseTo(0, 5)
    })

    test('equal samples are at distance 0 from each other, and disperse nowhere', async () => {
      using x = Tensor.full([3, 20], 0.7, device)
      using distances = new Tensor(native().squaredDistances(x.handle), device)
      expect([...(await distances.data())]).toEqual(new Array(9).fill(0))
      using loss = dispersion(x, { temperature: 0.5 })
      expect(await loss.item()).toBe(0)
    })

    // exp(-20) is 2e-9, which a float32 does not hold beside the 1 of a sample and itself.
    test('samples far from each other still push each other apart', async () => {
      const near = dispersionCase(random, [2, 1], 0.5)
      const prediction = fromValues([2, 1], [5, Math.fround(5 + Math.sqrt(10))])
      const expected = contrast.dispersionBackward(0.25, prediction, 0.5)
      const { gradient } = await runLoss({ ...near, prediction, target: prediction }, device, 'f32')
      // The exponent has five roundings, each of 20; what it is multiplied by has few.
      const rounding = (5 * 20 + 8) * 2 ** -24
      gradient.data.forEach((value, i) => {
        expect(Math.abs(value / expected.data[i]! - 1)).toBeLessThan(rounding)
      })
    })

    test.each([Number.POSITIVE_INFINITY, Number.NaN])(
      'of a sample with a %s in it nothing is finite',
      async (value) => {
        for (const values of [[1, value], [value]]) {
          using x = Tensor.from(Float32Array.from(values), [values.length, 1], device)
          using loss = dispersion(x, { temperature: 0.5 })
          expect(await loss.item()).toBeNaN()
        }
      },
    )

    const t = (shape: readonly number[]) => Tensor.zeros(shape, device)
    const REFUSALS: readonly (readonly [run: () => unknown, message: string])[] = [
      [
        () => native().crossEntropyLoss(t([2, 3]).handle, 1, 1, null, false),
        'crossEntropyLoss: logits has shape [2, 3]; expected [2, 2].',
      ],
      [
        () => native().crossEntropyLoss(t([2, 2]).handle, 0, 1, null, false),
        'the temperature is 0.000000; expected more than 0.',
      ],
      [() => native().dispersiveLoss(t([0, 0]).handle, 1, 1, null, false), 'expected those of one sample at least.'],
      [() => native().squaredDistances(t([]).handle), 'squaredDistances: x has shape []; expected [B, ...].'],
      [() => native().l2Normalize(t([]).handle), 'l2Normalize: x has shape []; expected [..., D].'],
      [() => smoothL1Loss(t([2, 2]), t([2, 3]), 0.1), 'smoothL1Loss: target has shape [2, 3]; expected [2, 2].'],
      [() => smoothL1Loss(t([2]), t([2]), 0), 'beta is 0.000000; expected more than 0.'],
    ]
    test.each(REFUSALS)('refusal %#', (run, message) => {
      expect(run).toThrow(message)
    })
  })
}
