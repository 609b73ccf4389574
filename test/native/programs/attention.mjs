// Prints a digest of attention and qk-norm, forward and backward, in every dtype and by every kernel.
import { createHash } from 'node:crypto'
import { native } from './addon.mjs'

const device = 'cuda:0'
const hash = createHash('sha256')

function random(shape, step, dtype) {
  const out = native.empty(shape, 'f32', device)
  native.fillNormal(out, 1, 1n, 0, step, 0)
  return dtype === 'f32' ? out : native.cast(out, dtype)
}

async function digest(...tensors) {
  for (const tensor of tensors) hash.update(new Uint8Array(await native.read(tensor)))
}

// A head in shared memory, one that streams, rows that no vector divides; three heads on the shim's two multiprocessors.
for (const [tokens, heads, headDim] of [
  [130, 3, 72],
  [67, 1, 96],
  [19, 2, 5],
]) {
  for (const dtype of ['f32', 'bf16', 'f16']) {
    const qkv = random([1, tokens, 3 * heads * headDim], 1, dtype)
    const vector = (step) => random([headDim], step, 'f32')
    const biased = [vector(2), vector(3), vector(4), vector(5)]
    const [normed, mean, rstd] = native.qkNorm(qkv, ...biased, heads, 'layerNorm', 1e-5)
    const [o, lse] = native.attention(normed, heads, true)
    const dBias = random([3 * heads * headDim], 11, 'f32')
    const dO = random([1, tokens, heads * headDim], 6, dtype)
    const dNormed = native.attentionBackward(dO, normed, o, lse, heads, dBias, true)
    const sums = [7, 8, 9, 10].map(vector)
    const dQkv = native.qkNormBackward(
      dNormed,
      qkv,
      vector(2),
      vector(4),
      mean,
      rstd,
      heads,
      'layerNorm',
      ...sums,
      true,
    )
    await digest(normed, mean, rstd, o, lse, dNormed, dBias, dQkv, ...sums)
  }
}
console.log(hash.digest('hex'))
