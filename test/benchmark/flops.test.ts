import { expect, test } from 'vitest'
import { encoderFlops, forwardFlops, trainingFlops } from '../../src/benchmark/flops.ts'
import { MMDIT_PRESETS, SIT_PRESETS, type SiTPreset } from '../../src/models/presets.ts'
import { type SiTOptions, sitConfigSchema } from '../../src/models/sit.ts'
import { usualRoute } from '../../src/models/token-route.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { DINOV2_PRESETS } from '../../src/models/vit-presets.ts'

const config = (model: SiTPreset, alignWidths: number[] = [], rest: Partial<SiTOptions> = {}) =>
  sitConfigSchema.parse({ kind: 'SiT', inputSize: [32, 32], ...SIT_PRESETS[model], alignWidths, ...rest })

// DiT's table 4 (arXiv 2212.09748) counts multiply-adds of the forward pass: GFLOPs there, a sixth of a training step's.
test.each([
  ['SiT-S/2', 6.06],
  ['SiT-B/2', 23.01],
  ['SiT-L/2', 80.71],
  ['SiT-XL/2', 118.64],
  ['SiT-XL/4', 29.05],
  ['SiT-S/8', 0.36],
] as const)('%s as the DiT paper counts it', (model, published) => {
  // The paper rounds to two decimals, and its models have twice the output channels (and learned variances).
  expect(Math.abs(trainingFlops(config(model)) / 6e9 - published)).toBeLessThan(0.005 + 0.003 * published)
})

// By hand for 4 tokens of width 8 and one block: the multiply-adds of the first layers, whose input wants no gradient, twice; three times
// the time embedding's second layer, the modulations of the block and of the last layer, the block, the last layer.
test('a step of a SiT of one block', () => {
  const size = { kind: 'SiT', depth: 1, hidden: 8, heads: 2, patch: 2, inputSize: [4, 4], channels: 4 }
  const first = 4 * (4 * 4) * 8 + 256 * 8
  const block = 4 * 8 * (3 * 8 + 8 + 2 * 32) + 2 * 4 * 4 * 8
  const inner = 8 * 8 + 8 * (6 + 2) * 8 + block + 4 * 8 * (4 * 4)
  expect(trainingFlops(sitConfigSchema.parse({ ...size, alignWidths: [] }))).toBe(2 * (2 * first + 3 * inner))
})

