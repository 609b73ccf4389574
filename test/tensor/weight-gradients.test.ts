import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { native } from '../../src/native.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { add } from '../../src/tensor/ops/elementwise.ts'
import { linear } from '../../src/tensor/ops/linear.ts'
import { reshape } from '../../src/tensor/ops/reshape.ts'
import { Tape, tapeSection } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from './devices.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

// Small whole numbers: every sum below is exact in float32.
for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`weight gradients on ${device}`, () => {
    let made: Tensor[] = []
    const tensor = (shape: readonly number[], values: readonly number[]) => {
      made.push(Tensor.from(Float32Array.from(values), shape, device))
      return made.at(-1)!
    }
    const matrix = (rows: number, ...values: number[]) => tensor([rows, values.length / rows], values)
    const layer = (weight: Tensor) => ({ weight, bias: undefined })

    /** The weights' gradients, and the shapes of those of every launch. Nothing else is left of the pass. */
    async function pass(weights: readonly Tensor[], body: () => Tensor, seed: readonly number[]) {
      const addon = native()
      const { linearWeightGradient, linearWeightGradients } = addon
      const launches: string[][] = []
      const shapesOf = (into: readonly Parameters<typeof addon.shapeOf>[0][]) =>
        into.map((handle) => addon.shapeOf(handle).join('x'))
      vi.spyOn(addon, 'linearWeightGradient').mockImplementation((...all) => {
        launches.push(shapesOf([all[2]]))
        linearWeightGradient(...all)
      })
      vi.spyOn(addon, 'linearWeightGradients').mockImplementation((...all) => {
        launches.push(shapesOf(all[2]))
        linearWeightGradients(...all)
      })
      const before = memoryStats(device).liveBytes
      const tape = new Tape()
      tape.watch(...weights)
      const out = tape.record(body)
      tape.seed(out, Tensor.from(Float32Array.from(seed), out.shape, device))
      const gradients = tape.backward()
      const values = await Promise.all(weights.map(async (weight) => [...(await gradients.get(weight)!.data())]))
      gradients.dispose()
      out.dispose()
      expect(memoryStats(device).liveBytes).toBe(before)
      return { values, launches }
    }

    /** On a CPU each is computed alone. */
    const expectLaunches = (actual: readonly string[][], expected: readonly string[][]) =>
      expect(actual).toEqual(device === 'cpu' ? expected.flat().map((shape) => [shape]) : expected)

    let x: Tensor
    let a: Tensor
    let b: Tensor
    let c: Tensor
    beforeEach(() => {
      x = matrix(1, 2, -1)
      a = matrix(3, 1, 2, 0, 1, -1, 1)
      b = matrix(2, 1, 0, 1, -1, 2, 0)
      c = matrix(4, 1, -1, 2, 0, 0, 3, 1, 1)
      return () => {
        for (const tensor of made) tensor.dispose()
        made = []
      }
    })

    test('of one section share a launch, those of another have theirs', async () => {
      const { values, launches } = await pass(
        [a, b, c],
        () =>
          linear(
            tapeSection(() => linear(linear(x, layer(a)), layer(b))),
            layer(c),
          ),
        [1, 2, 0, -1],
      )
      // h = A x = [0, -1, -3], g = B h = [-3, -2]; d g = Cᵀ d = [4, -2], d h = Bᵀ d g = [6, -4, 4].
      expect(values).toEqual([
        [12, -6, -8, 4, 8, -4],
        [0, -4, -12, 0, 2, 6],
        [-3, -2, -6, -4, 0, 0, 3, 2],
      ])
      expectLaunches(launches, [['4x2'], ['2x3', '3x2']])
    })

    test('of more than four layers are launched four at a time', async () => {
      const six = Array.from({ length: 6 }, (_, i) => matrix(2, 1, i, 0, 1))
      const { values, launches } = await pass(
        six,
        () => six.reduce((out, weight) => linear(out, layer(weight)), x),
        [0, 1],
      )
      // Every layer adds i times the second number to the first, and the gradient is [0, 1] of each.
      expect(values).toEqual([2, 2, 1, -1, -4, -8].map((first) => [0, 0, first, -1]))
      expectLaunches(launches, [Array(4).fill('2x2'), Array(2).fill('2x2')])
    })

    test('of other numbers of rows have their own launch', async () => {
      const [rows, d] = [matrix(3, 2, -1, 1, 1, 0, 2), matrix(1, 1, 3)]
      const body = () => add(linear(x, layer(a)), reshape(linear(rows, layer(d)), [1, 3]))
      const { values, launches } = await pass([a, d], body, [1, 2, 3])
      expect(values).toEqual([
        [2, -1, 4, -2, 6, -3],
        [4, 7],
      ])
      expectLaunches(launches, [['1x2'], ['3x2']])
    })

    test('of streams of other numbers of rows that take turns share a launch by stream', async () => {
      const [rows, d, e] = [matrix(3, 2, -1, 1, 1, 0, 2), matrix(1, 1, 3), matrix(2, 1, -2)]
      const f = matrix(6, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 2, 0, -1)
      const body = () => {
        const [one, other] = [linear(x, layer(a)), linear(rows, layer(d))]
        const [behindOne, behindOther] = [linear(one, layer(f)), linear(other, layer(e))]
        return add(behindOne, reshape(behindOther, [1, 6]))
      }
      const { values, launches } = await pass([a, f, d, e], body, [1, 2, 3, 0, -1, 1])
      expect(values).toEqual([
        [6, -3, 2, -1, 2, -1],
        [0, -1, -3, 0, -2, -6, 0, -3, -9, 0, 0, 0, 0, 1, 3, 0, -1, -3],
        [-3, 0],
        [5, 4],
      ])
      const [e1, f1, d1, a1] = ['2x1', '6x3', '1x2', '3x2']
      expect(launches).toEqual(
        device === 'cpu'
          ? [[e1], [f1], [d1], [a1]]
          : [
              [e1, d1],
              [f1, a1],
            ],
      )
    })

    test('a weight used twice in a section gets both', async () => {
      const square = matrix(2, 1, 1, 0, 2)
      const { values } = await pass([square], () => linear(linear(x, layer(square)), layer(square)), [1, 1])
      // h = [1, -2], d h = Wᵀ [1, 1] = [1, 3]: [1, 1] hᵀ + d h xᵀ.
      expect(values).toEqual([[1 + 2, -2 - 1, 1 + 6, -2 - 3]])
    })

    test('a weight that another op has made passes its gradient on', async () => {
      const flat = tensor([6], [1, 2, 0, 1, -1, 1])
      const { values } = await pass([flat], () => linear(x, layer(reshape(flat, [3, 2]))), [1, 2, 3])
      expect(values).toEqual([[2, -1, 4, -2, 6, -3]])
    })

    test('a pass that ends early holds nothing', () => {
      const before = memoryStats(device).liveBytes
      const tape = new Tape()
      tape.watch(a)
      const out = tape.record(() => {
        const first = add(x, x)
        tape.push([first], [], () => {
          throw new Error('the pass ends early')
        })
        return linear(first, layer(a))
      })
      tape.seed(out, Tensor.from(Float32Array.of(1, 1, 1), [1, 3], device))
      expect(() => tape.backward()).toThrow('the pass ends early')
      tape.dispose()
      out.dispose()
      expect(memoryStats(device).liveBytes).toBe(before)
    })
  })
}
