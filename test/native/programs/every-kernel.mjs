// Runs every CUDA kernel on cuda:0, every instance of a template among them, at the smallest sizes that take its paths: what the
// sanitizers watch (test/simt/sanitizers.test.ts), under which the tables of cases would take most of an hour. One list for all of the
// shim's chips; which kernels there are and which have run, the shim says (REPA_SIMT_KERNELS).
//   every-kernel.mjs                               all of them
//   every-kernel.mjs tensor-cores                  attention and products in bf16 and f16 alone: what chips have different kernels for
//   every-kernel.mjs overlap|freed|unwritten|beside|awaited
//                                                  instead, what a caller does wrong, or at last right
import { native as addon } from './addon.mjs'
import { rememberingTensors } from './written-tensors.mjs'

const { native, requireWritten } = rememberingTensors(addon)

const device = 'cuda:0'
const isHopper = native.cudaInfo().devices[0].computeCapability === '9.0'
let drawn = 0

function f32(...shape) {
  const out = native.empty(shape, 'f32', device)
  native.fillNormal(out, 1, 1n, 0, drawn++, 0)
  return out
}
const drawIn = (dtype) => (dtype === 'f32' ? f32 : (...shape) => native.cast(f32(...shape), dtype))
const i32 = (...values) => native.fromHost(Int32Array.from(values), [values.length], 'i32', device)
const f64 = (...shape) => native.cast(f32(...shape), 'f64')
const u8 = (...shape) =>
  native.fromHost(
    Uint8Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (37 * i) % 251),
    shape,
    'u8',
    device,
  )
const fill = (tensor, value) => {
  native.fill(tensor, value)
  return tensor
}
const zeros = (...shape) => fill(native.empty(shape, 'f32', device), 0)
/** The same values one element further into their memory: no access is wide. */
function shifted(tensor) {
  const shape = native.shapeOf(tensor)
  const elements = shape.reduce((a, b) => a * b)
  const moved = native.view(native.empty([elements + 1], native.dtypeOf(tensor), device), 1, shape)
  native.copy(moved, tensor)
  return moved
}
const STATE = native.fromHost(new Uint8Array(56), [56], 'u8', device)

/** By the file in native/cuda: what runs its kernels in a dtype. */
const KERNELS = {}

const FUNCTIONS = ['silu', 'gelu-tanh', 'gelu-erf', 'quick-gelu']
/** Of rows that a warp holds in 1, 2, 3, 4, 6, 8, 9, 12 and 16 pieces of 128, and in none. */
const WIDTHS = [8, 132, 260, 388, 516, 772, 1028, 1156, 1540, 33]

KERNELS.activation = (dtype) => {
  const draw = drawIn(dtype)
  for (const kind of FUNCTIONS)
    for (const x of [draw(2, 8), shifted(draw(2, 8))]) {
      native.activation(x, kind)
      native.activationBackward(draw(2, 8), x, kind)
    }
  for (const x of [draw(3, 32), draw(3, 6)]) {
    native.swiGLU(x)
    native.swiGLUBackward(draw(3, native.shapeOf(x)[1] / 2), x)
  }
}

/** Units of 16 bytes, and single elements where a run is no whole number of them or begins beside one. */
KERNELS['joined-tokens'] = (dtype) => {
  const draw = drawIn(dtype)
  for (const [width, place] of [
    [8, (x) => x],
    [8, shifted],
    [5, (x) => x],
  ]) {
    const [first, rest] = [draw(2, 3, width), draw(2, 4, width)]
    native.splitTokens(native.joinTokens(place(first), rest, 0), 3)
    native.joinTokens(null, rest, 3)
    native.splitTokens(place(rest), 1)
  }
}

/** With fewer the streamed backward pass is faster. */
const LEAST_RESIDENT_TOKENS = 129
/** Hopper's forward pass has a kernel of its own for a few more than 256. */
const LEAST_TOKENS_PAST_256 = 257
/** Of which a block of the shim's two multiprocessors has three: what one leaves behind, the next but one finds. */
const SEVERAL_HEADS = 5