// By hand: of twelve blocks, two products of width 4 · 768 less, and three of two thirds of it.
test('SwiGLU has as many operations as the MLP where two thirds of its width are whole', () => {
  const swiglu = { norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const
  expect(trainingFlops(config('SiT-B/2', [], swiglu))).toBe(trainingFlops(config('SiT-B/2')))
  const [odd, even] = [{ mlpRatio: 2 }, { mlpRatio: 2, ...swiglu }].map((rest) => config('SiT-L/2', [], rest))
  expect(trainingFlops(odd!) - trainingFlops(even!)).toBe(6 * 24 * 256 * 1024 * (2 * 2048 - 3 * 1365))
})

test('a projector adds its three products', () => {
  const added = trainingFlops(config('SiT-B/2', [768])) - trainingFlops(config('SiT-B/2'))
  expect(added).toBe(6 * 256 * (768 * 2048 + 2048 * 2048 + 2048 * 768))
})

// By hand: each of the 256 tokens reads nine cells of width 768.
test('a convolution for a projector adds its own products', () => {
  const added = trainingFlops(config('SiT-B/2', [768], { projector: 'conv' })) - trainingFlops(config('SiT-B/2'))
  expect(added).toBe(6 * 256 * 9 * 768 * 768)
})

// By hand: its way in, whose input wants no gradient, and its way out; one token more in 12 blocks, in the last layer of 16 outputs, and
// before the projector.
test('a class token of 384 features goes in, through the blocks and the projector, and out', () => {
  const block = (tokens: number) => tokens * 12 * 768 ** 2 + 2 * tokens ** 2 * 768
  const blocks = 12 * (block(257) - block(256))
  const projector = 768 * 2048 + 2048 * 2048 + 2048 * 768
  const [withToken, without] = [config('SiT-B/2', [768], { classTokenWidth: 384 }), config('SiT-B/2', [768])]
  const [end, last] = [384 * 768, 768 * 16]
  expect(trainingFlops(withToken) - trainingFlops(without)).toBe(2 * (2 * end + 3 * (blocks + last + projector + end)))
  expect(forwardFlops(withToken) - forwardFlops(without)).toBe(2 * (end + blocks + last + end))
})

// By hand: of B's 12 blocks 7 see 128 tokens of 256, and so does the projector behind the eighth.
test('a route takes its tokens out of its blocks and out of the projector inside', () => {
  const aligned = config('SiT-B/2', [768])
  const block = (tokens: number) => tokens * 12 * 768 ** 2 + 2 * tokens ** 2 * 768
  const projector = 128 * (768 * 2048 + 2048 * 2048 + 2048 * 768)
  const spared = trainingFlops(aligned) - trainingFlops(aligned, { share: 0.5, ...usualRoute(12) })
  expect(spared).toBe(6 * (7 * (block(256) - block(128)) + projector))
})

// By hand for 4 tokens, a trunk of one block of width 8 and a head of one of width 16, with an MLP of twice that. The head sees the input
// again and modulates every token by itself, with a block's six chunks and the last layer's two; the time's sinusoids are twice as many.
test('a step of a SiT with a DDT head', () => {
  const size = { kind: 'SiT', depth: 1, hidden: 8, heads: 2, patch: 2, inputSize: [4, 4], channels: 4, mlpRatio: 2 }
  const head = { depth: 1, hidden: 16, heads: 2 }
  const first = 4 * (4 * 4) * (8 + 16) + 2 * 256 * 8
  const block = (width: number) => 4 * width * (3 * width + width + 2 * 2 * width) + 2 * 4 * 4 * width
  const perToken = 8 * 16 + 16 * (6 + 2) * 16 + 16 * (4 * 4)
  const inner = 8 * 8 + 8 * 6 * 8 + block(8) + block(16) + 4 * perToken
  const config = sitConfigSchema.parse({ ...size, ddtHead: head, alignWidths: [] })
  expect(trainingFlops(config)).toBe(2 * (2 * first + 3 * inner))
  expect(forwardFlops(config)).toBe(2 * (first + inner))
  // Where it is as wide as the trunk, nothing leads from one width to the other.
  const narrow = sitConfigSchema.parse({ ...size, ddtHead: { ...head, hidden: 8 }, alignWidths: [] })
  const narrowPerToken = 8 * (6 + 2) * 8 + 8 * (4 * 4)
  expect(forwardFlops(narrow)).toBe(
    2 * (2 * 4 * 16 * 8 + 512 * 8 + 8 * 8 + 8 * 6 * 8 + 2 * block(8) + 4 * narrowPerToken),
  )
})

// By hand for 4 patches and 3 states of text, of width 5, and two blocks of width 8, whose attention sees 7 tokens; in the second nothing
// reads the text behind it. The modulation has 12 chunks for the first block, 2 and 6 for the second, 2 for the last layer.
test('a step of an MMDiT of two blocks', () => {
  const text = { tokens: 3, width: 5 }
  const size = {
    kind: 'SiT',
    depth: 2,
    hidden: 8,
    heads: 2,
    patch: 2,
    inputSize: [4, 4],
    channels: 4,
    classes: 0,
    text,
  }
  const first = 4 * (4 * 4) * 8 + 256 * 8 + 3 * 5 * 8
  const [qkv, behind] = [8 * 3 * 8, 8 * 8 + 2 * 8 * 32]
  const attention = 2 * 7 * 7 * 8
  const blocks = 7 * (qkv + behind) + attention + (7 * qkv + 4 * behind) + attention
  const inner = 8 * 8 + 8 * (12 + 8 + 2) * 8 + blocks + 4 * 8 * (4 * 4)
  const plain = sitConfigSchema.parse({ ...size, alignWidths: [] })
  expect(trainingFlops(plain)).toBe(2 * (2 * first + 3 * inner))
  expect(forwardFlops(plain)).toBe(2 * (first + inner))
  // A projector sees the image's tokens.
  const aligned = sitConfigSchema.parse({ ...size, alignWidths: [6], alignDepth: 1, projectorWidth: 10 })
  expect(trainingFlops(aligned) - trainingFlops(plain)).toBe(6 * 4 * (8 * 10 + 10 * 10 + 10 * 6))
  expect(forwardFlops(aligned)).toBe(forwardFlops(plain))
})

// By hand: a token's products are 12 · 768², and 333 tokens of the two streams attend.
test('MMDiT-d24/2', () => {
  const model = sitConfigSchema.parse({
    kind: 'SiT',
    inputSize: [32, 32],
    ...MMDIT_PRESETS['MMDiT-d24/2'],
    alignWidths: [],
  })
  const blocks = 24 * (333 * 12 * 768 ** 2 + 2 * 333 ** 2 * 768) - 77 * 9 * 768 ** 2
  const ends = 256 * 16 * 768 + 256 * 768 + 77 * 768 * 768 + 768 * 768 + 256 * 768 * 16
  expect(forwardFlops(model)).toBe(2 * (blocks + 286 * 768 ** 2 + ends))
})

// By hand for 256 patches, a class token and 12 blocks of width 768: per token and block 12 · 768² of products, 2 · 257 · 768 of attention.
test('the forward pass of DINOv2 ViT-B', () => {
  const block = 257 * (12 * 768 ** 2 + 2 * 257 * 768)
  const flops = encoderFlops(visionTransformerConfigSchema.parse(DINOV2_PRESETS['dinov2-vit-b']), 256)
  expect(flops).toBe(2 * (256 * 588 * 768 + 12 * block))
})
