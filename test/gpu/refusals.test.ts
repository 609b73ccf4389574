/** What only the code that enqueues a kernel finds: a size that it does not take, a setting that it reads. */
import { afterEach, describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { Graph } from '../../src/tensor/graph.ts'
import { attention } from '../../src/tensor/ops/attention.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { linear } from '../../src/tensor/ops/linear.ts'
import { resizeGrid } from '../../src/tensor/ops/pixels.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from '../tensor/devices.ts'

const { REPA_GEMM, REPA_ATTENTION } = process.env
afterEach(() => {
  for (const [name, value] of Object.entries({ REPA_GEMM, REPA_ATTENTION })) {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
})

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a refusal on ${device}`, () => {
    const product = (shape: readonly [number, number]) => {
      const weight = Tensor.full([shape[1], shape[1]], 1, device)
      return linear(Tensor.empty(shape, device), { weight, bias: undefined })
    }
    const cases: readonly (readonly [string, () => unknown, string, RegExp])[] = [
      [
        'a product of more rows than its kernels count to',
        () => product([2 ** 30, 0]),
        'ERR_SHAPE',
        /^linear: a product of 1073741824 x 0 by 0 x 0 has a size beyond what its kernels count to, 2\^30\.$/,
      ],
      [
        'a grid of more blocks than CUDA has',
        () => {
          return resizeGrid(Tensor.full([1, 1, 1, 200], 1, device), 1, 65536, { filter: 'bilinear' })
        },
        'ERR_SHAPE',
        /^resize: 65536 columns were asked for; a GPU's kernel takes at most 65535\. Resize to fewer\.$/,
      ],
      [
        'a wrong REPA_GEMM',
        () => {
          process.env.REPA_GEMM = 'cublas'
          return product([8, 8])
        },
        'ERR_INVALID_ARGUMENT',
        /^linear: REPA_GEMM is "cublas"; expected mma, /,
      ],
      [
        'a wrong REPA_ATTENTION',
        () => {
          process.env.REPA_ATTENTION = 'flash'
          return attention(cast(Tensor.full([1, 8, 3 * 64], 1, device), 'bf16'), 1)
        },
        'ERR_INVALID_ARGUMENT',
        /^attention: REPA_ATTENTION is "flash"; expected mma, mma-streamed, wgmma, wgmma-streamed or auto\.$/,
      ],
    ]

    test.each(cases)('of %s is thrown, and the device goes on', async (_, call, code, message) => {
      using x = Tensor.full([8], 1, device)
      expect(() => scope(call)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }))
      native().fill(x.handle, 2)
      expect([...(await x.data())]).toEqual(Array(8).fill(2))
    })

    test.each(cases.slice(2))(
      'of %s is thrown out of a capture, and the device goes on',
      async (_, call, code, message) => {
        using x = Tensor.full([8], 1, device)
        expect(() => Graph.capture(device, () => scope(call))).toThrow(
          expect.objectContaining({ code, message: expect.stringMatching(message) }),
        )
        expect([...(await x.data())]).toEqual(Array(8).fill(1))
      },
    )
  })
}
