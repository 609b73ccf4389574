import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { Parameter } from '../../src/tensor/parameter.ts'
import { AdamW, type AdamWOptions } from '../../src/training/optimizer.ts'
import { type AdamWState, adamW, clipCoefficient, exponentialMovingAverage } from '../reference/adamw.ts'
import { fromValues, map, type NdArray, random, zeros } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'
import { expectRounded, largestOf } from '../tensor/rounding.ts'

/** Sizes that no vector divides, a frozen parameter in the middle and at the end, and one that spans chunks. */
const SHAPES: readonly { shape: readonly number[]; trainable: boolean }[] = [
  { shape: [3, 5], trainable: true },
  { shape: [7], trainable: false },
  { shape: [70_001], trainable: true },
  { shape: [1], trainable: true },
  { shape: [33], trainable: false },
]
const OPTIONS: AdamWOptions = {
  learningRate: 1e-2,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradNorm: 1,
  emaDecay: 0.75,
  lossScale: 0,
}
/** Products, sums, a square root and divisions of one element's update. */
const ROUNDINGS = 16

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`AdamW on ${device}`, () => {
    let arena: ParameterArena
    let parameters: Parameter[]
    let start: NdArray[]

    beforeEach(() => {
      parameters = SHAPES.map(({ shape, trainable }, i) => new Parameter(`p${i}`, shape, trainable))
      arena = new ParameterArena(parameters, device)
      start = SHAPES.map(({ shape }, i) => random(shape, i + 1))
      parameters.forEach((parameter, i) => {
        parameter.value.write(Float32Array.from(start[i].data))
      })
    })

    afterEach(() => arena.dispose())

    function writeGradients(gradients: readonly NdArray[]): void {
      parameters.forEach((parameter, i) => {
        parameter.gradient?.write(Float32Array.from(gradients[i].data))
      })
    }

    async function read(role: 'weights' | 'firstMoments' | 'secondMoments' | 'ema'): Promise<NdArray[]> {
      const flat = await arena.array(role).data()
      let begin = 0
      return SHAPES.map(({ shape }) => {
        const { length } = zeros(shape).data
        const values = fromValues(shape, flat.subarray(begin, begin + length))
        begin += Math.ceil(length / 16) * 16
        return values
      })
    }

    /** `held`: steps in which the parameters that are late in the table below are held. */
    const CASES: { name: string; options: Partial<AdamWOptions>; scale: number; gradient: number; held?: number }[] = [
      { name: 'clipped', options: {}, scale: 1, gradient: 1 },
      { name: 'not clipped: a small norm', options: {}, scale: 1, gradient: 1e-4 },
      { name: 'not clipped: no limit', options: { maxGradNorm: Number.POSITIVE_INFINITY }, scale: 1, gradient: 1 },
      { name: 'without decay, other betas', options: { weightDecay: 0, betas: [0.5, 0.95] }, scale: 1, gradient: 1 },
      { name: 'with a loss scale to undo', options: {}, scale: 1 / 1024, gradient: 1024 },
      { name: 'with parameters that begin at the third', options: {}, scale: 1, gradient: 1, held: 2 },
      { name: 'with parameters that never begin', options: {}, scale: 1, gradient: 1, held: 4 },
    ]
    /** A large one, and a small one behind it. */
    const isLate = (i: number) => i === 2 || i === 3

    test('begins with moments of 0 where another has had the arena', async () => {
      const step = async () => {
        using optimizer = new AdamW(arena, OPTIONS)
        writeGradients(start)
        optimizer.step()
        return await read('firstMoments')
      }
      const first = await step()
      expect(await step()).toEqual(first)
    })

    test('a small weight decay is what it says', async () => {
      const weightsAfter = async (weightDecay: number): Promise<Float32Array> => {
        parameters.forEach((parameter, i) => {
          parameter.value.write(Float32Array.from(start[i].data))
        })
        using optimizer = new AdamW(arena, { ...OPTIONS, learningRate: 1e-4, weightDecay })
        for (let step = 0; step < 200; step++) {
          // Others at every step: what is below half a bit of a weight counts only where its rounding varies.
          writeGradients(SHAPES.map(({ shape }, i) => random(shape, 1000 + 10 * step + i)))
          optimizer.step()
        }
        return await parameters[2].value.data()
      }
      const [decayed, plain] = [await weightsAfter(1e-3), await weightsAfter(0)]
      let [measured, asked] = [0, 0]
      for (const [i, weight] of start[2].data.entries()) {
        measured += (plain[i] - decayed[i]) * weight
        asked += 200 * 1e-4 * 1e-3 * weight * weight
      }
      // As a factor of f32, 1 - 1e-7 is 1 - 1.19e-7.
      expect(measured / asked).toBeGreaterThan(0.95)
      expect(measured / asked).toBeLessThan(1.05)
    })

    test('an average of a long horizon does not shrink', async () => {
      using optimizer = new AdamW(arena, { ...OPTIONS, learningRate: 3e-5, emaDecay: 0.9999 })
      writeGradients(start)
      const average = Float64Array.from(await arena.array('ema').data())
      for (let step = 0; step < 1000; step++) {
        optimizer.step()
        const weights = await arena.array('weights').data()
        weights.forEach((weight, i) => {
          average[i] = 0.9999 * average[i] + (1 - 0.9999) * weight
        })
      }
      const ema = await arena.array('ema').data()
      let [shrunk, whole] = [0, 0]
      average.forEach((value, i) => {
        shrunk += (value - ema[i]) * value
        whole += value * value
      })
      // f32's 0.9999 and 0.0001 lack 1.7e-8 of 1: 1.6e-5 after these steps. Two roundings a step err by up to half a bit, evenly, in an element
      // perhaps always to the same side, and in each to another: four standard deviations of their mean.
      const limit = (4 * 1000 * 2 ** -24 * Math.sqrt(2 / 3)) / Math.sqrt(arena.size)
      expect(Math.abs(shrunk / whole)).toBeLessThan(limit)
    })

    test.each(CASES)('four steps $name', async ({ options, scale, gradient, held }) => {
      const late = arena.rangesOf((parameter) => isLate(parameters.indexOf(parameter)))
      const all = { ...OPTIONS, ...options, ...(held !== undefined && { late }) }
      using optimizer = new AdamW(arena, all)
      let states: AdamWState[] = start.map((parameter) => ({
        parameter,
        expAvg: zeros(parameter.shape),
        expAvgSq: zeros(parameter.shape),
      }))
      let average = start
      for (let step = 1; step <= 4; step++) {
        const gradients = SHAPES.map(({ shape }, i) => random(shape, 100 * step + i, gradient))
        writeGradients(gradients)
        const holdsLate = held !== undefined && step <= held
        optimizer.step(scale, { holdsLate })
        const isUpdated = (i: number) => SHAPES[i].trainable && !(holdsLate && isLate(i))
        const scaled = gradients.map((each) => map(each, (value) => value * scale))
        const { norm, coefficient } = clipCoefficient(
          scaled.filter((_, i) => isUpdated(i)),
          all.maxGradNorm,
        )
        states = states.map((state, i) => {
          if (!isUpdated(i)) return state
          const count = isLate(i) ? step - (held ?? 0) : step
          return adamW(state, scaled[i], count, { ...all, lr: all.learningRate, eps: all.epsilon }, coefficient)
        })
        average = average.map((each, i) => exponentialMovingAverage(each, states[i].parameter, all.emaDecay))
        const state = await optimizer.state()
        expect(state).toMatchObject({ finite: true, updates: step, skipped: 0, held: Math.min(step, held ?? 0) })
        // Sums in double of float32 squares: only the reference's own rounding and the square root.
        expect(Math.abs(state.gradNorm - norm)).toBeLessThan(1e-12 * norm)
      }
      const [weights, first, second, ema] = await Promise.all(
        (['weights', 'firstMoments', 'secondMoments', 'ema'] as const).map(read),
      )
      SHAPES.forEach(({ trainable }, i) => {
        const { parameter, expAvg, expAvgSq } = states[i]
        // m / √v is at most 1 / √(1 − β₂) of the learning rate early on, and errs by its moments' relative error each step.
        const move = 4 * all.learningRate * Math.sqrt((1 - all.betas[0]) ** 2 / (1 - all.betas[1]))
        const bound = (scale: number) => ({ roundings: 4 * ROUNDINGS, scale: trainable ? scale : 0 })
        expectRounded(`weights of p${i}`, weights[i], parameter, bound(largestOf(parameter) + move))
        expectRounded(`first moments of p${i}`, first[i], expAvg, bound(largestOf(expAvg) + gradient * scale * 0.1))
        expectRounded(`second moments of p${i}`, second[i], expAvgSq, bound(largestOf(expAvgSq)))
        expectRounded(`ema of p${i}`, ema[i], average[i], {
          roundings: 8 * ROUNDINGS,
          scale: largestOf(average[i]) + move,
        })
      })
    })

    test('the gaps between parameters stay zero', async () => {
      using optimizer = new AdamW(arena, OPTIONS)
      writeGradients(SHAPES.map(({ shape }, i) => random(shape, i)))
      optimizer.step()
      const flat = await arena.array('weights').data()
      expect([...flat.subarray(15, 16), ...flat.subarray(16 + 7, 32)]).toEqual(new Array(10).fill(0))
    })

    test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
      'one %d in the gradient: a step that changes nothing but its count',
      async (value) => {
        using optimizer = new AdamW(arena, OPTIONS)
        const gradients = SHAPES.map(({ shape }, i) => random(shape, i))
        writeGradients(gradients)
        optimizer.step()
        const roles = ['weights', 'firstMoments', 'secondMoments', 'ema'] as const
        const before = await Promise.all(roles.map(read))
        gradients[2].data[66_000] = value
        writeGradients(gradients)
        optimizer.step()
        expect(await Promise.all(roles.map(read))).toEqual(before)
        expect(await optimizer.state()).toMatchObject({ finite: false, updates: 1, skipped: 1 })
        gradients[2].data[66_000] = 0
        writeGradients(gradients)
        optimizer.step()
        expect(await optimizer.state()).toMatchObject({ finite: true, updates: 2, skipped: 1 })
      },
    )

    test('squares of large gradients do not overflow', async () => {
      using optimizer = new AdamW(arena, OPTIONS)
      writeGradients(SHAPES.map(({ shape }) => map(zeros(shape), () => 1e30)))
      optimizer.step()
      const { gradNorm, finite } = await optimizer.state()
      expect(finite).toBe(true)
      expect(Math.abs(gradNorm / (Math.fround(1e30) * Math.sqrt(15 + 70_001 + 1)) - 1)).toBeLessThan(1e-12)
    })

    /** The gradients of step `step`, times a factor, and one step. */
    function stepWith(optimizer: AdamW, step: number, factor = 1): void {
      writeGradients(SHAPES.map(({ shape }, i) => map(random(shape, 10 * step + i), (value) => value * factor)))
      optimizer.step()
    }

    test('a loss scale that is a power of two changes no bit', async () => {
      const run = async (lossScale: number) => {
        parameters.forEach((parameter, i) => {
          parameter.value.write(Float32Array.from(start[i].data))
        })
        for (const role of ['firstMoments', 'secondMoments'] as const) {
          arena.array(role).write(new Float32Array(arena.size))
        }
        using optimizer = new AdamW(arena, { ...OPTIONS, lossScale })
        for (let step = 0; step < 3; step++) stepWith(optimizer, step, lossScale || 1)
        const { gradNorm } = await optimizer.state()
        return [
          gradNorm,
          ...(await Promise.all((['weights', 'firstMoments', 'secondMoments', 'ema'] as const).map(read))),
        ]
      }
      expect(await run(65536)).toEqual(await run(0))
    })

    test("the loss scale follows torch.amp.GradScaler's rule", async () => {
      using optimizer = new AdamW(arena, { ...OPTIONS, lossScale: 65536 })
      const scaling = async () => (await optimizer.state()).lossScaling
      expect(await scaling()).toEqual({ scale: 65536, steps: 0 })
      stepWith(optimizer, 0)
      stepWith(optimizer, 1)
      expect(await scaling()).toEqual({ scale: 65536, steps: 2 })
      stepWith(optimizer, 2, Number.POSITIVE_INFINITY)
      expect(await optimizer.state()).toMatchObject({ updates: 2, skipped: 1, lossScaling: { scale: 32768, steps: 0 } })
      optimizer.restore({ updates: 5000, skipped: 3, lossScaling: { scale: 32768, steps: 1998 } })
      stepWith(optimizer, 3)
      expect(await scaling()).toEqual({ scale: 32768, steps: 1999 })
      stepWith(optimizer, 4)
      expect(await scaling()).toEqual({ scale: 65536, steps: 0 })
    })

    test('the loss scale stops at 1 and where it would become infinite', async () => {
      using optimizer = new AdamW(arena, { ...OPTIONS, lossScale: 65536 })
      optimizer.restore({ updates: 0, skipped: 0, lossScaling: { scale: 1.5, steps: 7 } })
      for (let step = 0; step < 2; step++) {
        stepWith(optimizer, step, Number.NaN)
        expect((await optimizer.state()).lossScaling).toEqual({ scale: 1, steps: 0 })
      }
      optimizer.restore({ updates: 0, skipped: 0, lossScaling: { scale: 2 ** 127, steps: 1999 } })
      stepWith(optimizer, 2)
      expect((await optimizer.state()).lossScaling).toEqual({ scale: 2 ** 127, steps: 0 })
    })

    test('without a loss scale there is none to report, whatever a checkpoint says', async () => {
      using optimizer = new AdamW(arena, OPTIONS)
      optimizer.restore({ updates: 1, skipped: 0, lossScaling: { scale: 8, steps: 1 } })
      stepWith(optimizer, 0)
      expect(optimizer.scaling).toBeUndefined()
      expect((await optimizer.state()).lossScaling).toBeUndefined()
    })

    test('restore: the bias corrections go on where they stopped', async () => {
      const run = async (steps: readonly number[], resume: boolean) => {
        parameters.forEach((parameter, i) => {
          parameter.value.write(Float32Array.from(start[i].data))
        })
        let optimizer = new AdamW(arena, OPTIONS)
        for (const step of steps) {
          if (resume && step === 3) {
            const state = await optimizer.state()
            const roles = ['firstMoments', 'secondMoments', 'ema'] as const
            const saved = await Promise.all(roles.map((role) => arena.array(role).data()))
            optimizer.dispose()
            optimizer = new AdamW(arena, OPTIONS)
            roles.forEach((role, i) => {
              arena.array(role).write(saved[i]!)
            })
            optimizer.restore(state)
          }
          writeGradients(SHAPES.map(({ shape }, i) => random(shape, 10 * step + i)))
          optimizer.step()
        }
        optimizer.dispose()
        return Promise.all((['weights', 'firstMoments', 'secondMoments', 'ema'] as const).map(read))
      }
      expect(await run([1, 2, 3, 4], true)).toEqual(await run([1, 2, 3, 4], false))
    })
  })
}
