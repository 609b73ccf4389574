/** The chunks of a modulation's gradient: there is room for one gradient in each. */
import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    const zeros = (...shape: number[]) => Tensor.full(shape, 0, device).handle

    test('normModulateBackward: shift and scale in one', () => {
      const call = () => {
        const [x, rows, modulation] = [zeros(1, 2, 4), zeros(1, 2), zeros(1, 3, 4)]
        native().normModulateBackward(x, x, rows, rows, modulation, 1, 1, 'layerNorm', null, zeros(1, 3, 4))
      }
      expect(() => scope(call)).toThrow(
        'normModulateBackward: the gradients of two parts of the modulation would both be written to its chunk 1; name different ones.',
      )
    })

    test.each([
      ['shift and scale', [0, 1, 1], 1],
      ['gate and shift', [2, 2, 1], 2],
      ['gate and scale', [0, 1, 0], 0],
    ] as const)('gatedResidualNormModulateBackward: %s in one', (_, [gate, shift, scale], chunk) => {
      const call = () => {
        const [x, rows, modulation] = [zeros(1, 2, 4), zeros(1, 2), zeros(1, 3, 4)]
        const norm = [gate, shift, scale, 'layerNorm', zeros(1, 3, 4), null, false] as const
        native().gatedResidualNormModulateBackward(x, null, x, rows, rows, x, modulation, ...norm)
      }
      expect(() => scope(call)).toThrow(
        `gatedResidualNormModulateBackward: the gradients of two parts of the modulation would both be written to its chunk ${chunk}; name different ones.`,
      )
    })
  })
}
