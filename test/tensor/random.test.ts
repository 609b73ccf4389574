import { describe, expect, test } from 'vitest'
import { type NativeTensor, native } from '../../src/native.ts'
import {
  dropLabels,
  fillNormal,
  fillUniform,
  RANDOM_STREAMS,
  type RandomKey,
  randomIntegers,
  randomNormal,
  randomTimesteps,
  randomTokens,
  randomUniform,
} from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { lognormalTime } from '../reference/interpolant.ts'
import { philox, uniform, type Words2, type Words4 } from '../reference/philox.ts'
import { placesOf } from '../reference/token-subset.ts'
import { DEVICES } from './devices.ts'

/** native/core/philox.h: word i mod 4 of the block i div 4 under the seed, at (block, step, stream). */
function word(seed: bigint, stream: number, step: number, element: number): number {
  const block = Math.floor(element / 4)
  const low = (value: number) => value % 2 ** 32
  const high = (value: number) => Math.floor(value / 2 ** 32)
  const key: Words2 = [Number(seed & 0xffffffffn), Number(seed >> 32n)]
  const counter: Words4 = [low(block), low(step), stream, (high(step) | (high(block) << 16)) >>> 0]
  return philox(counter, key)[element % 4]
}

/** Box-Muller of native/core/box_muller.h in float64: the radius' uniform is the middle of its 2^-32. */
function normalOf(seed: bigint, stream: number, step: number, element: number): number {
  const first = element - (element % 2)
  const radius = Math.sqrt(-2 * Math.log((word(seed, stream, step, first) + 0.5) / 2 ** 32))
  const angle = (2 * Math.PI * word(seed, stream, step, first + 1)) / 2 ** 32
  return radius * (element % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
}

/** "Each is within 4 half-ulps of the exact transform"; sine and cosine, absolutely within 5e-11 and rounded to 2^-30. */
const normalTolerance = (exact: number) => 4 * 2 ** -24 * Math.abs(exact) + 7 * 2 ** -30

/** Seeds of one and two words, steps beyond 32 bits, elements whose block is beyond 32 bits. */
const POSITIONS = [
  { seed: 0n, stream: 0, step: 0, first: 0 },
  { seed: 1n, stream: 2, step: 3, first: 1 },
  { seed: 0x299f31d0a4093822n, stream: 0x13198a2e, step: 0x0370_7344_85a3, first: 4 * 0x243f6a88 },
  { seed: 2n ** 64n - 1n, stream: 2 ** 32 - 1, step: 2 ** 48 - 1, first: 2 ** 50 - 23 },
] as const
const COUNT = 23
const UNIFORM = { weighting: 'uniform', path: 'linear' } as const
const elements = Array.from({ length: COUNT }, (_, i) => i)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`random numbers on ${device}`, () => {
    test.each(POSITIONS)('uniform bits at seed $seed, stream $stream, step $step, element $first', async (at) => {
      using out = Tensor.empty([COUNT], device)
      native().fillUniform(out.handle, 0, 1, at.seed, at.stream, at.step, at.first)
      const expected = elements.map((i) => uniform(word(at.seed, at.stream, at.step, at.first + i)))
      expect(await out.data()).toEqual(Float32Array.from(expected))
    })

    test.each([
      [0, 1000],
      [-5, 2],
      [7, 8],
      [0, 2 ** 24],
    ])('integers from %i to below %i', async (low, high) => {
      for (const at of POSITIONS) {
        using out = Tensor.empty([COUNT], device, 'i32')
        native().fillIntegers(out.handle, low, high, at.seed, at.stream, at.step, at.first)
        const expected = elements.map((i) =>
          Math.floor(low + uniform(word(at.seed, at.stream, at.step, at.first + i)) * (high - low)),
        )
        expect(await out.dataAs('i32')).toEqual(Int32Array.from(expected))
      }
      using empty = Tensor.empty([0], device, 'i32')
      expect(() => native().fillIntegers(empty.handle, high, low, 0n, 0, 0, 0)).toThrow('fillIntegers: the range from')
    })

    test.each(POSITIONS)('normals at seed $seed, stream $stream, step $step, element $first', async (at) => {
      using out = Tensor.empty([COUNT], device)
      native().fillNormal(out.handle, 1, at.seed, at.stream, at.step, at.first)
      const actual = await out.data()
      for (const i of elements) {
        const exact = normalOf(at.seed, at.stream, at.step, at.first + i)
        expect(Math.abs(actual[i] - exact), `element ${i}`).toBeLessThan(normalTolerance(exact))
      }
    })

    // On the CPU 16,384 numbers are filled at a time, and the blocks of four at both ends of them are made twice.
    test('many numbers are those of their places, from inside a block on', async () => {
      const [count, first, { seed, stream, step }] = [40_003, 5, POSITIONS[2]]
      using uniforms = Tensor.empty([count], device)
      using normals = Tensor.empty([count], device)
      native().fillUniform(uniforms.handle, 0, 1, seed, stream, step, first)
      native().fillNormal(normals.handle, 1, seed, stream, step, first)
      const [u, n] = await Promise.all([uniforms.data(), normals.data()])
      for (const i of [0, 16_383, 16_384, 32_769, count - 1]) {
        expect(u[i], `uniform number ${i}`).toBe(uniform(word(seed, stream, step, first + i)))
        const exact = normalOf(seed, stream, step, first + i)
        expect(Math.abs(n[i]! - exact), `normal number ${i}`).toBeLessThan(normalTolerance(exact))
      }
    })

    // Random123's published answer for the digits of pi.
    test('the known answer of Philox-4x32-10', async () => {
      using out = Tensor.empty([4], device)
      const step = 0x85a308d3 + 0x7344 * 2 ** 32
      const block = 0x243f6a88 + 0x0370 * 2 ** 32
      native().fillUniform(out.handle, 0, 1, 0x299f31d0a4093822n, 0x13198a2e, step, 4 * block)
      const words = [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
      expect(await out.data()).toEqual(Float32Array.from(words, uniform))
    })

    const key: RandomKey = { seed: 7, stream: 'noise', step: 11 }

    test('fillUniform and fillNormal scale', async () => {
      using plain = Tensor.empty([257], device)
      using scaled = Tensor.empty([257], device)
      fillUniform(plain, 0, 1, key)
      fillUniform(scaled, -0.25, 0.5, key)
      expect(await scaled.data()).toEqual((await plain.data()).map((u) => -0.25 + 0.75 * u))
      fillNormal(plain, 1, key)
      fillNormal(scaled, 0.02, key)
      expect(await scaled.data()).toEqual((await plain.data()).map((n) => 0.02 * n))
    })

    // Fused into one rounding, as arm64 and GPUs have an instruction for, the sum is what the product's rounding has left out: -9.6e-21.
    test('a scaled number is a product, rounded, and a sum', async () => {
      const [low, high, { seed, stream, step, first }] = [-0.00041454829115462525, 0.0006089931622742387, POSITIONS[1]]
      expect(low + (high - low) * uniform(word(seed, stream, step, first))).toBe(0)
      using out = Tensor.empty([1], device)
      native().fillUniform(out.handle, low, high, seed, stream, step, first)
      expect(await out.data()).toEqual(Float32Array.of(0))
    })

    // Of every generator, scaled and not, from inside a block on and past the end of one of the GPU's blocks of threads.
    test.each(POSITIONS.slice(0, 3))('the bits of the CPU at seed $seed, step $step, element $first', async (at) => {
      const { seed, stream, step, first } = at
      const fills: readonly ((out: NativeTensor) => void)[] = [
        (out) => native().fillUniform(out, 0, 1, seed, stream, step, first),
        (out) => native().fillUniform(out, -0.3, 0.7, seed, stream, step, first),
        (out) => native().fillNormal(out, 1, seed, stream, step, first),
        (out) => native().fillNormal(out, 0.02, seed, stream, step, first),
        (out) => native().fillTimesteps(out, 'lognormal', 'linear', 1, seed, stream, step, first),
        (out) => native().fillTimesteps(out, 'uniform', 'linear', 3.7, seed, stream, step, first),
        (out) => native().fillTimesteps(out, 'lognormal', 'cosine', 0.3, seed, stream, step, first),
      ]
      for (const fill of fills) {
        using here = Tensor.empty([2077], device)
        using there = Tensor.empty([2077], 'cpu')
        for (const out of [here, there]) fill(out.handle)
        const [actual, expected] = await Promise.all([here.data(), there.data()])
        expect(new Uint32Array(actual.buffer)).toEqual(new Uint32Array(expected.buffer))
      }
    })

    test('what begins inside an access of 16 bytes, or ends there, is filled and nothing beside it', async () => {
      using whole = Tensor.zeros([40], device)
      using expected = Tensor.empty([30], device)
      native().fillNormal(expected.handle, 1, 1n, 2, 3, 4)
      for (const offset of [1, 2, 4, 7]) {
        using part = whole.view(offset, [30])
        native().fillNormal(part.handle, 1, 1n, 2, 3, 4)
        const all = await whole.data()
        expect(all.subarray(offset, offset + 30)).toEqual(await expected.data())
        expect([...all.subarray(offset + 30)]).toEqual(new Array(10 - offset).fill(0))
      }
    })

    test('a stream, a step and a seed have numbers of their own', async () => {
      const keys = [
        ...Object.keys(RANDOM_STREAMS).map((stream) => ({ ...key, stream: stream as RandomKey['stream'] })),
        { ...key, step: 12 },
        { ...key, seed: 8 },
      ]
      const drawn = await Promise.all(
        keys.map(async (each) => {
          using x = randomNormal([64], each, device)
          return x.data()
        }),
      )
      const all = new Set(drawn.flatMap((values) => [...values]))
      // 640 numbers of which hardly two agree by chance: about 2^24 distinct values each.
      expect(all.size).toBeGreaterThan(64 * keys.length - 3)
    })

    // 40 000 draws; moments within four standard deviations (as test/reference/philox.test.ts has it).
    test('normals have the moments of N(0, 1)', async () => {
      using x = randomNormal([40_000], key, device)
      const values = await x.data()
      for (const { power, mean, variance } of [
        { power: 1, mean: 0, variance: 1 },
        { power: 2, mean: 1, variance: 2 },
        { power: 3, mean: 0, variance: 15 },
        { power: 4, mean: 3, variance: 96 },
      ]) {
        const moment = values.reduce((sum, value) => sum + value ** power, 0) / values.length
        expect(Math.abs(moment - mean), `moment ${power}`).toBeLessThan(4 * Math.sqrt(variance / values.length))
      }
    })

    const LABELS = Int32Array.from({ length: 50 }, (_, i) => i % 10)
    type Draw = (batch: number, firstSample: number) => Tensor
    const draws: { name: string; draw: Draw }[] = [
      {
        name: 'randomNormal',
        draw: (batch, firstSample) => randomNormal([batch, 3, 5], { ...key, firstSample }, device),
      },
      {
        name: 'randomUniform',
        draw: (batch, firstSample) => randomUniform([batch, 3], { ...key, firstSample }, device),
      },
      ...(['uniform', 'lognormal'] as const).flatMap((weighting) =>
        (['linear', 'cosine'] as const).map((path) => ({
          name: `randomTimesteps, ${weighting} on the ${path} path`,
          draw: (batch: number, firstSample: number) =>
            randomTimesteps(batch, { weighting, path, shift: 2 }, { ...key, firstSample }, device),
        })),
      ),
      {
        name: 'dropLabels',
        draw: (batch, firstSample) => {
          using labels = Tensor.from(LABELS.subarray(firstSample, firstSample + batch), [batch], device)
          return dropLabels(labels, 0.4, 10, { ...key, firstSample })
        },
      },
      {
        name: 'randomTokens',
        draw: (batch, firstSample) => {
          const { ids, places } = randomTokens({ batch, tokens: 9, taken: 4 }, { ...key, firstSample }, device)
          places.dispose()
          return ids
        },
      },
    ]

    test.each([
      [3, 1, 0],
      [3, 1, 1],
      [5, 16, 8],
      [2, 33, 32],
      [9, 257, 100],
      [4, 64, 64],
    ])('%d samples: of %d tokens those with the %d smallest uniform numbers', async (batch, tokens, taken) => {
      const { ids, places } = randomTokens({ batch, tokens, taken }, { ...key, firstSample: 5 }, device)
      const expected = Array.from({ length: batch }, (_, sample) => {
        const numbers = Array.from({ length: tokens }, (_, token) =>
          uniform(word(7n, RANDOM_STREAMS.noise, 11, (5 + sample) * tokens + token)),
        )
        const order = numbers.map((_, token) => token).sort((a, b) => numbers[a]! - numbers[b]! || a - b)
        return order.slice(0, taken).sort((a, b) => a - b)
      })
      expect([...(await ids.dataAs('i32'))]).toEqual(expected.flat())
      expect(await places.dataAs('i32')).toEqual(placesOf(Int32Array.from(expected.flat()), batch, tokens))
      for (const tensor of [ids, places]) tensor.dispose()
    })

    test('of tokens with equal numbers the first are taken', async () => {
      const tokens = 20_000
      const numbers = Array.from({ length: tokens }, (_, token) => uniform(word(7n, RANDOM_STREAMS.noise, 11, token)))
      const order = numbers.map((_, token) => token).sort((a, b) => numbers[a]! - numbers[b]! || a - b)
      const last = order.findIndex((token, i) => numbers[token] === numbers[order[i + 1]!])
      expect(last).toBeGreaterThan(0)
      const { ids, places } = randomTokens({ batch: 1, tokens, taken: last + 1 }, key, device)
      expect(await ids.dataAs('i32')).toEqual(Int32Array.from(order.slice(0, last + 1)).sort())
      for (const tensor of [ids, places]) tensor.dispose()
    })

    test.each(draws)('$name: a batch cut anywhere draws what the whole one does', async ({ draw }) => {
      using whole = draw(50, 0)
      const values = await whole.dataAs(whole.dtype)
      for (const cut of [1, 2, 3, 7, 49]) {
        using head = draw(cut, 0)
        using tail = draw(50 - cut, cut)
        expect([...(await head.dataAs(head.dtype)), ...(await tail.dataAs(tail.dtype))]).toEqual([...values])
      }
    })

    test('uniform times are the stream itself', async () => {
      using t = randomTimesteps(COUNT, UNIFORM, { ...key, firstSample: 5 }, device)
      expect(await t.data()).toEqual(
        Float32Array.from(elements, (i) => uniform(word(7n, RANDOM_STREAMS.noise, 11, 5 + i))),
      )
    })

    test.each([
      ['uniform', 1],
      ['uniform', 1 / 3],
      ['lognormal', 6.5],
      ['uniform', 2 ** 40],
    ] as const)('%s times shifted by %d', async (weighting, shift) => {
      const path = 'linear'
      const at = { ...key, firstSample: 5 }
      using plain = randomTimesteps(COUNT, { weighting, path }, at, device)
      using shifted = randomTimesteps(COUNT, { weighting, path, shift }, at, device)
      const [before, after] = await Promise.all([plain.data(), shifted.data()])
      // Numbers are of 53 digits on the way, and rounded to 24 once.
      for (const i of elements)
        expect(after[i]).toBe(Math.fround((shift * before[i]!) / (1 - before[i]! + shift * before[i]!)))
      if (shift === 1) expect(after).toEqual(before)
    })

    test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('a shift of %d is refused', (shift) => {
      expect(() => randomTimesteps(2, { ...UNIFORM, shift }, key, device)).toThrow(
        /^fillTimesteps: shift is .*; expected a number above 0\.$/,
      )
    })

    test.each(['linear', 'cosine'] as const)('lognormal times on the %s path', async (path) => {
      using t = randomTimesteps(COUNT, { weighting: 'lognormal', path }, { ...key, firstSample: 5 }, device)
      const actual = await t.data()
      for (const i of elements) {
        const exact = lognormalTime(path, normalOf(7n, RANDOM_STREAMS.noise, 11, 5 + i))
        // The normal's own error, |n| below 6.8, times a slope of at most 1/2, and one rounding.
        expect(Math.abs(actual[i] - exact)).toBeLessThan(0.5 * (4 * 2 ** -24 * 6.8 + 7 * 2 ** -30) + 2 ** -24)
      }
    })

    test('labels fall to the null class where their uniform number is below the probability', async () => {
      using labels = Tensor.from(LABELS, [50], device)
      const uniforms = Array.from(LABELS, (_, i) => uniform(word(7n, RANDOM_STREAMS.noise, 11, i)))
      for (const probability of [0, 0.1, 0.5, 1]) {
        using dropped = dropLabels(labels, probability, 10, key)
        const expected = LABELS.map((label, i) => (uniforms[i] < probability ? 10 : label))
        expect(await dropped.dataAs('i32')).toEqual(expected)
      }
      expect(await labels.dataAs('i32')).toEqual(LABELS)
    })

    test.each([
      [{ ...key, step: 2 ** 48 }, 'fillNormal: step is 281474976710656; expected less than 2^48.'],
      [{ ...key, step: 0.5 }, 'fillNormal: step must be a whole number.'],
      [{ ...key, step: -1 }, 'fillNormal: step must be a whole number that is not negative.'],
      [{ ...key, seed: -1 }, 'The seed is -1; a whole number, not negative, was expected.'],
      [{ ...key, firstSample: -1 }, 'fillNormal: first is -4; expected not negative, and a last element below 2^50.'],
      [
        { ...key, firstSample: 2 ** 48 },
        'fillNormal: first is 1125899906842624; expected not negative, and a last element below 2^50.',
      ],
    ])('refuses %j', (wrong, message) => {
      expect(() => randomNormal([1, 4], wrong, device)).toThrow(message)
    })

    test.each([
      ['randomUniform', (wrong: RandomKey) => randomUniform([2], wrong, device)],
      ['randomTimesteps', (wrong: RandomKey) => randomTimesteps(2, UNIFORM, wrong, device)],
      ['randomIntegers', (wrong: RandomKey) => randomIntegers(2, 0, 9, wrong, device)],
      ['randomTokens', (wrong: RandomKey) => randomTokens({ batch: 1, tokens: 4, taken: 2 }, wrong, device)],
    ])('%s has no seed that is not a whole number', (_, draw) => {
      expect(() => draw({ ...key, seed: 0.5 })).toThrow('The seed is 0.5; a whole number, not negative, was expected.')
    })

    test.each([
      () => randomTimesteps(2, UNIFORM, { ...key, firstSample: -3 }, device),
      () => {
        using labels = Tensor.from(Int32Array.of(1, 2), [2], device)
        return dropLabels(labels, 0.5, 10, { ...key, firstSample: -3 })
      },
    ])('no sample lies before the first', (draw) => {
      expect(draw).toThrow('first is -3; expected not negative')
    })
  })
}