KERNELS.attention = (dtype) => {
  const draw = drawIn(dtype)
  // Head dimensions by the kernels' padded ones; a head that fits into shared memory where it is 64, 72 or 80 and aligned.
  for (const headDim of [32, 64, 72, 80, 96, 128])
    for (const [tokens, place, heads = 1] of dtype !== 'f32' && headDim >= 64 && headDim <= 80
      ? [
          [LEAST_RESIDENT_TOKENS, (x) => x, SEVERAL_HEADS],
          [LEAST_TOKENS_PAST_256, (x) => x],
          [9, shifted],
        ]
      : [[9, (x) => x]]) {
      const qkv = place(draw(1, tokens, 3 * heads * headDim))
      const [o, lse] = native.attention(qkv, heads, true)
      for (const dBias of [null, zeros(3 * heads * headDim)])
        native.attentionBackward(draw(1, tokens, heads * headDim), qkv, o, lse, heads, dBias, dBias !== null)
    }
  // Past the first 64 keys, so that some are seen by all of a tile's queries; of 64 columns a whole head in shared memory, or streamed.
  for (const headDim of [64, 128])
    for (const place of [shifted, (x) => x]) native.causalAttention(place(draw(1, 97, 3 * headDim)), 1)
  if (!isHopper || dtype === 'f32') return
  // Its forward pass for 72 columns and its streamed kernels run only where they are asked for.
  process.env.REPA_ATTENTION = 'wgmma'
  native.attention(draw(1, LEAST_RESIDENT_TOKENS, SEVERAL_HEADS * 3 * 72), SEVERAL_HEADS, true)
  process.env.REPA_ATTENTION = 'wgmma-streamed'
  for (const headDim of [32, 64, 72]) {
    const width = SEVERAL_HEADS * headDim
    const qkv = draw(1, LEAST_RESIDENT_TOKENS, 3 * width)
    const [o, lse] = native.attention(qkv, SEVERAL_HEADS, true)
    for (const dBias of [null, zeros(3 * width)])
      native.attentionBackward(draw(1, LEAST_RESIDENT_TOKENS, width), qkv, o, lse, SEVERAL_HEADS, dBias, dBias !== null)
  }
  delete process.env.REPA_ATTENTION
}

KERNELS.rope = (dtype) => {
  const draw = drawIn(dtype)
  for (const headDim of [72, 6])
    for (const place of [(x) => x, shifted])
      for (const transposed of [false, true])
        native.rotate(draw(9, 3, 6 * headDim), place(f32(3, headDim)), place(f32(3, headDim)), 2, transposed)
}

KERNELS['qk-norm'] = (dtype) => {
  const draw = drawIn(dtype)
  const heads = 5
  for (const [headDim, place] of [
    [8, (x) => x],
    [8, shifted],
    [5, (x) => x],
    [132, (x) => x],
  ]) {
    const vectors = () => [0, 1, 2, 3].map(() => place(f32(headDim)))
    const [qWeight, qBias, kWeight, kBias] = vectors()
    const qkv = draw(2, 3, 3 * heads * headDim)
    const [normed, mean, rstd] = native.qkNorm(qkv, qWeight, qBias, kWeight, kBias, heads, 'layerNorm', 1e-5)
    native.qkNormBackward(normed, qkv, qWeight, kWeight, mean, rstd, heads, 'layerNorm', ...vectors(), false)
    const [scaled, ...of] = native.qkNorm(qkv, qWeight, null, kWeight, null, heads, 'rmsNorm', 1e-6)
    const sums = [f32(headDim), null, f32(headDim), null]
    native.qkNormBackward(scaled, qkv, qWeight, kWeight, ...of, heads, 'rmsNorm', ...sums, true)
  }
}

