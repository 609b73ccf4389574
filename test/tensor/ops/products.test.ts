import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { activationBackward } from '../../reference/activation.ts'
import { map, type NdArray, random, roundTo, scaled, zeros } from '../../reference/array.ts'
import { linearBackward } from '../../reference/linear.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded, largestOf } from '../rounding.ts'
import { type Draw, ndArray, upload, uploadAs } from './op-case.ts'

// What a GPU computes otherwise than by one kernel: sums that are cut, products that share a launch. And that no result depends on
// what is computed beside it, or on when.
for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))(
    `products on ${device} in %s`,
    (dtype) => {
      const draw: Draw = (...options) => map(random(...options), (value) => roundTo(dtype, value))

      test('several weight gradients, written and added', async () => {
        const sizes = [
          { rows: 700, out: 40, in: 24 },
          { rows: 700, out: 7, in: 131 },
          { rows: 65, out: 129, in: 18 },
          { rows: 1, out: 3, in: 1 },
          { rows: 700, out: 16, in: 16 },
        ]
        const dOut = sizes.map(({ rows, out }, i) => draw([rows, out], 30 + i))
        const x = sizes.map(({ rows, in: width }, i) => draw([rows, width], 40 + i))
        const compute = async (times: number) => {
          using tensors = new Tensors()
          const dWeight = sizes.map(({ out, in: width }) => tensors.add(Tensor.empty([out, width], device)))
          for (let i = 0; i < times; i++) {
            native().linearWeightGradients(
              dOut.map((d) => tensors.add(uploadAs(d, device, dtype)).handle),
              x.map((a) => tensors.add(uploadAs(a, device, dtype)).handle),
              dWeight.map(({ handle }) => handle),
              i > 0,
            )
          }
          return Promise.all(dWeight.map(ndArray))
        }
        const once = await compute(1)
        for (const [i, { rows, out, in: width }] of sizes.entries()) {
          const { dWeight } = linearBackward(dOut[i]!, x[i]!, zeros([out, width]), undefined, 'none')
          const scale = Math.sqrt(rows) * largestOf(dOut[i]!) * largestOf(x[i]!)
          expectRounded(`dWeight ${i}`, once[i]!, dWeight, { roundings: rows + 16, scale })
        }
        expect((await compute(1)).map(({ data }) => data)).toEqual(once.map(({ data }) => data))
        expect((await compute(2)).map(({ data }) => data)).toEqual(once.map((a) => scaled(a, 2).data))
      })

      // Fewer rows than a sum is cut at: each is summed as if alone.
      test.each([
        [
          [40, 24],
          [264, 136],
          [8, 8],
          [128, 256],
        ],
        [
          [7, 131],
          [3, 5],
        ],
      ])('weight gradients %j, %j that share a launch have the bits of those that do not', async (...sizes) => {
        const gradients = sizes.map(([out, width], i) => ({
          dOut: draw([300, out!], 80 + i),
          x: draw([300, width!], 90 + i),
        }))
        using tensors = new Tensors()
        const handles = (of: 'dOut' | 'x') =>
          gradients.map((gradient) => tensors.add(uploadAs(gradient[of], device, dtype)).handle)
        const [dOut, x] = [handles('dOut'), handles('x')]
        const empty = () => sizes.map((size) => tensors.add(Tensor.empty(size, device)))
        const [together, alone] = [empty(), empty()]
        const into = (of: Tensor[]) => of.map(({ handle }) => handle)
        for (const accumulate of [false, true]) {
          native().linearWeightGradients(dOut, x, into(together), accumulate)
          for (const [i, { handle }] of alone.entries()) {
            native().linearWeightGradient(dOut[i]!, x[i]!, handle, accumulate)
          }
          for (const [i, gradient] of together.entries()) {
            expect((await ndArray(gradient)).data).toEqual((await ndArray(alone[i]!)).data)
          }
        }
      })

      test('the weight gradient of more outputs than a band of tiles has, and of none of the rows', async () => {
        for (const rows of [9, 0]) {
          const [dOut, x] = [draw([rows, 2304], 60), draw([rows, 136], 61)]
          using tensors = new Tensors()
          const dWeight = tensors.add(Tensor.full([2304, 136], Number.NaN, device))
          const of = (a: NdArray) => [tensors.add(uploadAs(a, device, dtype)).handle]
          native().linearWeightGradients(of(dOut), of(x), [dWeight.handle], false)
          const exact = linearBackward(dOut, x, zeros([2304, 136]), undefined, 'none').dWeight
          expectRounded('dWeight', await ndArray(dWeight), exact, { roundings: rows + 1, scale: rows })
        }
      })

      test.each([
        { rows: 300, out: 40, width: 136 },
        { rows: 11, out: 32800, width: 5 },
      ])('$rows sums of $out terms in each of $width columns, with the sums of the columns', async (size) => {
        const { rows, out, width } = size
        const dOut = draw([rows, out], 50)
        const weight = draw([out, width], 51)
        const pre = draw([rows, width], 52)
        using tensors = new Tensors()
        const dBias = tensors.add(upload(zeros([width]), device))
        const dX = tensors.add(
          new Tensor(
            native().linearInputGradient(
              tensors.add(uploadAs(dOut, device, dtype)).handle,
              tensors.add(uploadAs(weight, device, dtype)).handle,
              tensors.add(uploadAs(pre, device, dtype)).handle,
              'silu',
              dBias.handle,
              true,
            ),
            device,
          ),
        )
        const product = linearBackward(dOut, zeros([rows, width]), weight, undefined, 'none').dx
        const expected = activationBackward(product, pre, 'silu')
        // SiLU's slope is at most 1.1.
        const bound = { roundings: out + 16, scale: 1.1 * Math.sqrt(out) * largestOf(dOut) * largestOf(weight) }
        expectRounded('dX', await ndArray(dX), expected, bound, dtype, dtype)
        const sums = { shape: [width], data: Float64Array.from({ length: width }, (_, i) => columnSum(expected, i)) }
        const ofSums = { roundings: bound.roundings + rows, scale: Math.sqrt(rows) * bound.scale, computeRoundings: 1 }
        expectRounded('dBias', await ndArray(dBias), sums, ofSums, dtype)
      })

      // The CPU has a kernel of its own for few rows.
      test.skipIf(device === 'cpu')('a row has the same bits alone as among others', async () => {
        const x = draw([300, 72], 60)
        const weight = draw([145, 72], 61)
        const compute = async (a: NdArray) => {
          using tensors = new Tensors()
          const [out, pre] = native().linear(
            tensors.add(uploadAs(a, device, dtype)).handle,
            tensors.add(uploadAs(weight, device, dtype)).handle,
            null,
            'gelu-tanh',
            true,
            dtype,
          )
          return Promise.all([out, pre!].map((handle) => ndArray(tensors.add(new Tensor(handle, device)))))
        }
        const all = await compute(x)
        for (const row of [0, 130, 299]) {
          const alone = await compute({ shape: [1, 72], data: x.data.slice(72 * row, 72 * (row + 1)) })
          const among = all.map(({ data }) => data.slice(145 * row, 145 * (row + 1)))
          expect(alone.map(({ data }) => data)).toEqual(among)
        }
      })
    },
  )
}

class Tensors {
  readonly #tensors: Tensor[] = []
  add(tensor: Tensor): Tensor {
    this.#tensors.push(tensor)
    return tensor
  }
  [Symbol.dispose](): void {
    for (const tensor of this.#tensors) tensor.dispose()
  }
}

function columnSum({ shape, data }: NdArray, column: number): number {
  const width = shape.at(-1)!
  return data.reduce((total, value, i) => (i % width === column ? total + value : total), 0)
}
