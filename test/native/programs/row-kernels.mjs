// Prints a digest of what the kernels that sum over rows give on cuda:0, in every dtype and through every path.
import { createHash } from 'node:crypto'
import { native } from './addon.mjs'

const device = 'cuda:0'
const hash = createHash('sha256')

async function add(...tensors) {
  for (const tensor of tensors) hash.update(new Uint8Array(await native.read(tensor)))
}

/** Multiples of 2^-10 in [-1, 1): from a linear congruential generator. */
function random(shape, seed, dtype = 'f32') {
  let state = seed
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state >>> 21) / 1024 - 1
  })
  const tensor = native.fromHost(values, shape, 'f32', device)
  return dtype === 'f32' ? tensor : native.cast(tensor, dtype)
}

function zeros(...shape) {
  const out = native.empty(shape, 'f32', device)
  native.fill(out, 0)
  return out
}

for (const [dtype, norm] of ['f32', 'bf16', 'f16'].flatMap((each) => [
  [each, 'layerNorm'],
  [each, 'rmsNorm'],
])) {
  // Several teams of warps and parts of a sample; one team; single elements.
  for (const [batch, tokens, width] of [
    [2, 70, 72],
    [2, 9, 1152],
    [1, 19, 33],
  ]) {
    const shape = [batch, tokens, width]
    const modulation = random([batch, 3, width], 1)
    const [dModulation, bias] = [zeros(batch, 3, width), zeros(width)]
    const y = random(shape, 2, dtype)
    const joined = native.gatedResidualNormModulate(random(shape, 3), y, modulation, 0, 1, 2, norm, 1e-6)
    const [stream, out, mean, rstd] = joined
    const statistics = [stream, mean, rstd]
    const dStream = random(shape, 4)
    const gradients = native.gatedResidualNormModulateBackward(
      ...[out, dStream, ...statistics, y, modulation, 0, 1, 2, norm, dModulation, bias, false],
    )
    const [dWeight, dBias] = [zeros(width), zeros(width)]
    const weight = random([width], 5)
    const [affine, ...of] = native.layerNorm(stream, weight, weight, 1e-6, dtype)
    const dX = native.layerNormBackward(affine, stream, ...of, weight, dWeight, dBias, false)
    const columns = zeros(width)
    native.columnSum(out, columns, false)
    await add(...joined, ...gradients, dModulation, bias, dX, dWeight, dBias, columns, native.sum(dX, 1))
  }
}
console.log(hash.digest('hex'))
