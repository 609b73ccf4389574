/** Batches of more samples than a GPU's grid has blocks along its y and z, 65,535: each sample's bits are those that it has in a small batch. */
import { describe, expect, test } from 'vitest'
import { groupNormApply, groupNormCoefficients } from '../../../src/tensor/ops/group-norm.ts'
import { rotate } from '../../../src/tensor/ops/rope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { random } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { expectSameBits } from '../same-bits.ts'
import { upload } from './op-case.ts'

const DIFFERENT = 7

interface Op {
  readonly name: string
  readonly samples: number
  /** Of one sample. */
  readonly shape: readonly number[]
  /** `tables`: two tensors of [2]. */
  readonly run: (x: Tensor, tables: readonly [Tensor, Tensor]) => Tensor
}

const OPS: readonly Op[] = [
  {
    name: 'groupNormCoefficients',
    samples: 70_000,
    shape: [20, 2],
    run: (x, [weight, bias]) => groupNormCoefficients(x, { weight, bias, groups: 1, epsilon: 1e-6 }),
  },
  {
    name: 'groupNormApply',
    samples: 70_000,
    shape: [1, 2],
    run: (x) => {
      const samples = x.shape[0]!
      using coefficients = Tensor.full([samples, 2, 2], 0.5, x.device)
      return groupNormApply(x, coefficients, 'silu')
    },
  },
  // A block takes eight.
  {
    name: 'rotate',
    samples: 8 * 70_000,
    shape: [1, 6],
    run: (x, [cos, sin]) => {
      using cosines = cos.view(0, [1, 2])
      using sines = sin.view(0, [1, 2])
      return rotate(x, { cos: cosines, sin: sines }, 1)
    },
  },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    test.each(OPS)('$samples samples of $name', async ({ samples, shape, run }) => {
      const few = Float32Array.from(random([DIFFERENT, ...shape], 1).data)
      const size = few.length / DIFFERENT
      const tables = [upload(random([2], 2), device), upload(random([2], 3), device)] as const
      const of = async (data: Float32Array) => {
        using x = Tensor.from(data, [data.length / size, ...shape], device)
        using out = run(x, tables)
        return out.data()
      }
      const [expected, actual] = [
        await of(few),
        await of(Float32Array.from({ length: samples * size }, (_, i) => few[i % few.length]!)),
      ]
      expectSameBits(
        'out',
        actual,
        Float32Array.from(actual, (_, i) => expected[i % expected.length]!),
      )
      expect(actual.length % samples).toBe(0)
      for (const table of tables) table.dispose()
    })
  })
}