/** Products of every layout: whole units of 16 bytes, which Hopper's kernel takes, and nothing whole. */
KERNELS.gemm = (dtype) => {
  const draw = drawIn(dtype)
  for (const [m, n, k] of [
    [32, 24, 72],
    [19, 7, 13],
  ]) {
    const [x, w, dOut] = [draw(m, k), draw(n, k), draw(m, n)]
    for (const kind of ['none', ...FUNCTIONS]) native.linear(x, w, f32(n), kind, true, dtype)
    const [residual, into] = [f32(1, m, n), f32(n, k)]
    native.linearGatedResidual(draw(1, m, k), w, f32(n), residual, f32(1, 2, n), 1, true)
    native.linearScaledResidual(x, w, f32(n), f32(m, n), f32(n))
    native.linearInputGradient(dOut, w, null, 'none', f32(k), true)
    for (const kind of FUNCTIONS) native.linearInputGradient(dOut, w, draw(m, k), kind, f32(k), false)
    // Hopper's finishes in registers what is aligned.
    for (const place of [(x) => x, shifted]) native.linearWeightGradient(dOut, x, place(into), true)
    native.linearWeightGradients([dOut, dOut], [x, x], [into, f32(n, k)], false)
  }
  wideTiles(draw, dtype)
  // Sums of more steps than the pipelines have stages, one so long that it is cut, and more tiles than there are blocks.
  native.linear(draw(8, 520), draw(8, 520), null, 'none', false, dtype)
  native.linearInputGradient(draw(8, 520), draw(520, 8), null, 'none', null, false)
  native.linearWeightGradient(draw(520, 8), draw(520, 8), zeros(8, 8), false)
  native.linearInputGradient(draw(1, 32768), draw(32768, 8), null, 'none', f32(8), false)
  native.linear(draw(300, 16), draw(264, 16), null, 'none', false, dtype)
}

/** Patches of 16, 32 and 64 elements, of whole units of 16 bytes or not, and of too many for a kernel: a product with an addend. */
KERNELS['patch-embed'] = (dtype) => {
  const draw = drawIn(dtype)
  for (const [channels, patch] of [
    [4, 2],
    [3, 3],
    [4, 4],
    [3, 5],
    [18, 2],
  ])
    for (const width of [8, 5]) {
      const [image, elements] = [f32(2, channels, patch, 3 * patch), channels * patch ** 2]
      const tokens = native.patchEmbed(image, patch, draw(width, elements), f32(width), f32(3, width))
      native.patchEmbedBackward(tokens, image, patch, dtype, zeros(width, elements), zeros(width), true)
    }
}

/** Hopper's tiles of more columns, which have kernels for what can be finished in registers. */
function wideTiles(draw, dtype) {
  if (!isHopper) return
  const [m, n, k] = [16, 192, 72]
  const [x, w, dOut, pre] = [draw(1, m, k), draw(n, k), draw(m, k), draw(m, n)]
  for (const tile of ['128x192', '128x256']) {
    process.env.REPA_GEMM = `wgmma-${tile}`
    for (const kind of ['none', ...FUNCTIONS]) native.linear(x, w, f32(n), kind, true, dtype)
    native.linearScaledResidual(x, w, f32(n), f32(1, m, n), f32(n))
    // Rows that a tile's lower half has none of: a second gate would lie behind the only one.
    native.linearGatedResidual(draw(1, 40, k), w, f32(n), f32(1, 40, n), f32(1, 1, n), 0, true)
    native.linearInputGradient(dOut, draw(k, n), null, 'none', null, false)
    for (const kind of ['silu', 'gelu-tanh']) native.linearInputGradient(dOut, draw(k, n), pre, kind, f32(n), false)
    native.linearWeightGradient(dOut, draw(m, n), zeros(k, n), true)
  }
  delete process.env.REPA_GEMM
}

KERNELS.conv2d = (dtype) => {
  const draw = drawIn(dtype)
  for (const channels of [8, 3]) {
    const x = draw(1, 4, 4, channels)
    const coefficients = native.groupNormCoefficients(x, f32(channels), f32(channels), 1, 1e-5)
    const weight = draw(5, 3, 3, channels)
    native.conv2d(x, coefficients, 'silu', 2, weight, f32(5), [2, 2], [1, 1, 1, 1], null, false, 'silu', dtype)
    native.conv2d(x, null, 'none', 1, weight, null, [1, 1], [0, 0, 0, 0], f32(1, 2, 2, 5), false, 'relu', 'f32')
    for (const place of [(x) => x, shifted])
      for (const out of ['f32', 'bf16', 'f16']) native.groupNormApply(x, place(coefficients), 'silu', out)
  }
  native.softmax(f32(3, 37), 0.5, dtype)
}

