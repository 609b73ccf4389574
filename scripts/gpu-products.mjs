// The products and the attention of a step at small, uneven sizes, on every kernel that the GPU has for them: what compute-sanitizer
// watches (gpu-session.mjs), to which a step of full size would take hours. Usage: gpu-products.mjs cuda:0

import { native } from '../dist/native.js'
import { synchronize } from '../dist/tensor/device.js'
import { attention } from '../dist/tensor/ops/attention.js'
import { cast } from '../dist/tensor/ops/cast.js'
import { randomNormal } from '../dist/tensor/random.js'
import { scope } from '../dist/tensor/scope.js'
import { Tensor } from '../dist/tensor/tensor.js'

const device = process.argv[2] ?? 'cuda:0'
let drawn = 0
const normal = (dtype, ...shape) =>
  cast(randomNormal(shape, { seed: 0, stream: 'noise', step: drawn++ }, device), dtype)
const handles = (...tensors) => tensors.map(({ handle }) => handle)
/** Gives results an owner: the scope around. */
function owned(results) {
  for (const handle of [results].flat()) if (handle) new Tensor(handle, device)
}

/** Rows, columns and inner size: whole tiles of Hopper's, and nothing whole. */
const SHAPES = [
  [512, 384, 192],
  [130, 72, 200],
]

function products(m, n, k) {
  const [x, w, dOut] = handles(normal('bf16', m, k), normal('bf16', n, k), normal('bf16', m, n))
  const [bias, into] = handles(normal('f32', n), normal('f32', n, k))
  owned(native().linear(x, w, bias, 'gelu-tanh', true, 'bf16'))
  const [rows, residual, modulation] = handles(normal('bf16', 1, m, k), normal('f32', 1, m, n), normal('f32', 1, 2, n))
  owned(native().linearGatedResidual(rows, w, bias, residual, modulation, 1, true))
  owned(native().linearInputGradient(dOut, w, null, 'none', null, false))
  native().linearWeightGradient(dOut, x, into, false)
  native().linearWeightGradients([dOut, dOut], [x, x], [into, ...handles(normal('f32', n, k))], true)
}

function attended(tokens, heads, headDim) {
  const qkv = normal('bf16', 1, tokens, 3 * heads * headDim)
  const [o, lse] = native().attention(qkv.handle, heads, true)
  owned([o, lse])
  owned(
    native().attentionBackward(
      normal('bf16', 1, tokens, heads * headDim).handle,
      qkv.handle,
      o,
      lse,
      heads,
      null,
      false,
    ),
  )
  attention(qkv, heads)
}

for (const backend of ['wgmma', 'wgmma-128x192', 'wgmma-128x256', 'mma']) {
  process.env.REPA_GEMM = backend
  for (const shape of SHAPES) {
    scope(() => products(...shape))
    await synchronize(device)
    console.log(`${backend}: ${shape.join(' x ')}`)
  }
}
delete process.env.REPA_GEMM
for (const [tokens, headDim, kernels] of [
  [256, 72, 'wgmma'],
  [256, 72, 'mma'],
  [200, 64, 'wgmma'],
  [257, 64, 'wgmma'],
  [33, 40, 'wgmma'],
  [300, 72, 'wgmma'],
  [333, 32, 'wgmma'],
  [200, 64, 'wgmma-streamed'],
  [200, 64, 'mma-streamed'],
]) {
  process.env.REPA_ATTENTION = kernels
  scope(() => attended(tokens, 2, headDim))
  await synchronize(device)
  console.log(`attention by ${kernels}: ${tokens} tokens, head_dim ${headDim}`)
}
