// Runs what training, sampling and encoding launch most on cuda:0, at the widths that models have and on few samples: what the count of the
// kernels' memory traffic watches (test/simt/traffic.test.ts, scripts/kernel-traffic.mjs). Products and attention in bf16, as they are trained.
//   model-kernels.mjs [PART]   those whose names contain PART
import { native } from './addon.mjs'

const device = 'cuda:0'
const [part = ''] = process.argv.slice(2)
let drawn = 0

function f32(...shape) {
  const out = native.empty(shape, 'f32', device)
  native.fillNormal(out, 1, 1n, 0, drawn++, 0)
  return out
}
const bf16 = (...shape) => native.cast(f32(...shape), 'bf16')
const i32 = (...values) => native.fromHost(Int32Array.from(values), [values.length], 'i32', device)
const u8 = (...shape) => native.fromHost(new Uint8Array(shape.reduce((a, b) => a * b)).fill(100), shape, 'u8', device)
function zeros(...shape) {
  const out = native.empty(shape, 'f32', device)
  native.fill(out, 0)
  return out
}
const STATE = native.fromHost(new Uint8Array(56), [56], 'u8', device)

/** SiT-XL/2 at 256 pixels: tokens, width, heads, columns of a head. */
const [T, D, H, d] = [256, 1152, 16, 72]
/** DINOv2-B: patches and a class token, its width, heads. */
const [ET, ED, EH] = [257, 768, 12]

function attention(tokens, width, heads) {
  const qkv = bf16(1, tokens, 3 * width)
  const [out, lse] = native.attention(qkv, heads, true)
  native.attentionBackward(bf16(1, tokens, width), qkv, out, lse, heads, zeros(3 * width), true)
}

function products(rows, from, to) {
  const [x, w, dOut] = [bf16(1, rows, from), bf16(to, from), bf16(1, rows, to)]
  native.linear(x, w, f32(to), 'none', false, 'bf16')
  native.linear(x, w, f32(to), 'gelu-tanh', true, 'bf16')
  native.linearGatedResidual(x, w, f32(to), f32(1, rows, to), f32(1, 6, to), 2, true)
  native.linearInputGradient(dOut, w, null, 'none', null, false)
  native.linearInputGradient(dOut, w, bf16(1, rows, from), 'gelu-tanh', zeros(from), true)
  native.linearWeightGradient(dOut, x, zeros(to, from), true)
}

function blockNorms(norm) {
  const [x, y, modulation] = [f32(2, T, D), bf16(2, T, D), f32(2, 6, D)]
  const [modulated, mean, rstd] = native.normModulate(x, modulation, 0, 1, norm, 1e-6, 'bf16')
  native.normModulateBackward(modulated, x, mean, rstd, modulation, 0, 1, norm, f32(2, T, D), zeros(2, 6, D))
  const [stream, out, mean2, rstd2] = native.gatedResidualNormModulate(x, y, modulation, 2, 3, 4, norm, 1e-6)
  native.gatedResidualNormModulateBackward(
    ...[out, stream, stream, mean2, rstd2, y, modulation, 2, 3, 4, norm, zeros(2, 6, D), zeros(D), true],
  )
}

function convolution(channels, size) {
  const x = bf16(1, size, size, channels)
  const coefficients = native.groupNormCoefficients(x, f32(channels), f32(channels), 32, 1e-6)
  const weight = bf16(channels, 3, 3, channels)
  native.conv2d(x, coefficients, 'silu', 1, weight, f32(channels), [1, 1], [1, 1, 1, 1], null, false, 'none', 'bf16')
  native.groupNormApply(x, coefficients, 'silu', 'bf16')
}

