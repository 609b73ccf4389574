// Prints a digest of what products of every layout give on cuda:0 in bf16, twice the same ones.
//   products.mjs uneven           of one product, a weight gradient that begins 32 bytes into its memory
//   products.mjs full             of none: with memory for a result and not for a second one
//   products.mjs capture [warm]   records them as a graph, after they have run where `warm` is said, and says what comes of it
import { createHash } from 'node:crypto'
import { native } from './addon.mjs'

const device = 'cuda:0'
const [mode, warm] = process.argv.slice(2)
const [m, n, k] = [128, 192, 64]

function normal(dtype, step, ...shape) {
  const out = native.empty(shape, 'f32', device)
  native.fillNormal(out, 1, 0n, 0, step, 0)
  return dtype === 'f32' ? out : native.cast(out, dtype)
}

const [x, w, dOut] = [normal('bf16', 1, m, k), normal('bf16', 2, n, k), normal('bf16', 3, m, n)]
const [bias, residual, gamma] = [normal('f32', 4, n), normal('f32', 5, m, n), normal('f32', 6, n)]
const [pre, sums, dSums] = [normal('bf16', 7, m, k), normal('f32', 8, k), normal('f32', 9, n, k)]
const [dWeight, dWeight2] = [normal('f32', 10, n, k), normal('f32', 11, n, k)]

function products() {
  native.linearWeightGradient(dOut, x, dWeight, false)
  native.linearWeightGradients([dOut, dOut], [x, x], [dWeight2, dSums], true)
  return [
    ...native.linear(x, w, bias, 'gelu-tanh', true, 'bf16'),
    native.linearScaledResidual(x, w, bias, residual, gamma),
    native.linearInputGradient(dOut, w, null, 'none', null, false),
    native.linearInputGradient(dOut, w, pre, 'silu', sums, true),
    dWeight,
    dWeight2,
    dSums,
    sums,
  ]
}

if (mode === 'uneven') {
  const narrow = normal('bf16', 12, m, 8)
  const gradient = native.view(normal('f32', 13, n + 1, 8), 8, [n, 8])
  native.linearWeightGradient(dOut, narrow, gradient, false)
  console.log(
    createHash('sha256')
      .update(new Uint8Array(await native.read(gradient)))
      .digest('hex'),
  )
} else if (mode === 'full') {
  native.trimMemory(device)
  native.setMemoryLimit(device, native.memoryStats(device).liveBytes + m * n * 3)
  native.linear(x, w, bias, 'none', false, 'bf16')
} else if (mode === 'capture') {
  if (warm) products()
  native.beginCapture(device)
  try {
    products()
    native.launchGraph(device, native.endCapture(device))
    await native.synchronize(device)
    console.log('captured')
  } catch (error) {
    console.log(error.message)
  }
} else {
  const hash = createHash('sha256')
  for (let i = 0; i < 2; i++) for (const tensor of products()) hash.update(new Uint8Array(await native.read(tensor)))
  console.log(hash.digest('hex'))
}