KERNELS['layer-norm'] = (dtype) => {
  const draw = drawIn(dtype)
  for (const width of WIDTHS) {
    const x = f32(1, 2, width)
    native.layerNorm(x, f32(width), f32(width), 1e-6, dtype)
    native.gatedResidualNormModulate(x, draw(1, 2, width), f32(1, 3, width), 0, 1, 2, 'layerNorm', 1e-6)
  }
  for (const width of [72, 33]) {
    const [x, y, modulation] = [f32(2, 9, width), draw(2, 9, width), f32(2, 3, width)]
    const sums = () => [zeros(width), zeros(width)]
    const [normed, mean, rstd] = native.layerNorm(x, f32(width), f32(width), 1e-6, dtype)
    native.layerNormBackward(normed, x, mean, rstd, f32(width), ...sums(), false)
    for (const norm of ['layerNorm', 'rmsNorm']) {
      const [modulated, mean2, rstd2] = native.normModulate(x, modulation, 0, 1, norm, 1e-6, dtype)
      const of = [x, mean2, rstd2, modulation, 0, 1, norm]
      native.normModulateBackward(modulated, ...of, f32(2, 9, width), zeros(2, 3, width))
      const [stream, out, mean3, rstd3] = native.gatedResidualNormModulate(x, y, modulation, 0, 1, 2, norm, 1e-6)
      const joined = [stream, mean3, rstd3, y, modulation, 0, 1, 2, norm]
      native.gatedResidualNormModulateBackward(out, stream, ...joined, zeros(2, 3, width), zeros(width), true)
    }
    const factors = native.normFactors(f32(2, 5, width), f32(2, width))
    native.normFactorsBackward(factors, f32(2, 5, width), f32(2, width), zeros(2, width), true)
    const gated = native.normFactors(f32(2, 6, width), f32(2, width))
    native.normFactorsBackward(gated, f32(2, 6, width), f32(2, width), zeros(2, width), false)
    native.gatedResidual(x, y, modulation, 0)
    native.gatedResidualBackward(x, y, modulation, 0, zeros(2, 3, width), zeros(width), false)
    native.layerScale(x, y, f32(width))
    native.layerScaleBackward(x, y, f32(width), zeros(width), false)
    native.columnSum(y, zeros(width), true)
    native.columnSum(native.reshape(y, [18, width]), zeros(width), false)
  }
  // So many parts of a sum that they are added in two passes.
  const each = [f32(1100, 1, 8), draw(1100, 1, 8), f32(1100, 3, 8)]
  native.gatedResidualBackward(...each, 0, zeros(1100, 3, 8), zeros(8), false)
}

KERNELS.loss = (dtype) => {
  const draw = drawIn(dtype)
  for (const target of dtype === 'f32' ? [f32] : [f32, draw])
    for (const width of [8, 1024, 33])
      native.cosineAlignmentLoss(draw(2, 3, width), target(2, 3, width), 0.5, STATE, true)
  for (const width of [8, 7]) native.velocityLoss(draw(2, width), f32(2, width), 1, null, true)
  for (const width of [5, 24, 64, 72, 96, 128])
    native.attentionAlignmentLoss(draw(1, 37, 3 * width), 1, draw(1, 38, 3 * 16), 1, 1, 0.5, null, true)
  native.velocityCosineLoss(draw(2, 3, 7), f32(2, 3, 7), 1, null, true)
  native.smoothL1Loss(draw(2, 7), f32(2, 7), 0.05, 1, null, true)
  native.hybridLoss(draw(2, 4, 3), f32(2, 2, 3), f32(2, 2, 3), i32(0, 1), f64(2, 4), 1, 1, true, null, true)
  const [unit, norms] = native.l2Normalize(draw(3, 33))
  native.l2NormalizeBackward(unit, unit, norms, dtype)
}

KERNELS.elementwise = (dtype) => {
  const draw = drawIn(dtype)
  for (const [a, b] of [
    [draw(2, 8), draw(2, 8)],
    [shifted(draw(2, 8)), draw(2, 8)],
  ]) {
    native.add(a, b)
    native.scale(a, 0.5)
    native.clamp(a, -1, 1)
    native.fill(a, 1)
    native.accumulate(a, b)
    for (const to of dtype === 'f32' ? ['bf16', 'f16', 'f64'] : ['f32']) native.cast(a, to)
  }
  for (const order of [patchesOf, imagesOf]) order(dtype, draw)
  native.unfoldTokensBackward(native.unfoldTokens(draw(1, 6, 5), 2, 3), 2, 3)
}

