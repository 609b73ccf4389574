/** What would make gradients wrong without a word: refused, or as if it had not been. */
import { describe, expect, test, vi } from 'vitest'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { add, silu } from '../../src/tensor/ops/elementwise.ts'
import { velocityLoss } from '../../src/tensor/ops/loss.ts'
import { Parameter } from '../../src/tensor/parameter.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { DEVICES } from './devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a tape on ${device}`, () => {
    const vector = (...values: number[]) => Tensor.from(Float32Array.from(values), [values.length], device)
    const ones = (...shape: number[]) => Tensor.full(shape, 1, device)

    const UNTRACKED =
      'seed: the tape does not know this tensor of shape [2]. Either no op has made it while the tape recorded of what wants a gradient, as ' +
      'none has made a view or an alias (the op reshape makes a tensor that is known); or backward has gone through the tape since: then ' +
      'record the forward pass again.'

    /** Gives the tape a tensor that it does not know, of what it has recorded. */
    const UNKNOWN: readonly (readonly [what: string, of: (tape: Tape, out: Tensor) => Tensor])[] = [
      ['a view', (_, out) => out.reshape([2])],
      ['an alias', (_, out) => out.alias()],
      ['what was made of nothing that wants a gradient', (tape) => tape.record(() => silu(vector(1, 2)))],
      ['what is not recorded', () => vector(1, 2)],
      [
        'a result that backward has gone back from',
        (tape, out) => {
          tape.seed(out, ones(2))
          tape.backward().dispose()
          return out.alias()
        },
      ],
    ]

    test.each(UNKNOWN)('refuses a gradient for %s', (_, unknownOf) => {
      const x = vector(1, 2)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => add(x, x))
      using unknown = unknownOf(tape, out)
      using gradient = ones(2)
      expect(() => tape.seed(unknown, gradient)).toThrow(UNTRACKED)
    })

    test('refuses a second gradient for a result that backward has gone back from, the same tensor', () => {
      const x = vector(1, 2)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => add(x, x))
      tape.seed(out, ones(2))
      tape.backward().dispose()
      expect(() => tape.seed(out, ones(2))).toThrow(UNTRACKED)
      expect(tape.tracks(out)).toBe(false)
      expect(tape.tracks(x)).toBe(true)
    })

    test.each<readonly [gradient: () => Tensor, message: string]>([
      [() => ones(3), 'seed: the gradient has shape [3], the tensor [2]; they were expected to be the same.'],
      [() => ones(1, 2), 'seed: the gradient has shape [1,2], the tensor [2]; they were expected to be the same.'],
      [
        () => Tensor.from(new Float64Array(2), [2], device),
        'seed: the gradient is f64, the tensor f32; they were expected to be the same.',
      ],
    ])('refuses a gradient that is not as its tensor: %#', (make, message) => {
      const x = vector(1, 2)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => add(x, x))
      using gradient = make()
      expect(() => tape.seed(out, gradient)).toThrow(message)
    })

    test.each<readonly [what: string, body: (x: Tensor, weight: Tensor) => void]>([
      ['before its loss', (x, weight) => void add(x, weight)],
      ['behind its loss', (x, weight) => void velocityLoss(add(x, weight), vector(9, 9))],
    ])('forgets a recording that fails %s', async (_, body) => {
      const parameter = new Parameter('p', [2])
      const arena = new ParameterArena([parameter], device)
      arena.allocateGradients()
      const x = vector(1, 2)
      const pass = async (fails: boolean) => {
        const final: Parameter[] = []
        using tape = new Tape({ onFinal: (parameters) => final.push(...parameters) })
        tape.watch(x)
        if (fails) {
          let made: Tensor | undefined
          const failing = () =>
            tape.record(() => {
              body(x, parameter.value)
              made = add(x, x)
              throw new Error('mine')
            })
          expect(failing).toThrow('mine')
          expect(tape.tracks(made!)).toBe(false)
          expect(() => tape.backward(arena.parameters)).toThrow('backward: no loss was recorded')
        }
        const loss = tape.record(() => velocityLoss(add(x, parameter.value), vector(3, 7)))
        const gradients = tape.backward(arena.parameters)
        const values = [...(await parameter.gradient!.data()), ...(await gradients.get(x)!.data())]
        gradients.dispose()
        loss.dispose()
        return { values, final: final.length }
      }
      expect(await pass(true)).toEqual(await pass(false))
      arena.dispose()
    })

    test('keeps what was recorded before a recording that fails', async () => {
      const x = vector(1, 2)
      using tape = new Tape()
      tape.watch(x)
      using out = tape.record(() => add(x, x))
      const failing = () =>
        tape.record(() => {
          add(out, x)
          throw new Error('mine')
        })
      expect(failing).toThrow('mine')
      tape.seed(out, vector(1, 10))
      const gradients = tape.backward()
      expect([...(await gradients.get(x)!.data())]).toEqual([2, 20])
      gradients.dispose()
    })

    test('tells of all parameters that come by an iterator, which can be gone through once', () => {
      const parameter = new Parameter('p', [2])
      const arena = new ParameterArena([parameter], device)
      arena.allocateGradients()
      const final: Parameter[] = []
      using tape = new Tape({ onFinal: (parameters) => final.push(...parameters) })
      tape.record(() => velocityLoss(parameter.value, vector(3, 7))).dispose()
      tape.backward(arena.parameters[Symbol.iterator]()).dispose()
      expect(final).toEqual([parameter])
      arena.dispose()
    })

    /** What the CPU's optimizer keeps no copy in. */
    const dtype = device === 'cpu' ? 'f32' : 'bf16'

    /** What changes parameters, and how what is refused names them afterwards. */
    const CHANGES: readonly (readonly [what: string, change: (arena: ParameterArena) => void, now: string])[] = [
      [
        'a step',
        (arena) => {
          using optimizer = new AdamW(arena)
          optimizer.step()
        },
        `weights in ${dtype}, change 1`,
      ],
      ['a load', (arena) => arena.refreshCompute(), `weights in ${dtype}, change 1`],
      ['another dtype', (arena) => arena.computeIn('f16'), 'weights in f16, change 0'],
      ['the use of the average', (arena) => arena.use('ema'), `ema in ${dtype}, change 0`],
    ]

    test.each(CHANGES)('refuses to go back through parameters that %s has changed', (_, change, now) => {
      const parameter = new Parameter('p', [2])
      const arena = new ParameterArena([parameter], device)
      arena.computeIn(dtype)
      arena.allocateGradients()
      arena.array('ema')
      const pass = (tape: Tape) => tape.record(() => velocityLoss(add(vector(1, 2), parameter.value), vector(3, 7)))
      {
        using tape = new Tape()
        using _loss = pass(tape)
        change(arena)
        expect(() => tape.backward(arena.parameters)).toThrow(
          `backward: p and the parameters with it are others than the forward pass has read (those were weights in ${dtype}, change 0; these are ` +
            `${now}): a step, a load, computeIn or arena.use has come between, and the gradient would be of neither. Record the forward pass ` +
            'again, on another tape.',
        )
      }
      using tape = new Tape()
      using _loss = pass(tape)
      tape.backward(arena.parameters).dispose()
      arena.dispose()
    })

    test('goes back through parameters that others have used meanwhile, or that a failed recording alone has read', () => {
      const parameters = ['own', 'others'].map((name) => new Parameter(name, [2]))
      const [own, others] = parameters.map((parameter) => new ParameterArena([parameter], device))
      for (const arena of [own!, others!]) arena.allocateGradients()
      own!.array('ema')
      using tape = new Tape()
      using _loss = tape.record(() => velocityLoss(add(vector(1, 2), parameters[0]!.value), vector(3, 7)))
      const failing = () =>
        tape.record(() => {
          add(vector(1, 2), parameters[1]!.value)
          throw new Error('mine')
        })
      expect(failing).toThrow('mine')
      others!.refreshCompute()
      {
        using _average = own!.useMeanwhile('ema')
      }
      tape.backward(own!.parameters).dispose()
      for (const arena of [own!, others!]) arena.dispose()
    })

    test.each<readonly [what: string, run: (body: () => Promise<void>) => unknown]>([
      ['a scope', (body) => scope(body)],
      ['a recording', (body) => new Tape().record(body)],
    ])('%s that refuses an asynchronous body leaves no rejection that nobody handles', async (_, run) => {
      const unhandled = vi.fn()
      process.on('unhandledRejection', unhandled)
      try {
        const body = async () => {
          await undefined
          throw new Error('later')
        }
        expect(() => run(body)).toThrow('A scope takes synchronous code only; await outside of it.')
        await new Promise((resolve) => setTimeout(resolve, 5))
        expect(unhandled).not.toHaveBeenCalled()
      } finally {
        process.off('unhandledRejection', unhandled)
      }
    })
  })
}
