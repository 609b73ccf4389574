// Prints a digest of products, attention, normalisation and sums forward and backward, and of a convolution, of sizes that every pool cuts differently.
import { createHash } from 'node:crypto'
import { native } from './addon.mjs'

function random(shape, step) {
  const out = native.empty(shape, 'f32', 'cpu')
  native.fillNormal(out, 1, 1n, 0, step, 0)
  return out
}

const x = random([2, 257, 72], 1)
const weight = random([216, 72], 2)
const modulation = random([2, 6, 72], 3)
const zeros = native.empty([2, 6, 72], 'f32', 'cpu')
native.fill(zeros, 0)
const [normed, mean, rstd] = native.normModulate(x, modulation, 0, 1, 'layerNorm', 1e-6, 'f32')
const [qkv] = native.linear(normed, weight, null, 'none', false, 'f32')
const [o, lse] = native.attention(qkv, 1, true)
const dQkv = native.attentionBackward(random([2, 257, 72], 4), qkv, o, lse, 1, null, false)
const dWeight = native.empty([216, 72], 'f32', 'cpu')
native.linearWeightGradient(dQkv, normed, dWeight, false)
const dNormed = native.linearInputGradient(dQkv, weight, null, 'none', null, false)
const dX = native.normModulateBackward(dNormed, x, mean, rstd, modulation, 0, 1, 'layerNorm', null, zeros)
const columns = native.empty([216], 'f32', 'cpu')
native.columnSum(dQkv, columns, false)

const image = random([2, 19, 37, 24], 5)
const [one, none] = [random([24], 6), random([24], 7)]
const coefficients = native.groupNormCoefficients(image, one, none, 4, 1e-6)
const kernel = random([40, 3, 3, 24], 8)
const convolved = native.conv2d(
  image,
  coefficients,
  'silu',
  1,
  kernel,
  null,
  [1, 1],
  [1, 1, 1, 1],
  null,
  false,
  'none',
  'f32',
)
const shares = native.softmax(native.reshape(convolved, [2 * 19 * 37, 40]), 0.3, 'f32')

const hash = createHash('sha256')
for (const tensor of [qkv, o, lse, dQkv, dWeight, dNormed, dX, zeros, columns, native.sum(dX, 1), convolved, shares]) {
  hash.update(new Uint8Array(await native.read(tensor)))
}
console.log(JSON.stringify({ threads: native.cpuInfo().threads, digest: hash.digest('hex') }))