function patchesOf(dtype, draw) {
  for (const width of [4, 6]) {
    native.patchify(f32(1, 2, 4, width), 2, dtype)
    native.patchifyBackward(draw(1, width, 8), 2, 4, width, 2)
  }
}

function imagesOf(dtype, draw) {
  for (const width of [4, 6]) {
    native.unpatchify(draw(1, width, 8), 2, 4, width, 2)
    native.unpatchifyBackward(f32(1, 2, 4, width), 2, dtype)
  }
}

/** What has no dtype of its own. */
function single() {
  native.cast(f64(8), 'f32')
  native.cast(shifted(f64(8)), 'f32')
  for (const place of [(x) => x, shifted]) {
    native.softClamp(place(f32(2, 8)), 3)
    for (const integers of [u8(8), i32(1, 2, 3, 4)]) native.cast(place(integers), 'f32')
    native.copy(place(u8(17)), place(u8(17)))
  }
  native.crossEntropyLoss(f32(3, 3), 0.5, 1, null, true)
  native.distillationLoss(f32(3, 2, 40), native.softmax(f32(2, 2, 40), 1, 'f32'), 0, 0.1, 1, null, true)
  native.entropy(native.softmax(f32(2, 40), 1, 'f32'))
  native.dispersiveLoss(native.squaredDistances(f32(3, 40)), 0.5, 1, null, true)
  native.combineSamples(f32(2, 8), f32(2, 8), i32(0, 1), f64(2, 2))
  native.denoisingStep(f64(1, 2, 3), f32(1, 4, 3), f32(1, 2, 3), [1, 1, 1, 1, -9, 0], true)
  native.guide(f32(2, 2, 3), 1.5, 1)
  for (const dtype of ['f32', 'bf16', 'f16']) native.resizeChannels(drawIn(dtype)(1, 2, 3), 3)
  native.timestepEmbedding(f32(3), 9, 10000)
  native.fourierFeatures(f32(3), f32(5))
  native.standardize(native.posteriorMoments(f32(2, 4, 3, 3)), f32(4), f32(4))
  for (const width of [8, 7]) {
    const rows = native.embedding(f32(4, width), i32(1, 3, 3))
    native.embeddingBackward(rows, i32(1, 3, 3), zeros(4, width), true)
    for (const path of ['linear', 'cosine']) native.interpolant(f32(2, width), f32(2, width), f32(2), path)
    native.samplePosterior(f32(1, 2, 1, width), f32(1, 1, 1, width), 0.18, 0)
    native.prependTokens(f32(2, 3, width), f32(3, width), f32(width), f32(width), f32(2, width))
    native.dropTokens(f32(2, 3, width), 1)
    const ids = native.view(i32(0, 2, 2, -1), 0, [2, 2])
    for (const isFilled of [true, false]) {
      const taken = isFilled ? ids : native.view(i32(0, 2, 1, 2), 0, [2, 2])
      const gathered = native.gatherTokens(f32(2, 3, width), taken, isFilled ? f32(width) : null)
      native.gatherTokensBackward(gathered, taken, 3, isFilled)
    }
    native.mergeTokens(f32(2, 2, width), f32(2, 3, width), ids)
    native.sum(f32(width), 1)
    native.linearCombination([0.5, 2], [f64(width), f32(width)])
  }
  native.sum(f32(5000), 1)
  native.linearCombination([1, 2], [shifted(f64(8)), f64(8)])
  native.standardizeTokens(f32(2, 4, 5), 0.5, 1e-6)
  native.concatenate([f32(2, 3), f32(2, 4)])
  native.pool2d(f32(1, 4, 4, 3), 'max', [3, 3], [2, 2], [1, 1, 1, 1])
  native.pool2d(f32(1, 4, 4, 3), 'average', [2, 2], [2, 2], [0, 0, 0, 0])
  for (const width of [8, 5]) native.normalizeImages(u8(1, 3, 3, width), 255, [0, 0, 0], [1, 1, 1])
  native.toUint8(f32(1, 3, 2, 2), 1, 127.5, 0)
  native.toUint8(f64(1, 3, 2, 2), 1, 127.5, 0)
  native.hog(u8(1, 3, 16, 16), 2, 2)
  for (const filter of ['bilinear', 'bicubic']) native.resize(f32(1, 3, 4, 2), 5, 2, filter, filter === 'bicubic', 0, 0)
  for (const drawn of [native.empty([7], 'f32', device)]) {
    native.fillUniform(drawn, 0, 1, 1n, 0, 0, 0)
    for (const weighting of ['uniform', 'lognormal']) native.fillTimesteps(drawn, weighting, 'cosine', 2, 1n, 0, 0, 0)
  }
  native.fillIntegers(i32(0, 0, 0), 0, 9, 1n, 0, 0, 0)
  native.dropLabels(i32(1, 2, 3), 0.5, 9, 1n, 0, 0, 0)
  native.drawTokens(native.empty([9, 20], 'i32', device), native.empty([9, 40], 'i32', device), 1n, 0, 0, 0)
  for (const place of [(x) => x, shifted]) {
    const [weight, gradient, first, second, ema] = [0, 1, 2, 3, 4].map(() => place(f32(1032)))
    // Of squares.
    fill(second, 1)
    const sums = f64(1)
    native.sumOfSquares(gradient, [8, 16], sums, 0)
    // More ranges than fit into a kernel's parameters.
    native.sumOfSquares(
      gradient,
      Array.from({ length: 200 }, (_, i) => 5 * i),
      sums,
      0,
    )
    native.clipGradientNorm(sums, STATE, 1, 1, false)
    for (const copy of [null, 'bf16', 'f16']) {
      const compute = copy && place(drawIn(copy)(1032))
      native.adamW(
        weight,
        gradient,
        first,
        second,
        ema,
        compute,
        [8, 16],
        [24, 32],
        STATE,
        false,
        1e-4,
        0.9,
        0.999,
        1e-8,
        0,
        0.999,
        copy && f64(1),
      )
      native.followWeights(weight, ema, compute, STATE, 0.999)
    }
  }
}

