import { afterAll, describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

// What TypeScript would not let pass, from JavaScript.
for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`values of another type on ${device}`, () => {
    const made: Tensor[] = []
    afterAll(() => {
      for (const tensor of made) tensor.dispose()
    })

    function tensor(shape: readonly number[]): Tensor {
      const out = Tensor.empty(shape, device)
      made.push(out)
      return out
    }

    const handle = () => tensor([2]).handle
    const { TCP } = (
      process as unknown as { binding(name: 'tcp_wrap'): { TCP: new (type: 0) => { _externalStream: unknown } } }
    ).binding('tcp_wrap')
    test.each([
      ['an object', () => ({})],
      ['a number', () => 1],
      ['nothing', () => undefined],
      ['a Tensor in the place of its handle', () => tensor([2])],
      ['an object with a prototype of a handle', () => Object.create(Object.getPrototypeOf(handle()))],
      ['a proxy of a handle', () => new Proxy(handle(), {})],
      ["an External of Node's own", () => new TCP(0)._externalStream],
    ])('%s is not a tensor', (_, foreign) => {
      const add = native().add as (a: unknown, b: unknown) => unknown
      const expected = (name: string) => ({ code: 'ERR_INVALID_ARGUMENT', message: `add: ${name} is not a tensor.` })
      expect(() => add(foreign(), handle())).toThrow(expect.objectContaining(expected('a')))
      expect(() => add(handle(), foreign())).toThrow(expect.objectContaining(expected('b')))
    })

    test.each([
      [() => (native().fill as (...args: unknown[]) => void)(handle(), '1'), 'fill: value must be a number.'],
      [() => (native().fill as (...args: unknown[]) => void)(handle()), 'fill: value must be a number.'],
      [
        () => (native().attention as (...args: unknown[]) => unknown)(handle(), 1.5, true),
        'attention: heads must be a whole number.',
      ],
      [
        () => (native().attention as (...args: unknown[]) => unknown)(handle(), 1, 1),
        'attention: keepLse must be true or false.',
      ],
      [
        () => (native().activation as (...args: unknown[]) => unknown)(handle(), 3),
        'activation: kind must be a string.',
      ],
      [
        () => (native().linearCombination as (...args: unknown[]) => unknown)([1], handle()),
        'linearCombination: values must be an array of tensors.',
      ],
      [
        () => (native().linearCombination as (...args: unknown[]) => unknown)(['1'], []),
        'linearCombination: coefficients must be an array of numbers.',
      ],
      [
        () => (native().fromHost as (...args: unknown[]) => unknown)([1], [1], 'f32', device),
        'fromHost: data must be a typed array.',
      ],
      [() => (native().memoryStats as (...args: unknown[]) => unknown)(), 'memoryStats: device must be a string.'],
      // Of 32 GiB, were it taken at its word.
      [() => tensor(new Array(2 ** 32 - 1)), 'empty: shape must be an array of numbers.'],
    ])('call %# is refused', (call, message) => {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message }))
    })
  })
}
