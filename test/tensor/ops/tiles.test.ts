import { afterEach, describe, expect, test } from 'vitest'
import { type NativeTensor, native } from '../../../src/native.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random, roundTo } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { ndArray, uploadAs } from './op-case.ts'

// Hopper's products exist in several tiles, between which a measurement may choose: no bit depends on it.
const wish = process.env.REPA_GEMM
afterEach(() => {
  if (wish === undefined) delete process.env.REPA_GEMM
  else process.env.REPA_GEMM = wish
})

// Rows: four tiles and a part of one, which on the shim's two multiprocessors are several for each consumer. Columns: two tiles of 192,
// and one and a half of 256. Sums: three steps and a part of one.
const [ROWS, COLUMNS, SUM] = [550, 384, 200]

const isHopper = (device: string) =>
  native()
    .cudaInfo()
    .devices.some(({ ordinal, computeCapability }) => device === `cuda:${ordinal}` && computeCapability === '9.0')

interface Operands {
  readonly x: NativeTensor
  readonly weight: NativeTensor
  readonly weightOfSums: NativeTensor
  readonly pre: NativeTensor
  readonly bias: NativeTensor
  readonly residual: NativeTensor
  readonly modulation: NativeTensor
  f32(...shape: number[]): NativeTensor
}

type Dtype = 'bf16' | 'f16'

const forward =
  (kind: 'none' | 'silu' | 'gelu-tanh' | 'gelu-erf' | 'quick-gelu', out?: 'f32') => (t: Operands, dtype: Dtype) =>
    native().linear(t.x, t.weight, t.bias, kind, kind !== 'none', out ?? dtype)
const inputGradient = (kind: 'none' | 'silu' | 'gelu-tanh') => (t: Operands) => {
  const sums = kind === 'none' ? null : t.f32(COLUMNS)
  const dX = native().linearInputGradient(t.x, t.weightOfSums, kind === 'none' ? null : t.pre, kind, sums, true)
  return sums ? [dX, sums] : [dX]
}

const CASES: Record<string, (t: Operands, dtype: Dtype) => (NativeTensor | null)[]> = {
  'forward, bias': forward('none'),
  'forward, bias, to f32': forward('none', 'f32'),
  'forward, SiLU, pre-activations kept': forward('silu'),
  'forward, GELU (tanh), pre-activations kept': forward('gelu-tanh'),
  'forward, GELU, pre-activations kept': forward('gelu-erf'),
  "forward, CLIP's GELU, pre-activations kept": forward('quick-gelu'),
  'forward, gate, residual': (t) =>
    native().linearGatedResidual(t.x, t.weight, t.bias, t.residual, t.modulation, 1, true),
  'forward, scaled residual': (t) => [native().linearScaledResidual(t.x, t.weight, t.bias, t.residual, t.bias)],
  'input gradient': inputGradient('none'),
  'input gradient, SiLU, bias gradient': inputGradient('silu'),
  'input gradient, GELU (tanh), bias gradient': inputGradient('gelu-tanh'),
  'weight gradients, added': (t) => {
    const [first, second] = [t.f32(SUM, COLUMNS), t.f32(SUM, COLUMNS)]
    native().linearWeightGradients([t.x, t.x], [t.pre, t.pre], [first, second], true)
    return [first, second]
  },
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || !isHopper(device)).each(['bf16', 'f16'] as const)(`tiles on ${device} in %s`, (dtype) => {
    test.each(Object.entries(CASES))('%s', async (_, compute) => {
      const inTile = async (gemm: string) => {
        process.env.REPA_GEMM = gemm
        const tensors: Tensor[] = []
        let drawn = 0
        const draw = (as: Dtype | 'f32', ...shape: number[]) => {
          const tensor = uploadAs(
            map(random(shape, drawn++), (value) => roundTo(as, value)),
            device,
            as,
          )
          tensors.push(tensor)
          return tensor.handle
        }
        try {
          const operands: Operands = {
            x: draw(dtype, 1, ROWS, SUM),
            weight: draw(dtype, COLUMNS, SUM),
            weightOfSums: draw(dtype, SUM, COLUMNS),
            pre: draw(dtype, 1, ROWS, COLUMNS),
            bias: draw('f32', COLUMNS),
            residual: draw('f32', 1, ROWS, COLUMNS),
            modulation: draw('f32', 1, 2, COLUMNS),
            f32: (...shape) => draw('f32', ...shape),
          }
          const data = []
          for (const handle of compute(operands, dtype))
            if (handle) {
              const result = tensors.find((tensor) => tensor.handle === handle) ?? new Tensor(handle, device)
              tensors.push(result)
              data.push((await ndArray(result)).data)
            }
          return data
        } finally {
          for (const tensor of tensors) tensor.dispose()
        }
      }
      const standard = await inTile('wgmma')
      for (const tile of ['128x192', '128x256']) expect(await inTile(`wgmma-${tile}`), tile).toEqual(standard)
    })
  })
}