const [mode] = process.argv.slice(2)
if (mode === 'overlap') {
  // Each element is read by one thread and written by its neighbour.
  const whole = f32(257)
  native.accumulate(native.view(whole, 1, [256]), native.view(whole, 0, [256]))
} else if (mode === 'freed') {
  // A recorded step keeps its own memory, and not what it was given.
  const x = f32(64)
  native.beginCapture(device)
  native.scale(x, 2)
  const graph = native.endCapture(device)
  native.dispose(x)
  native.trimMemory(device)
  native.launchGraph(device, graph)
} else if (mode === 'unwritten') {
  // Half of what is read was never written.
  await within('nothing', () => {
    const whole = native.empty([64], 'f32', device)
    native.fill(native.view(whole, 0, [32]), 1)
    native.scale(whole, 2)
  })
} else if (mode === 'beside' || mode === 'awaited') {
  // A sum over the processes goes on beside the device; it is read before it is waited for, or after that. More than once: the two threads may
  // happen to take the same lock one after the other, and what is ordered by chance is no race that can be seen.
  const communicator = await native.openCommunicator(device, native.communicatorId(device, 1), 0, 1)
  for (let round = 0; round < 16; round++) {
    const x = f32(64)
    native.beginReduceSum(communicator, x, 64, [0, 64])
    if (mode === 'awaited') native.awaitBegun(communicator)
    native.scale(x, 2)
    native.awaitBegun(communicator)
  }
} else if (mode === 'tensor-cores') {
  for (const name of ['attention', 'gemm']) await each(name, ['bf16', 'f16'])
} else {
  for (const name of Object.keys(KERNELS)) await each(name, ['f32', 'bf16', 'f16'])
  native.allowTf32(device, true)
  await within('gemm in tf32', () => KERNELS.gemm('f32'))
  await within('the rest', single)
}
await native.synchronize(device)

async function each(name, dtypes) {
  for (const dtype of dtypes) await within(`${name} in ${dtype}`, () => KERNELS[name](dtype))
}

/** Waits, so that what goes wrong is told of by its name. */
async function within(name, body) {
  body()
  await native.synchronize(device)
  await requireWritten()
  console.log(name)
}
