import { afterAll, describe, expect, test } from 'vitest'
import { type Activation, type NativeErrorCode, native } from '../../../src/native.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { attention, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { activation, add, swiGLU } from '../../../src/tensor/ops/elementwise.ts'
import { embedding, fourierFeatures, timestepEmbedding } from '../../../src/tensor/ops/embedding.ts'
import { linearCombination } from '../../../src/tensor/ops/float64.ts'
import { interpolant, samplePosterior } from '../../../src/tensor/ops/interpolant.ts'
import { layerNorm, normModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { linear, linearGatedResidual, linearResidual } from '../../../src/tensor/ops/linear.ts'
import { cosineAlignmentLoss, velocityLoss } from '../../../src/tensor/ops/loss.ts'
import { patchify, unpatchify } from '../../../src/tensor/ops/patch.ts'
import { patchEmbed } from '../../../src/tensor/ops/patch-embed.ts'
import { hog, normalizeImages, resizeGrid, toUint8 } from '../../../src/tensor/ops/pixels.ts'
import { gatedResidual, layerScale } from '../../../src/tensor/ops/residual.ts'
import { unfoldTokens } from '../../../src/tensor/ops/token-grid.ts'
import { dropTokens, gatherTokens, prependTokens, takeTokens } from '../../../src/tensor/ops/tokens.ts'
import { type DeviceDType, Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

type Refusal = readonly [call: () => unknown, code: NativeErrorCode, message: string]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`refusals on ${device}`, () => {
    const made: Tensor[] = []
    afterAll(() => {
      for (const tensor of made) tensor.dispose()
    })

    function tensor(shape: readonly number[], dtype: DeviceDType = 'f32'): Tensor {
      const out = Tensor.empty(shape, device, dtype)
      made.push(out)
      return out
    }

    const t = tensor
    const layer = (outputs: number, inputs: number, bias?: number) => ({
      weight: t([outputs, inputs]),
      bias: bias === undefined ? undefined : t([bias]),
    })
    const qkWeights = (d: number) => ({ qWeight: t([d]), qBias: t([d]), kWeight: t([d]), kBias: t([d]) })

    const REFUSALS: readonly Refusal[] = [
      [
        () => linear(t([2, 3]), layer(4, 5)),
        'ERR_SHAPE',
        'linear: x has shape [2, 3]; its last axis must be the 5 inputs of weight [4, 5].',
      ],
      [() => linear(t([2, 5]), layer(4, 5, 3)), 'ERR_SHAPE', 'linear: bias has shape [3]; expected [4].'],
      [
        () => linear(t([]), layer(4, 5)),
        'ERR_SHAPE',
        'linear: x has shape []; its last axis must be the 5 inputs of weight [4, 5].',
      ],
      [
        () => linear(t([2, 5]), { weight: t([5]), bias: undefined }),
        'ERR_SHAPE',
        'linear: weight has shape [5]; expected [out, in].',
      ],
      [
        () => native().linear(t([2, 5], 'u8').handle, t([4, 5]).handle, null, 'silu', false, 'f32'),
        'ERR_DTYPE',
        'linear: x is u8; expected f32',
      ],
      [
        () =>
          linearGatedResidual(t([1, 3, 5]), layer(4, 5), { residual: t([1, 3, 5]), modulation: t([1, 6, 4]), gate: 0 }),
        'ERR_SHAPE',
        'linearGatedResidual: residual has shape [1, 3, 5]; expected [1, 3, 4].',
      ],
      [
        () =>
          linearGatedResidual(t([1, 3, 5]), layer(4, 5), { residual: t([1, 3, 4]), modulation: t([2, 6, 4]), gate: 0 }),
        'ERR_SHAPE',
        'linearGatedResidual: modulation has shape [2, 6, 4], which does not fit x [1, 3, 4]: expected [B, chunks, D].',
      ],
      [
        () =>
          linearGatedResidual(t([1, 3, 5]), layer(4, 5), { residual: t([1, 3, 4]), modulation: t([1, 6, 4]), gate: 6 }),
        'ERR_INVALID_ARGUMENT',
        'linearGatedResidual: chunk 6 is outside a modulation of 6 chunks.',
      ],
      [
        () => linearResidual(t([3, 5]), layer(4, 5), { residual: t([3, 4]), gamma: t([5]), ones: t([4]) }),
        'ERR_SHAPE',
        'linearScaledResidual: scale has shape [5]; expected [4].',
      ],
      [
        () => native().linearInputGradient(t([3, 5]).handle, t([4, 5]).handle, null, 'none', null, false),
        'ERR_SHAPE',
        'linearInputGradient: dOut has shape [3, 5]; its last axis must be the 4 outputs of weight [4, 5].',
      ],
      [
        () => native().linearInputGradient(t([3, 4]).handle, t([4, 5]).handle, null, 'silu', null, false),
        'ERR_INVALID_ARGUMENT',
        'linearInputGradient: pre and an activation other than none go together.',
      ],
      [
        () => native().linearWeightGradient(t([3, 4]).handle, t([2, 5]).handle, t([4, 5]).handle, false),
        'ERR_SHAPE',
        'linearWeightGradient: dOut [3, 4] and x [2, 5] do not make a gradient of shape [4, 5].',
      ],
      [() => attention(t([1, 3]), 1), 'ERR_SHAPE', 'attention: qkv has shape [1, 3]; expected [B, T, 3 H d].'],
      [
        () => attention(t([1, 2, 12]), 5),
        'ERR_INVALID_ARGUMENT',
        'attention: qkv has shape [1, 2, 12], whose last axis is not 3 x 5 heads x head_dim.',
      ],
      [
        () => attention(t([1, 2, 387]), 1),
        'ERR_INVALID_ARGUMENT',
        'attention: head_dim of qkv is 129; it may be 1 to 128.',
      ],
      [
        () => attention(t([1, 2, 0]), 1),
        'ERR_INVALID_ARGUMENT',
        'attention: head_dim of qkv is 0; it may be 1 to 128.',
      ],
      [() => attention(t([1, 2, 12], 'i32'), 1), 'ERR_DTYPE', 'attention: qkv is i32; expected f32'],
      [() => qkNorm(t([1, 2, 12]), qkWeights(3), 2), 'ERR_SHAPE', 'qkNorm: qWeight has shape [3]; expected [2].'],
      [() => layerNorm(t([2, 3]), t([4]), t([3])), 'ERR_SHAPE', 'layerNorm: weight has shape [4]; expected [3].'],
      [() => layerNorm(t([]), t([1]), t([1])), 'ERR_SHAPE', 'layerNorm: x has shape []; expected [..., D].'],
      [
        () => normModulate(t([2, 3, 4]), t([2, 6, 5]), { shift: 0, scale: 1 }),
        'ERR_SHAPE',
        'normModulate: modulation has shape [2, 6, 5], which does not fit x [2, 3, 4]: expected [B, chunks, D].',
      ],
      [
        () => normModulate(t([2, 3, 4]), t([2, 2, 4]), { shift: 0, scale: 2 }),
        'ERR_INVALID_ARGUMENT',
        'normModulate: chunk 2 is outside a modulation of 2 chunks.',
      ],
      [
        () => normModulate(t([2, 3, 4]), t([2, 2, 4]), { shift: -1, scale: 1 }),
        'ERR_INVALID_ARGUMENT',
        'normModulate: chunk -1 is outside a modulation of 2 chunks.',
      ],
      [
        () => gatedResidual(t([1, 2, 3]), t([1, 2, 4]), t([1, 1, 3]), 0),
        'ERR_SHAPE',
        'gatedResidual: y has shape [1, 2, 4]; expected [1, 2, 3].',
      ],
      [
        () =>
          native().gatedResidualNormModulate(
            t([1, 2, 3]).handle,
            t([1, 2, 4]).handle,
            t([1, 3, 3]).handle,
            0,
            1,
            2,
            'layerNorm',
            0,
          ),
        'ERR_SHAPE',
        'gatedResidualNormModulate: y has shape [1, 2, 4]; expected [1, 2, 3].',
      ],
      [
        () =>
          native().gatedResidualNormModulate(
            t([1, 2, 3]).handle,
            t([1, 2, 3]).handle,
            t([1, 3, 3]).handle,
            0,
            3,
            2,
            'layerNorm',
            0,
          ),
        'ERR_INVALID_ARGUMENT',
        'gatedResidualNormModulate: chunk 3 is outside a modulation of 3 chunks.',
      ],
      [() => layerScale(t([2, 3]), t([2, 3]), t([2])), 'ERR_SHAPE', 'layerScale: gamma has shape [2]; expected [3].'],
      [() => layerScale(t([]), t([]), t([1])), 'ERR_SHAPE', 'layerScale: x has shape []; expected [..., D].'],
      [() => add(t([2, 3]), t([3, 2])), 'ERR_SHAPE', 'add: b has shape [3, 2]; expected [2, 3].'],
      [() => add(t([2], 'u8'), t([2])), 'ERR_DTYPE', 'add: a is u8; expected f32'],
      [() => swiGLU(t([2, 3])), 'ERR_INVALID_ARGUMENT', 'swiGLU: x has shape [2, 3]; its last axis must be even.'],
      [() => swiGLU(t([])), 'ERR_SHAPE', 'swiGLU: x has shape []; expected [..., 2 h].'],
      [
        () => native().swiGLUBackward(t([2, 3]).handle, t([3, 4]).handle),
        'ERR_INVALID_ARGUMENT',
        'swiGLUBackward: dOut has shape [2, 3], which is not half of x [3, 4].',
      ],
      [
        () => activation(t([1]), 'none' as Exclude<Activation, 'none'>),
        'ERR_INVALID_ARGUMENT',
        'activation: the kind is none; expected silu, gelu-tanh, gelu-erf or quick-gelu.',
      ],
      [
        () => activation(t([1]), 'relu' as Exclude<Activation, 'none'>),
        'ERR_INVALID_ARGUMENT',
        'activation: "relu" is not an activation: expected none, silu, gelu-tanh, gelu-erf or quick-gelu.',
      ],
      [() => embedding(t([5, 2]), t([3])), 'ERR_DTYPE', 'embedding: ids is f32; expected i32.'],
      [() => embedding(t([5]), t([3], 'i32')), 'ERR_SHAPE', 'embedding: table has shape [5]; expected [rows, D].'],
      [() => timestepEmbedding(t([2, 1]), 4), 'ERR_SHAPE', 'timestepEmbedding: t has shape [2, 1]; expected [B].'],
      [() => fourierFeatures(t([2]), t([])), 'ERR_SHAPE', 'fourierFeatures: frequencies has shape []; expected [F].'],
      [() => timestepEmbedding(t([2]), 0), 'ERR_INVALID_ARGUMENT', 'timestepEmbedding: dim is 0; expected at least 1.'],
      [
        () => interpolant(t([2, 3]), t([2, 4]), t([2]), 'linear'),
        'ERR_SHAPE',
        'interpolant: noise has shape [2, 4]; expected [2, 3].',
      ],
      [
        () => interpolant(t([2, 3]), t([2, 3]), t([3]), 'linear'),
        'ERR_SHAPE',
        'interpolant: t has shape [3]; expected [2].',
      ],
      [
        () => interpolant(t([2, 3]), t([2, 3]), t([2]), 'quadratic' as 'linear'),
        'ERR_INVALID_ARGUMENT',
        `interpolant: "quadratic" is not an interpolant's path: expected linear or cosine.`,
      ],
      [
        () => samplePosterior(t([1, 4, 2, 2]), t([1, 4, 2, 2]), 1, 0),
        'ERR_SHAPE',
        'samplePosterior: moments has shape [1, 4, 2, 2]; expected [1, 8, 2, 2].',
      ],
      [
        () => patchify(t([1, 3, 5, 4]), 2),
        'ERR_INVALID_ARGUMENT',
        'patchify: a patch of 2 does not divide an image of 5 x 4.',
      ],
      [
        () => patchify(t([1, 3, 4, 4]), 0),
        'ERR_INVALID_ARGUMENT',
        'patchify: a patch of 0 does not divide an image of 4 x 4.',
      ],
      [() => patchify(t([3, 4, 4]), 2), 'ERR_SHAPE', 'patchify: image has shape [3, 4, 4]; expected [B, C, H, W].'],
      [
        () => patchEmbed(t([1, 3, 4, 6]), 4, layer(5, 48), t([1, 5])),
        'ERR_INVALID_ARGUMENT',
        'patchEmbed: a patch of 4 does not divide an image of 4 x 6.',
      ],
      [
        () => patchEmbed(t([1, 3, 4, 6]), 2, layer(5, 16), t([6, 5])),
        'ERR_SHAPE',
        'patchEmbed: weight has shape [5, 16]; expected [5, 12].',
      ],
      [
        () => patchEmbed(t([1, 3, 4, 6]), 2, layer(5, 12), t([5, 5])),
        'ERR_SHAPE',
        'patchEmbed: positions has shape [5, 5]; expected [6, 5].',
      ],
      [
        () => unpatchify(t([1, 4, 12]), { channels: 4, height: 4, width: 4, patch: 2 }),
        'ERR_SHAPE',
        'unpatchify: tokens has shape [1, 4, 12]; expected [1, 4, 16].',
      ],
      [
        () => cosineAlignmentLoss(t([1, 2, 3]), t([1, 2, 4])),
        'ERR_SHAPE',
        'cosineAlignmentLoss: target has shape [1, 2, 4]; expected [1, 2, 3].',
      ],
      [
        () => velocityLoss(t([1, 2]), t([2, 1])),
        'ERR_SHAPE',
        'velocityLoss: target has shape [2, 1]; expected [1, 2].',
      ],
      [
        () => normalizeImages(t([1, 3, 2, 2]), { divisor: 1, mean: [0, 0, 0], std: [1, 1, 1] }),
        'ERR_DTYPE',
        'normalizeImages: images is f32; expected u8.',
      ],
      [
        () => normalizeImages(t([1, 4, 2, 2], 'u8'), { divisor: 1, mean: [0, 0, 0], std: [1, 1, 1] }),
        'ERR_INVALID_ARGUMENT',
        'normalizeImages: images has shape [1, 4, 2, 2]; expected three channels.',
      ],
      [
        () => normalizeImages(t([1, 3, 2, 2], 'u8'), { divisor: 1, mean: [0, 0], std: [1, 1, 1] }),
        'ERR_INVALID_ARGUMENT',
        'normalizeImages: mean and std must have three numbers each.',
      ],
      [() => toUint8(t([3, 2, 2])), 'ERR_SHAPE', 'toUint8: images has shape [3, 2, 2]; expected [B, C, H, W].'],
      [
        () => hog(t([1, 3, 8, 8], 'u8'), 9, 2),
        'ERR_INVALID_ARGUMENT',
        'hog: a grid of 9 x 2 tokens does not fit images of shape [1, 3, 8, 8].',
      ],
      [
        () => resizeGrid(t([1, 2, 2, 1]), 0, 3, { filter: 'bilinear' }),
        'ERR_INVALID_ARGUMENT',
        'resize: cannot turn [1, 2, 2, 1] into 0 x 3.',
      ],
      [
        () => resizeGrid(t([1, 2, 2, 1]), 3, 3, { filter: 'nearest' as 'bilinear' }),
        'ERR_INVALID_ARGUMENT',
        'resize: "nearest" is not a filter: expected bilinear or bicubic.',
      ],
      [
        () => resizeGrid(t([1, 2, 2, 1]), 3, 3, { filter: 'bilinear', scale: [1e300, 1] }),
        'ERR_INVALID_ARGUMENT',
        "expected input pixels per output pixel, at most 2, or 0 to take the sizes' ratio.",
      ],
      [
        () => linearCombination([]),
        'ERR_INVALID_ARGUMENT',
        'linearCombination: 0 values with 0 coefficients; expected 1 to 6 of each.',
      ],
      [
        () =>
          linearCombination([
            [1, t([2])],
            [1, t([3], 'f64')],
          ]),
        'ERR_SHAPE',
        'linearCombination: values has shape [3]; expected [2].',
      ],
      [() => cast(t([2], 'i32'), 'bf16'), 'ERR_DTYPE', 'cast: there is no conversion from i32 to bf16.'],
      [
        () => prependTokens(t([1, 2, 3]), { classToken: t([2]) }),
        'ERR_SHAPE',
        'prependTokens: classToken has shape [2]; expected [3].',
      ],
      [
        () => prependTokens(t([1, 2, 3]), { classPosition: t([3]) }),
        'ERR_INVALID_ARGUMENT',
        'prependTokens: a classPosition without a classToken has nothing to be added to.',
      ],
      [
        () => gatherTokens(t([1, 2, 3]), t([2, 2], 'i32')),
        'ERR_SHAPE',
        'gatherTokens: ids has shape [2, 2]; expected [1, 2].',
      ],
      [() => gatherTokens(t([1, 2, 3]), t([1, 2])), 'ERR_DTYPE', 'gatherTokens: ids is f32; expected i32.'],
      [
        () => gatherTokens(t([1, 2, 3]), t([1, 2], 'i32'), t([2])),
        'ERR_SHAPE',
        'gatherTokens: fill has shape [2]; expected [3].',
      ],
      [() => dropTokens(t([1, 2, 3]), 3), 'ERR_INVALID_ARGUMENT', 'dropTokens: first is 3; x has 2 tokens.'],

      [() => Tensor.empty([2], 'cuda:9'), 'ERR_DEVICE', 'empty: there is no cuda:9 here:'],
      [
        () => native().empty([2], 'i64' as DType, device),
        'ERR_DTYPE',
        'empty: "i64" is not a dtype of a device tensor: expected f32, bf16, f16, i32, u8 or f64.',
      ],
      [() => t([1, 1, 1, 1, 1, 1, 1]), 'ERR_INVALID_ARGUMENT', 'empty: shape must be a list of at most six sizes.'],
      [() => t([-1]), 'ERR_INVALID_ARGUMENT', 'empty: shape must be a list of sizes.'],
      [() => t([0.5]), 'ERR_INVALID_ARGUMENT', 'empty: shape must be a list of sizes.'],
      [
        () => t([2 ** 40, 2 ** 40]),
        'ERR_SHAPE',
        'empty: the shape [1099511627776, 1099511627776] has sizes that multiply to more than 2^48.',
      ],
      // Also of nothing: kernels multiply some of the sizes and not all.
      [
        () => t([2 ** 31, 0, 2 ** 31]),
        'ERR_SHAPE',
        'empty: the shape [2147483648, 0, 2147483648] has sizes that multiply to more than 2^48.',
      ],
      [() => t([2 ** 24, 2 ** 24]), 'ERR_OUT_OF_MEMORY', 'empty: out of memory: 1073741824 MiB asked for,'],
      [
        () => unfoldTokens(t([1, 0, 3]), [2 ** 32, 2 ** 32]),
        'ERR_INVALID_ARGUMENT',
        'unfoldTokens: x has shape [1, 0, 3], which is not that of a grid of 4294967296 x 4294967296 tokens.',
      ],
      [
        () => unpatchify(t([1, 4, 12]), { channels: 3, height: -4, width: 4, patch: 2 }),
        'ERR_INVALID_ARGUMENT',
        'unpatchify: the image is of 3 channels and -4 x 4; expected not negative.',
      ],
      [
        () => patchify(t([1, 3, 0, 0]), 2 ** 31),
        'ERR_INVALID_ARGUMENT',
        'patchify: a patch of 2147483648 x 2147483648 of 3 channels has more than 2^48 elements.',
      ],
      [
        () => native().clipGradientNorm(t([1], 'f64').handle, t([57], 'u8').view(1, [56]).handle, 1, 1, false),
        'ERR_INVALID_ARGUMENT',
        'clipGradientNorm: state is a view that begins at no multiple of 8 bytes; expected a tensor of its own.',
      ],
      ...[Number.NaN, 0.5, -1, 5, Number.POSITIVE_INFINITY].map(
        (end): Refusal => [
          () => native().sumOfSquares(t([4]).handle, [0, end], t([1], 'f64').handle, 0),
          'ERR_INVALID_ARGUMENT',
          'sumOfSquares: the frozen ranges must be of whole numbers, ascend and lie inside the arena.',
        ],
      ),
      [
        () => native().sumOfSquares(t([4]).handle, [], t([2], 'f64').handle, 2),
        'ERR_INVALID_ARGUMENT',
        'sumOfSquares: index is 2; expected 0 to 1.',
      ],
      [
        () => native().dropLabels(t([2], 'i32').handle, 0.5, 2 ** 31, 1n, 0, 0, 0),
        'ERR_INVALID_ARGUMENT',
        'dropLabels: nullClass is 2147483648; expected a 32-bit number, as labels are.',
      ],
      [
        () => native().setMemoryLimit(device, -1),
        'ERR_INVALID_ARGUMENT',
        'setMemoryLimit: bytes is -1; expected not negative.',
      ],
      ...['cuda:4294967296', 'cuda:-1', 'cuda:1x', 'cuda:', 'gpu'].map(
        (name): Refusal => [
          () => Tensor.empty([2], name),
          'ERR_DEVICE',
          `empty: "${name}" is not a device: expected cpu or cuda:N.`,
        ],
      ),
      [
        () => Tensor.from(new Float32Array(3), [2], device),
        'ERR_SHAPE',
        'fromHost: 12 bytes were given where [2] of f32 takes 8.',
      ],
      [() => t([2]).write(new Float32Array(3)), 'ERR_SHAPE', 'write: 12 bytes were given where [2] of f32 takes 8.'],
      [
        () => t([2]).write(new Int32Array(2)),
        'ERR_DTYPE',
        'write: data must be a Float32Array, for the tensor is f32.',
      ],
      [
        () => t([4], 'f16').write(new Uint8Array(8)),
        'ERR_DTYPE',
        'write: data must be a Uint16Array, for the tensor is f16.',
      ],
      [() => t([2, 3]).reshape([5]), 'ERR_SHAPE', 'reshape: [2, 3] cannot become [5]: the number of elements differs.'],
      [() => t([6]).view(4, [3]), 'ERR_SHAPE', 'view: [3] at element 4 does not fit into [6].'],
      [() => t([6]).view(-1, [3]), 'ERR_SHAPE', 'view: [3] at element -1 does not fit into [6].'],
      [() => t([6]).view(2 ** 53 - 1, [2 ** 24, 2 ** 24]), 'ERR_SHAPE', 'does not fit into [6].'],
    ]

    test.each(REFUSALS.map(([call, code, message]) => ({ call, code, message })))(
      '$code $message',
      ({ call, code, message }) => {
        let thrown: unknown
        try {
          call()
        } catch (error) {
          thrown = error
        }
        expect(thrown).toBeInstanceOf(Error)
        expect(thrown).toMatchObject({ code, message: expect.stringContaining(message) })
      },
    )

    // They would be the next sample's.
    test.each([
      [1, 3],
      [-1, 2],
      [2, -1],
    ])('takeTokens from %i, %i of them', (first, count) => {
      expect(() => takeTokens(t([2, 3, 4]), first, count)).toThrow(
        `takeTokens: tokens ${first} to ${first + count} are not in a tensor of shape [2,3,4].`,
      )
    })
  })
}
