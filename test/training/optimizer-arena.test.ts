/** The native calls of an optimizer step on bare arrays: shares of several processes, frozen ranges, arrays that are not aligned, the narrow copy. */
import { describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import type { Device } from '../../src/tensor/device.ts'
import { Graph } from '../../src/tensor/graph.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { ArenaShare } from '../../src/training/arena-share.ts'
import { STATE_BYTES } from '../../src/training/optimizer.ts'
import { random, roundTo } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'
import { narrowValues } from '../tensor/narrow.ts'
import { expectSameBits } from '../tensor/same-bits.ts'

interface Step {
  readonly gradient: Float32Array
  readonly frozen: readonly number[]
  readonly undecayed?: readonly number[]
  readonly maxNorm?: number
  readonly ema?: boolean
  readonly compute?: 'bf16' | 'f16'
  /** Elements by which every array is off its alignment. */
  readonly shift?: number
  /** So many processes' shares are updated, one after another. Default: the whole in one pass. */
  readonly shares?: number
  /** What a learning rate of 1e-2 is made of by a factor on the device. */
  readonly rate?: number
  /** The step is recorded and replayed. */
  readonly captured?: boolean
}

interface Arrays {
  readonly weight: Float32Array
  readonly firstMoment: Float32Array
  readonly secondMoment: Float32Array
  readonly ema: Float32Array
  readonly compute: ArrayLike<number> | undefined
  readonly gradNorm: number
  readonly finite: boolean
}

const values = (count: number, seed: number, scale = 1) => Float32Array.from(random([count], seed, scale).data)

const ARRAYS = ['weight', 'firstMoment', 'secondMoment', 'ema'] as const

function expectSameArrays(actual: Arrays, expected: Arrays): void {
  for (const name of ARRAYS) expectSameBits(name, actual[name], expected[name])
}

/** What two steps make of arrays of random numbers. */
async function run(
  device: Device,
  {
    gradient,
    frozen,
    undecayed = [],
    maxNorm,
    ema = true,
    compute,
    shift = 0,
    shares = 1,
    rate,
    captured = false,
  }: Step,
): Promise<Arrays> {
  const count = gradient.length
  const made: Tensor[] = []
  const own = (tensor: Tensor) => {
    made.push(tensor)
    return tensor
  }
  const array = (data: Float32Array) => {
    const whole = own(Tensor.empty([count + shift], device))
    const view = own(whole.view(shift, [count]))
    view.write(data)
    return view
  }
  const [weight, g, m, v, e] = [
    values(count, 1),
    gradient,
    values(count, 2),
    values(count, 3).map(Math.abs),
    values(count, 4),
  ].map(array) as [Tensor, Tensor, Tensor, Tensor, Tensor]
  const copy = compute && own(own(Tensor.empty([count + shift], device, compute)).view(shift, [count]))
  const sums = own(Tensor.empty([shares], device, 'f64'))
  const state = own(Tensor.from(new Uint8Array(STATE_BYTES), [STATE_BYTES], device))
  const factor = rate === undefined ? null : own(Tensor.from(Float64Array.of(rate), [1], device)).handle
  const step = () => {
    const of = (tensor: Tensor, share: ArenaShare) => own(share.of(tensor)).handle
    const parts = Array.from({ length: shares }, (_, rank) => new ArenaShare({ size: count }, { rank, size: shares }))
    for (const [i, share] of parts.entries()) native().sumOfSquares(of(g, share), share.ranges(frozen), sums.handle, i)
    native().clipGradientNorm(sums.handle, state.handle, maxNorm ?? Number.POSITIVE_INFINITY, 1, false)
    const settings = [1e-2 / (rate ?? 1), 0.9, 0.999, 1e-8, 0.1, 0.75] as const
    const [average, narrow] = [ema ? e.handle : null, copy?.handle ?? null]
    const followers = shares === 1 ? ([average, narrow] as const) : ([null, null] as const)
    for (const share of parts) {
      const arrays = [weight, g, m, v].map((tensor) => of(tensor, share)) as [never, never, never, never]
      const [held, plain] = [share.ranges(frozen), share.ranges(undecayed)]
      native().adamW(...arrays, ...followers, held, plain, state.handle, false, ...settings, factor)
    }
    if (shares > 1) native().followWeights(weight.handle, average, narrow, state.handle, 0.75)
  }
  const { graph } = captured ? Graph.capture(device, step) : {}
  for (let i = 0; i < 2; i++) graph ? graph.replay() : step()
  graph?.dispose()
  const view = new DataView((await state.dataAs('u8')).buffer)
  const result = {
    weight: await weight.data(),
    firstMoment: await m.data(),
    secondMoment: await v.data(),
    ema: await e.data(),
    compute: copy && (await narrowValues(copy)).data,
    gradNorm: view.getFloat64(8, true),
    finite: view.getInt32(20, true) !== 0,
  }
  for (const tensor of made) tensor.dispose()
  return result
}

/** Ascending ranges: empty ones, neighbours, one element, some that cut accesses of four and some that span blocks. */
function ranges(count: number, total: number): number[] {
  const out: number[] = []
  for (let i = 0; i < total; i++) {
    const begin = Math.floor((i * count) / total) + (i % 5)
    out.push(
      begin,
      Math.min(begin + [0, 1, 3, 4, 9][i % 5]! + (i % 3 === 0 ? Math.floor(count / total / 2) : 0), count),
    )
  }
  return out
}

const isIn = (frozen: readonly number[], i: number) =>
  frozen.some((begin, k) => k % 2 === 0 && begin <= i && i < frozen[k + 1]!)

for (const { device, missing } of DEVICES) {
  test.skipIf(missing)(
    `the squares of more elements than a GPU's block adds chunks of in one turn, on ${device}`,
    async () => {
      const count = 1025 * 32_768
      using gradient = Tensor.full([count], 2, device)
      using sums = Tensor.from(new Float64Array(1), [1], device)
      native().sumOfSquares(gradient.handle, [], sums.handle, 0)
      expect([...(await sums.dataAs('f64'))]).toEqual([4 * count])
    },
  )
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`an optimizer step over bare arrays on ${device}`, () => {
    // 96 ranges (empty ones are left out) travel with a kernel, more are laid into an array on the device, so many at a time.
    test.each([0, 1, 16, 96, 97, 200])(
      '%d frozen ranges: only the EMA moves there, and their gradient is not read',
      async (total) => {
        const count = 33_333
        const frozen = ranges(count, total)
        const gradient = values(count, 9)
        const free = await run(device, { gradient, frozen: [] })
        const held = await run(device, { gradient: gradient.map((g, i) => (isIn(frozen, i) ? Number.NaN : g)), frozen })
        expect(held.finite).toBe(true)
        const start = {
          weight: values(count, 1),
          firstMoment: values(count, 2),
          secondMoment: values(count, 3).map(Math.abs),
        }
        for (const name of ['weight', 'firstMoment', 'secondMoment'] as const) {
          expectSameBits(
            name,
            held[name],
            free[name].map((value, i) => (isIn(frozen, i) ? start[name][i]! : value)),
          )
        }
        const squares = gradient.reduce((sum, g, i) => sum + (isIn(frozen, i) ? 0 : g * g), 0)
        expect(Math.abs(held.gradNorm / Math.sqrt(squares) - 1)).toBeLessThan(1e-12)
        expectSameBits(
          'ema',
          held.ema,
          free.ema.map((value, i) => (isIn(frozen, i) ? held.ema[i]! : value)),
        )
        const average = (e: number, w: number) => 0.75 * e + 0.25 * w
        const ema = values(count, 4)
        const errors = held.ema.map((value, i) =>
          isIn(frozen, i) ? Math.abs(value - average(average(ema[i]!, start.weight[i]!), start.weight[i]!)) : 0,
        )
        // Two steps of three roundings each, of numbers below 5.
        expect(errors.reduce((a, b) => Math.max(a, b))).toBeLessThan(6 * 5 * 2 ** -24)
      },
    )

    test.each([0, 1, 16, 96, 97, 200])(
      '%d ranges without decay: as in a step without it, frozen ones as ever',
      async (total) => {
        const count = 33_333
        const undecayed = ranges(count, total)
        const frozen = total > 0 ? [undecayed[0]!, undecayed[0]! + 2, 20_000, 20_003] : []
        const gradient = values(count, 9)
        const plain = await run(device, { gradient, frozen })
        const without = await run(device, { gradient, frozen, undecayed: [0, count] })
        const mixed = await run(device, { gradient, frozen, undecayed })
        for (const name of ARRAYS) {
          expectSameBits(
            name,
            mixed[name],
            plain[name].map((value, i) => (isIn(undecayed, i) ? without[name][i]! : value)),
          )
        }
        expect(plain.weight[12_345]).not.toBe(without.weight[12_345])
      },
    )

    // Of a transformer of 28 blocks 117 ranges have no decay.
    test.skipIf(device === 'cpu').each([0, 120, 1000])(
      '%d ranges: the bits of a step that is captured',
      async (total) => {
        const step = { gradient: values(33_333, 9), frozen: ranges(33_333, total), undecayed: ranges(33_333, total) }
        const [direct, captured] = [await run(device, step), await run(device, { ...step, captured: true })]
        expectSameArrays(captured, direct)
        expect(captured.gradNorm).toBe(direct.gradNorm)
      },
    )

    test('everything frozen: the norm is 0, and only the EMA moves', async () => {
      const { weight, ema, gradNorm, finite } = await run(device, { gradient: values(1000, 9), frozen: [0, 1000] })
      expect({ gradNorm, finite }).toEqual({ gradNorm: 0, finite: true })
      expect(weight).toEqual(values(1000, 1))
      expect(ema).not.toEqual(values(1000, 4))
    })

    test.each([1, 2, 3, 5, 1023, 1025, 70_001])('%d parameters, aligned or not: the same bits', async (count) => {
      const gradient = values(count, 9)
      const frozen = count > 5 ? [3, 5] : []
      const aligned = await run(device, { gradient, frozen })
      const shifted = await run(device, { gradient, frozen, shift: 1 })
      // The order in which squares are summed may differ.
      expect(Math.abs(shifted.gradNorm / aligned.gradNorm - 1)).toBeLessThan(1e-12)
      expectSameArrays(shifted, aligned)
      const again = await run(device, { gradient, frozen })
      expectSameArrays(again, aligned)
      expect(again.gradNorm).toBe(aligned.gradNorm)
    })

    test('a learning rate that is multiplied on the device has the bits of the product', async () => {
      const step = { gradient: values(5000, 9), frozen: [100, 103], undecayed: [50, 70] }
      expectSameArrays(await run(device, { ...step, rate: 0.25 }), await run(device, step))
    })

    test('without an EMA the rest has the same bits', async () => {
      const step = { gradient: values(5000, 9), frozen: [100, 103], maxNorm: 1 }
      const [withEma, without] = [await run(device, step), await run(device, { ...step, ema: false })]
      expectSameArrays(without, { ...withEma, ema: values(5000, 4) })
      expect(without.gradNorm).toBe(withEma.gradNorm)
    })

    // Of 5 elements the last of three processes has all, of 70,001 a few more than the others.
    test.each([
      { count: 5, shares: 3 },
      { count: 70_001, shares: 2 },
      { count: 70_001, shares: 7 },
    ])('$count parameters in $shares shares: the bits of one pass', async ({ count, shares }) => {
      const [frozen, undecayed] =
        count < 100
          ? [
              [1, 2],
              [4, 5],
            ]
          : [ranges(count, 16), ranges(count, 5)]
      const step = { gradient: values(count, 9), frozen, undecayed }
      const [whole, divided] = [await run(device, step), await run(device, { ...step, shares })]
      expectSameArrays(divided, whole)
      expect(Math.abs(divided.gradNorm / whole.gradNorm - 1)).toBeLessThan(1e-12)
    })

    test('a gradient that is not finite in one share changes nothing in any', async () => {
      const gradient = values(1000, 9)
      gradient[990] = Number.NaN
      const { finite, ...left } = await run(device, { gradient, frozen: [], shares: 3 })
      expect(finite).toBe(false)
      const start = { weight: values(1000, 1), firstMoment: values(1000, 2), ema: values(1000, 4) }
      for (const name of ['weight', 'firstMoment', 'ema'] as const) expectSameBits(name, left[name], start[name])
    })

    test('no parameters at all', async () => {
      expect(await run(device, { gradient: new Float32Array(0), frozen: [] })).toMatchObject({
        gradNorm: 0,
        finite: true,
      })
    })

    // A CPU computes in f32, and keeps no copy.
    const narrow = device === 'cpu' ? [] : (['bf16', 'f16'] as const)
    describe.each(narrow)('a copy in %s', (compute) => {
      test.each([0, 1])(
        'is what the weights round to, %d elements off alignment; frozen ones are left alone',
        async (shift) => {
          const count = 9001
          const frozen = [17, 80, 4000, 4001]
          const step = { gradient: values(count, 9), frozen, compute, shift }
          const narrowed = await run(device, step)
          const followed = await run(device, { ...step, shares: 2 })
          expectSameBits(
            'the copy of shares',
            Array.from(followed.compute!),
            Array.from(followed.weight, (value) => roundTo(compute, value)),
          )
          expectSameArrays(narrowed, await run(device, { ...step, compute: undefined }))
          const copy = Array.from(narrowed.compute!)
          expectSameBits(
            'the copy',
            copy,
            copy.map((value, i) => (isIn(frozen, i) ? value : roundTo(compute, narrowed.weight[i]!))),
          )
        },
      )
    })

    test('a copy in f32 would copy nothing', () => {
      using array = Tensor.zeros([8], device)
      using state = Tensor.from(new Uint8Array(STATE_BYTES), [STATE_BYTES], device)
      const a = array.handle
      const call = () =>
        native().adamW(a, a, a, a, null, a, [], [], state.handle, false, 1, 0.9, 0.999, 1e-8, 0, 0.9, null)
      expect(call).toThrow('adamW: computeWeight is f32, as the weights are: there is nothing to copy')
    })
  })
}
