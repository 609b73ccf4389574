import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import type { Device } from '../../../src/tensor/device.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { activation, add, swiGLU } from '../../../src/tensor/ops/elementwise.ts'
import { embedding } from '../../../src/tensor/ops/embedding.ts'
import { linearCombination } from '../../../src/tensor/ops/float64.ts'
import { interpolant, samplePosterior } from '../../../src/tensor/ops/interpolant.ts'
import { patchify, unpatchify } from '../../../src/tensor/ops/patch.ts'
import { patchEmbed } from '../../../src/tensor/ops/patch-embed.ts'
import { hog, normalizeImages, resizeGrid, toUint8 } from '../../../src/tensor/ops/pixels.ts'
import { gatedResidual, layerScale } from '../../../src/tensor/ops/residual.ts'
import { dropTokens, prependTokens } from '../../../src/tensor/ops/tokens.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { type DeviceDType, Tensor } from '../../../src/tensor/tensor.ts'
import { random, randomIntegers } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'

interface Unaligned {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtypes: readonly DeviceDType[]
  readonly op: (x: Tensor) => Tensor
}

const COMPUTE = ['f32', 'bf16', 'f16'] as const
const IMAGENET = { divisor: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

const image = (device: Device) => Tensor.from(Float32Array.from(random([2 * 4 * 4 * 4], 3).data), [2, 4, 4, 4], device)
const positions = (device: Device) => Tensor.full([4, 8], 0.7, device)

// Sizes of which every vector of elements is a divisor: with an operand that is aligned, too, these take the vectors' path.
const CASES: readonly Unaligned[] = [
  { name: 'cast to f32', shape: [64], dtypes: ['bf16', 'f16', 'f64', 'u8'], op: (x) => cast(x, 'f32') },
  { name: 'cast to bf16', shape: [64], dtypes: ['f32'], op: (x) => cast(x, 'bf16') },
  { name: 'gelu-tanh', shape: [64], dtypes: COMPUTE, op: (x) => activation(x, 'gelu-tanh') },
  { name: 'swiGLU', shape: [2, 64], dtypes: COMPUTE, op: swiGLU },
  { name: 'add', shape: [64], dtypes: COMPUTE, op: (x) => add(x, x) },
  { name: 'linearCombination', shape: [64], dtypes: ['f32', 'f64'], op: (x) => linearCombination([[0.3, x]]) },
  { name: 'patchify', shape: [1, 3, 8, 8], dtypes: ['f32'], op: (x) => patchify(x, 2) },
  {
    name: 'unpatchify',
    shape: [1, 16, 12],
    dtypes: COMPUTE,
    op: (x) => unpatchify(x, { channels: 3, height: 8, width: 8, patch: 2 }),
  },
  {
    name: "patchEmbed's weight",
    shape: [8, 16],
    dtypes: COMPUTE,
    op: (weight) => patchEmbed(image(weight.device), 2, { weight, bias: undefined }, positions(weight.device)),
  },
  {
    name: "patchEmbed's positions",
    shape: [4, 8],
    dtypes: ['f32'],
    op: (x) => patchEmbed(image(x.device), 2, { weight: Tensor.full([8, 16], 0.3, x.device), bias: undefined }, x),
  },
  {
    name: 'patchEmbedBackward',
    shape: [2, 4, 8],
    dtypes: ['f32'],
    op: (dTokens) => {
      const dWeight = Tensor.empty([8, 16], dTokens.device)
      const last = [dWeight.handle, null, false] as const
      native().patchEmbedBackward(dTokens.handle, image(dTokens.device).handle, 2, 'f32', ...last)
      return dWeight
    },
  },
  { name: 'prependTokens', shape: [1, 3, 64], dtypes: ['f32'], op: (x) => prependTokens(x, {}) },
  { name: 'dropTokens', shape: [1, 3, 64], dtypes: ['f32'], op: (x) => dropTokens(x, 1) },
  { name: 'normalizeImages', shape: [1, 3, 8, 8], dtypes: ['u8'], op: (x) => normalizeImages(x, IMAGENET) },
  { name: 'toUint8', shape: [1, 3, 8, 8], dtypes: ['f32', 'f64'], op: toUint8 },
  { name: 'hog', shape: [1, 3, 8, 8], dtypes: ['u8'], op: (x) => hog(x, 2, 2) },
  {
    name: 'samplePosterior',
    shape: [1, 8, 4, 4],
    dtypes: ['f32'],
    op: (x) => samplePosterior(x, Tensor.full([1, 4, 4, 4], 0.3, x.device), 2, 1),
  },
  {
    name: 'interpolant',
    shape: [2, 32],
    dtypes: ['f32'],
    op: (x) => interpolant(x, x, Tensor.full([2], 0.25, x.device), 'cosine').velocity,
  },
  {
    name: 'embedding',
    shape: [4, 16],
    dtypes: ['f32'],
    op: (x) => embedding(x, Tensor.from(Int32Array.of(3, 1), [2], x.device)),
  },
  {
    name: 'gatedResidual',
    shape: [2, 2, 16],
    dtypes: COMPUTE,
    op: (y) => gatedResidual(Tensor.full(y.shape, 0.7, y.device), y, Tensor.full([2, 1, 16], 0.3, y.device), 0),
  },
  {
    name: 'layerScale',
    shape: [4, 16],
    dtypes: COMPUTE,
    op: (y) => layerScale(Tensor.full(y.shape, 0.7, y.device), y, Tensor.full([16], 0.3, y.device)),
  },
  { name: 'resize', shape: [1, 8, 8, 4], dtypes: ['f32'], op: (x) => resizeGrid(x, 4, 4, { filter: 'bicubic' }) },
]

/** The same numbers at the beginning of a block of memory, and one element further. */
function twins(shape: readonly number[], dtype: DeviceDType, device: Device): [Tensor, Tensor] {
  const count = shape.reduce((product, size) => product * size, 1)
  const numbers = dtype === 'u8' ? randomIntegers(count, 256, 1) : [...random([count], 1, 2).data]
  const pad = [numbers[0]!, ...numbers]
  const values = (of: readonly number[]) => {
    if (dtype === 'u8') return Tensor.from(Uint8Array.from(of), [of.length], device)
    if (dtype === 'f64') return Tensor.from(Float64Array.from(of), [of.length], device)
    return cast(Tensor.from(Float32Array.from(of), [of.length], device), dtype)
  }
  return [values(numbers).reshape(shape), values(pad).view(1, shape)]
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`operands that are not aligned on ${device}`, () => {
    const table = CASES.flatMap(({ dtypes, ...rest }) => dtypes.map((dtype) => ({ ...rest, dtype }))).filter(
      ({ dtype }) => device !== 'cpu' || (dtype !== 'bf16' && dtype !== 'f16'),
    )
    test.each(table)('$name of $dtype has the same bits', async ({ shape, dtype, op }) => {
      const [aligned, shifted] = scope(() => {
        const [whole, view] = twins(shape, dtype, device)
        return [op(whole), op(view)]
      })
      expect(await shifted!.toHost()).toEqual(await aligned!.toHost())
      aligned!.dispose()
      shifted!.dispose()
    })
  })
}
