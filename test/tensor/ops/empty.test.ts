import { attention, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { add, silu, swiGLU } from '../../../src/tensor/ops/elementwise.ts'
import { layerNorm, normModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { linear, linearGatedResidual } from '../../../src/tensor/ops/linear.ts'
import { normFactors } from '../../../src/tensor/ops/norm-factors.ts'
import { patchify } from '../../../src/tensor/ops/patch.ts'
import { patchEmbed } from '../../../src/tensor/ops/patch-embed.ts'
import { gatedResidual, layerScale } from '../../../src/tensor/ops/residual.ts'
import { unfoldTokens } from '../../../src/tensor/ops/token-grid.ts'
import { dropTokens } from '../../../src/tensor/ops/tokens.ts'
import type { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random, zeros } from '../../reference/array.ts'
import { opCase, testOps } from './op-case.ts'

const EXACT = { roundings: 0, scale: 0 }

/** An op on nothing gives nothing: an empty result of the right shape, empty gradients, and zeros where a gradient sums over nothing. */
function emptyCase(
  name: string,
  inputs: Readonly<Record<string, NdArray>>,
  op: (tensors: Readonly<Record<string, Tensor>>) => Tensor,
  out: NdArray,
  differentiable: readonly string[] = Object.keys(inputs),
) {
  return opCase({
    name,
    inputs,
    op,
    forward: () => out,
    backward: () => Object.fromEntries(differentiable.map((input) => [input, zeros(inputs[input].shape)])),
    rounding: () => Object.fromEntries(['out', ...differentiable].map((each) => [each, EXACT])),
  })
}

const empty = (...shape: number[]) => zeros(shape)
const layer = (t: Readonly<Record<string, Tensor>>) => ({ weight: t.weight, bias: t.bias })
const qk = (t: Readonly<Record<string, Tensor>>) => ({ qWeight: t.a, qBias: t.b, kWeight: t.c, kBias: t.d })
const weights = { weight: random([4, 3], 1), bias: random([4], 2) }
const vectors = Object.fromEntries(['a', 'b', 'c', 'd'].map((name, i) => [name, random([5], i)]))
const bias = fromValues([2], [3, 4])

testOps('nothing', [
  emptyCase('add', { a: empty(0, 3), b: empty(0, 3) }, (t) => add(t.a, t.b), empty(0, 3)),
  emptyCase('silu', { x: empty(2, 0) }, (t) => silu(t.x), empty(2, 0)),
  emptyCase('swiGLU of no rows', { x: empty(0, 6) }, (t) => swiGLU(t.x), empty(0, 3)),
  emptyCase('linear of no rows', { x: empty(0, 3), ...weights }, (t) => linear(t.x, layer(t)), empty(0, 4)),
  emptyCase(
    'linear to no outputs',
    { x: empty(2, 3), weight: empty(0, 3) },
    (t) => linear(t.x, { weight: t.weight, bias: undefined }),
    empty(2, 0),
  ),
  // A product over nothing is zero, and the bias is added all the same.
  emptyCase(
    'linear of no inputs',
    { x: empty(3, 0), weight: empty(2, 0), bias },
    (t) => linear(t.x, layer(t)),
    fromValues([3, 2], [3, 4, 3, 4, 3, 4]),
    ['x', 'weight'],
  ),
  emptyCase(
    'linearGatedResidual of no tokens',
    { x: empty(2, 0, 3), ...weights, residual: empty(2, 0, 4), modulation: random([2, 1, 4], 3) },
    (t) => linearGatedResidual(t.x, layer(t), { residual: t.residual, modulation: t.modulation, gate: 0 }),
    empty(2, 0, 4),
  ),
  emptyCase('unfoldTokens of no samples', { x: empty(0, 4, 3) }, (t) => unfoldTokens(t.x, [2, 2]), empty(0, 4, 27)),
  emptyCase('attention of no samples', { qkv: empty(0, 5, 12) }, (t) => attention(t.qkv, 2), empty(0, 5, 4)),
  emptyCase('attention of no tokens', { qkv: empty(2, 0, 12) }, (t) => attention(t.qkv, 2), empty(2, 0, 4)),
  emptyCase(
    'qkNorm of no tokens',
    { qkv: empty(2, 0, 15), ...vectors },
    (t) => qkNorm(t.qkv, qk(t), 1),
    empty(2, 0, 15),
  ),
  emptyCase(
    'layerNorm of no rows',
    { x: empty(0, 5), weight: vectors.a, bias: vectors.b },
    (t) => layerNorm(t.x, t.weight, t.bias),
    empty(0, 5),
  ),
  emptyCase(
    'normModulate of no tokens',
    { x: empty(2, 0, 5), modulation: random([2, 2, 5], 3) },
    (t) => normModulate(t.x, t.modulation, { shift: 0, scale: 1 }),
    empty(2, 0, 5),
  ),
  emptyCase(
    'normFactors of no samples',
    { modulation: empty(0, 5, 4), weights: random([2, 4], 3) },
    (t) => normFactors(t.modulation, t.weights),
    empty(0, 5, 4),
  ),
  emptyCase(
    'gatedResidual of no samples',
    { x: empty(0, 3, 5), y: empty(0, 3, 5), modulation: empty(0, 1, 5) },
    (t) => gatedResidual(t.x, t.y, t.modulation, 0),
    empty(0, 3, 5),
  ),
  emptyCase(
    'layerScale of no rows',
    { x: empty(0, 5), y: empty(0, 5), gamma: vectors.a },
    (t) => layerScale(t.x, t.y, t.gamma),
    empty(0, 5),
  ),
  emptyCase(
    'layerScale of no width',
    { x: empty(3, 0), y: empty(3, 0), gamma: empty(0) },
    (t) => layerScale(t.x, t.y, t.gamma),
    empty(3, 0),
  ),
  emptyCase('patchify of no images', { x: empty(0, 3, 4, 4) }, (t) => patchify(t.x, 2), empty(0, 4, 12)),
  emptyCase(
    'patchEmbed of no images',
    { image: empty(0, 3, 1, 2), ...weights, positions: random([2, 4], 3) },
    (t) => patchEmbed(t.image, 1, layer(t), t.positions),
    empty(0, 2, 4),
    ['image', 'weight', 'bias'],
  ),
  emptyCase(
    'patchEmbed of no tokens',
    { image: empty(2, 3, 0, 2), ...weights, positions: empty(0, 4) },
    (t) => patchEmbed(t.image, 1, layer(t), t.positions),
    empty(2, 0, 4),
    ['image', 'weight', 'bias'],
  ),
  // A product over nothing is zero, and bias and positions are added all the same.
  emptyCase(
    'patchEmbed of no channels',
    { image: empty(1, 0, 1, 1), weight: empty(2, 0), bias, positions: fromValues([1, 2], [1, 2]) },
    (t) => patchEmbed(t.image, 1, layer(t), t.positions),
    fromValues([1, 1, 2], [4, 6]),
    ['image', 'weight'],
  ),
  emptyCase('dropTokens of all', { x: empty(2, 3, 5) }, (t) => dropTokens(t.x, 3), empty(2, 0, 5), []),
])
