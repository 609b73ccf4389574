/** Gradients that the tape says are final: what is enqueued from then on finds them, and nothing is added to one later. */
import { beforeEach, describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { add, silu } from '../../src/tensor/ops/elementwise.ts'
import { linear } from '../../src/tensor/ops/linear.ts'
import { reshape } from '../../src/tensor/ops/reshape.ts'
import { Parameter } from '../../src/tensor/parameter.ts'
import { keep } from '../../src/tensor/scope.ts'
import { Tape, tapeSection } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from './devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`final gradients on ${device}`, () => {
    const NAMES = ['shared', 'first', 'second', 'bias', 'unused'] as const
    let arena: ParameterArena
    let parameters: Readonly<Record<(typeof NAMES)[number], Parameter>>
    let x: Tensor

    beforeEach(() => {
      const made = NAMES.map((name) => new Parameter(name, name === 'bias' ? [2] : [2, 2]))
      parameters = Object.fromEntries(NAMES.map((name, i) => [name, made[i]!])) as typeof parameters
      arena = new ParameterArena(made, device)
      arena.allocateGradients()
      arena.array('weights').write(Float32Array.from({ length: arena.size }, (_, i) => ((i * 7) % 5) - 2))
      native().fill(arena.array('gradients').handle, 99)
      x = Tensor.from(Float32Array.of(1, 2), [1, 2], device)
      return () => {
        arena.dispose()
        x.dispose()
      }
    })

    const layer = (name: 'shared' | 'first' | 'second') => ({ weight: parameters[name].value, bias: undefined })
    /** Two sections, both of which use one weight, and an op that knows nothing of parameters. */
    const body = () => {
      const early = tapeSection(() => linear(linear(x, layer('shared')), layer('first')))
      const late = tapeSection(() => linear(linear(early, layer('second')), layer('shared')))
      return add(reshape(late, [2]), parameters.bias.value)
    }

    /** What was told in a pass, and the gradients as they were then. */
    function pass(accumulate: boolean) {
      const told: string[][] = []
      const then = new Map<Parameter, Tensor>()
      const onFinal = (final: readonly Parameter[]) => {
        told.push(final.map(({ name }) => name))
        for (const parameter of final) {
          const copy = keep(Tensor.empty(parameter.shape, device))
          native().copy(copy.handle, parameter.gradient!.handle)
          then.set(parameter, copy)
        }
      }
      using tape = new Tape({ accumulate, onFinal })
      using out = tape.record(body)
      tape.seed(out, Tensor.from(Float32Array.of(1, 10), [2], device))
      tape.backward(arena.parameters).dispose()
      return { told, then }
    }

    test.each([{ accumulate: false }, { accumulate: true }])(
      'are told when the last section that uses them is through, %o',
      async ({ accumulate }) => {
        if (accumulate) pass(false)
        const { told, then } = pass(accumulate)
        expect(told).toEqual([['bias'], ['second'], ['shared', 'first', 'unused']])
        for (const parameter of arena.parameters) {
          const gradient = [...(await parameter.gradient!.data())]
          expect([parameter.name, ...(await then.get(parameter)!.data())]).toEqual([parameter.name, ...gradient])
        }
        expect([...(await parameters.unused.gradient!.data())]).toEqual([0, 0, 0, 0])
        expect([...(await parameters.bias.gradient!.data())]).toEqual(accumulate ? [2, 20] : [1, 10])
      },
    )

    test('have the bits that they have where nobody is told', async () => {
      pass(false)
      const told = [...(await arena.array('gradients').data())]
      native().fill(arena.array('gradients').handle, 99)
      using tape = new Tape()
      using out = tape.record(body)
      tape.seed(out, Tensor.from(Float32Array.of(1, 10), [2], device))
      tape.backward(arena.parameters).dispose()
      expect([...(await arena.array('gradients').data())]).toEqual(told)
    })

    test('of an op that has not named its parameter are an error, not a wrong sum', () => {
      const { first } = parameters
      using tape = new Tape({ onFinal: () => {} })
      tape.watch(x)
      using out = tape.record(() => {
        const hidden = tapeSection(() => {
          const made = silu(x)
          tape.push([made], [], (gradients) => void gradients.into(first.value))
          return made
        })
        return tapeSection(() => linear(hidden, layer('first')))
      })
      tape.seed(out, Tensor.from(Float32Array.of(1, 10), [1, 2], device))
      expect(() => tape.backward(arena.parameters)).toThrow(
        'backward: an op adds to the gradient of first, which was final; when it was recorded, it did not name the parameter among its inputs.',
      )
    })
  })
}