const RUNS = {
  'attention, 256 tokens of 72': () => attention(T, 2 * d, 2),
  'attention, 256 tokens of 64': () => attention(T, 2 * 64, 2),
  'attention, 512 tokens of 72': () => attention(512, d, 1),
  'attention, 512 tokens of 64': () => attention(512, 64, 1),
  "attention, the encoder's": () => native.attention(bf16(1, ET, (3 * ED * 2) / EH), 2, false),
  "attention, a text encoder's": () => native.causalAttention(bf16(1, 77, 3 * 2 * 64), 2),
  'attention, aligned with an encoder (HASTE)': () =>
    native.attentionAlignmentLoss(bf16(1, T, 3 * d), 1, bf16(1, ET, 3 * 64), 1, 1, 0.5, null, true),
  'products of 256 and 384 columns': () => products(256, 256, 384),
  'products in f32': () => native.linear(f32(256, 256), f32(256, 256), f32(256), 'silu', true, 'f32'),
  'norms, LayerNorm': () => blockNorms('layerNorm'),
  'norms, RMSNorm': () => blockNorms('rmsNorm'),
  "norms, the encoder's": () => {
    const x = f32(1, ET, ED)
    const [y, mean, rstd] = native.layerNorm(x, f32(ED), f32(ED), 1e-6, 'bf16')
    native.layerNormBackward(y, x, mean, rstd, f32(ED), zeros(ED), zeros(ED), false)
    native.layerScale(x, bf16(1, ET, ED), f32(ED))
    native.layerScaleBackward(x, bf16(1, ET, ED), f32(ED), zeros(ED), false)
    native.gatedResidual(x, bf16(1, ET, ED), f32(1, 1, ED), 0)
    native.gatedResidualBackward(x, bf16(1, ET, ED), f32(1, 1, ED), 0, zeros(1, 1, ED), zeros(ED), false)
  },
  'norms of queries and keys': () => {
    const qkv = bf16(1, T, 3 * D)
    const vectors = () => [f32(d), null, f32(d), null]
    const [normed, mean, rstd] = native.qkNorm(qkv, ...vectors(), H, 'rmsNorm', 1e-6)
    native.qkNormBackward(normed, qkv, f32(d), f32(d), mean, rstd, H, 'rmsNorm', ...vectors(), false)
  },
  'rotary positions': () => {
    for (const transposed of [false, true]) native.rotate(bf16(2, T, 3 * D), f32(T, d), f32(T, d), H, transposed)
  },
  SwiGLU: () => {
    const x = bf16(T, 2 * 3072)
    native.swiGLUBackward(native.swiGLU(x), x)
  },
  activations: () => {
    const x = bf16(T, D)
    for (const kind of ['silu', 'gelu-tanh', 'gelu-erf', 'quick-gelu']) {
      native.activation(x, kind)
      native.activationBackward(x, x, kind)
    }
  },
  losses: () => {
    native.cosineAlignmentLoss(bf16(1, T, ED), bf16(1, T, ED), 0.5, STATE, true)
    native.cosineAlignmentLoss(bf16(1, T, ED), f32(1, T, ED), 0.5, STATE, true)
    native.velocityLoss(bf16(2, 4096), f32(2, 4096), 1, null, true)
    native.velocityCosineLoss(bf16(2, 16, 256), f32(2, 16, 256), 1, null, true)
    native.smoothL1Loss(bf16(2, 4096), f32(2, 4096), 0.05, 1, null, true)
    const [unit, norms] = native.l2Normalize(bf16(T, ED))
    native.l2NormalizeBackward(unit, unit, norms, 'bf16')
    native.dispersiveLoss(native.squaredDistances(f32(32, 1024)), 0.5, 1, null, true)
    native.standardizeTokens(f32(1, T, ED), 0.6, 1e-6)
  },
  'patch embedding': () => {
    const image = f32(1, 4, 32, 32)
    const tokens = native.patchEmbed(image, 2, bf16(D, 16), f32(D), f32(T, D))
    native.patchEmbedBackward(tokens, image, 2, 'bf16', zeros(D, 16), zeros(D), true)
    native.patchify(f32(1, 3, 224, 224), 14, 'bf16')
    native.unpatchify(bf16(1, T, 32), 8, 32, 32, 2)
    native.unpatchifyBackward(f32(1, 8, 32, 32), 2, 'bf16')
  },
  "patches of an autoencoder's features (RAE)": () => {
    native.patchify(f32(1, ED, 16, 16), 1, 'bf16')
    native.unpatchify(bf16(1, T, ED), ED, 16, 16, 1)
    native.unpatchifyBackward(f32(1, ED, 16, 16), 1, 'bf16')
  },
  'latents and noise': () => {
    native.samplePosterior(f32(2, 8, 32, 32), f32(2, 4, 32, 32), 0.18, 0)
    for (const path of ['linear', 'cosine']) native.interpolant(f32(2, 4096), f32(2, 4096), f32(2), path)
    native.posteriorMoments(f32(2, 8, 32, 32))
    native.combineSamples(f32(2, 4096), f32(2, 4096), i32(0, 1), native.cast(f32(2, 2), 'f64'))
    native.guide(f32(2, 4, 1024), 1.5, 1)
    native.timestepEmbedding(f32(64), 256, 10000)
  },
  images: () => {
    native.normalizeImages(u8(1, 3, 224, 224), 255, [0, 0, 0], [1, 1, 1])
    native.resize(f32(1, 3, 64, 64), 56, 56, 'bicubic', true, 0, 0)
    native.toUint8(f32(1, 3, 64, 64), 1, 127.5, 0)
  },
  'tokens in and out': () => {
    const x = f32(1, T, D)
    native.prependTokens(x, f32(T, D), f32(D), f32(D), f32(1, D))
    native.dropTokens(x, 1)
    native.splitTokens(native.joinTokens(x, f32(1, 77, D), 0), T)
    native.embeddingBackward(native.embedding(f32(10, D), i32(1, 3, 3)), i32(1, 3, 3), zeros(10, D), true)
  },
  "an autoencoder's layers": () => {
    convolution(128, 16)
    native.softmax(f32(256, 256), 0.5, 'bf16')
  },
  optimizer: () => {
    const elements = 1 << 16
    const [weight, gradient, first, second, ema] = [0, 1, 2, 3, 4].map(() => f32(elements))
    const sums = native.cast(f32(1), 'f64')
    native.sumOfSquares(gradient, [0, elements], sums, 0)
    native.clipGradientNorm(sums, STATE, 1, 1, false)
    const copy = native.empty([elements], 'bf16', device)
    native.adamW(
      ...[weight, gradient, first, second, ema, copy, [0, elements], [], STATE, false, 1e-4, 0.9, 0.999, 1e-8, 0],
      ...[0.999, native.cast(f32(1), 'f64')],
    )
  },
}

for (const [name, run] of Object.entries(RUNS)) {
  if (!name.includes(part)) continue
  run()
  await native.synchronize(device)
  console.log(name)
}
