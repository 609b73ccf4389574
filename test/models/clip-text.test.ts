import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  CLIP_TEXT_PRESETS,
  type ClipTextConfig,
  ClipTextTransformer,
  clipTextConfigSchema,
  clipTextName,
  clipTextOfSizes,
} from '../../src/models/clip-text.ts'
import { stateSource } from '../../src/nn/state-dict.ts'
import { type Device, memoryStats, synchronize } from '../../src/tensor/device.ts'
import { type ComputeDType, elementCount } from '../../src/tensor/dtype.ts'
import { Graph } from '../../src/tensor/graph.ts'
import { keep } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { compare, expectClose, type NdArray, randomIntegers, type Tolerance } from '../reference/array.ts'
import { type ClipTextReference, clipTextStates } from '../reference/clip-text.ts'
import { DEVICES } from '../tensor/devices.ts'
import { narrowValues } from '../tensor/narrow.ts'
import { largestOf } from '../tensor/rounding.ts'
import { asFileTensor, clipTextWeights, type TextSizes } from './clip-text-weights.ts'

const SMALL: TextSizes = { vocabulary: 40, tokens: 9, hidden: 48, depth: 2, heads: 3, ffnWidth: 192 }

interface Case extends TextSizes {
  readonly name: string
  readonly batch: number
  readonly activation?: ClipTextConfig['activation']
}

const CASES: readonly Case[] = [
  { name: 'small', ...SMALL, batch: 3 },
  { name: 'of the approximate GELU', ...SMALL, batch: 2, activation: 'gelu-tanh' },
  { name: 'of the exact GELU, as LAION trained it', ...SMALL, batch: 2, activation: 'gelu-erf' },
  { name: 'of 77 tokens and heads of 64', ...SMALL, tokens: 77, hidden: 128, heads: 2, ffnWidth: 512, batch: 2 },
  { name: 'of one token, its MLP of another width', ...SMALL, tokens: 1, ffnWidth: 56, batch: 5 },
]

const configOf = ({ vocabulary, tokens, hidden, depth, heads, ffnWidth, activation }: Partial<Case>) =>
  clipTextConfigSchema.parse({ vocabulary, tokens, hidden, depth, heads, ffnWidth, activation })

const referenceOf = (sizes: TextSizes & Pick<Case, 'activation'>): ClipTextReference => ({
  weights: clipTextWeights(sizes),
  depth: sizes.depth,
  heads: sizes.heads,
  epsilon: 1e-5,
  activation: sizes.activation ?? 'quick-gelu',
})

async function loadedModel(sizes: Partial<Case> & TextSizes, device: Device): Promise<ClipTextTransformer> {
  const model = ClipTextTransformer.fromConfig(configOf(sizes), device)
  const tensors = new Map([...clipTextWeights(sizes)].map(([name, value]) => [name, asFileTensor(value)]))
  await model.load(stateSource(tensors, 'the test'))
  return model
}

const idsOf = ({ vocabulary, tokens }: TextSizes, batch: number) =>
  Int32Array.from(randomIntegers(batch * tokens, vocabulary, 5))

async function statesOf(model: ClipTextTransformer, ids: Int32Array): Promise<NdArray> {
  using input = Tensor.from(ids, [ids.length / model.config.tokens, model.config.tokens], model.device)
  using states = model.forward(input)
  expect(states.dtype).toBe(model.dtype)
  return narrowValues(states)
}

const UNIT = { f32: 2 ** -24, bf16: 2 ** -8, f16: 2 ** -11 } as const

/**
 * Half an ulp of the largest number for every term that the longest chain of sums adds up: in every block the widths that its four
 * products and its attention sum over. In a narrow dtype also one for each rounding to it: of a block ten (either norm, the weights of four
 * products, q, k and v, the probabilities, the heads and the MLP's hidden layer), and the result's.
 */
function tolerance({ tokens, hidden, depth, ffnWidth }: TextSizes, expected: NdArray, dtype: ComputeDType): Tolerance {
  const terms = 2 + depth * (hidden + hidden + tokens + hidden + hidden + ffnWidth)
  const narrow = dtype === 'f32' ? 0 : (10 * depth + 1) * UNIT[dtype]
  return { atol: (terms * UNIT.f32 + narrow) * largestOf(expected), rtol: 0 }
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`CLIP’s text transformer on ${device}`, () => {
    let liveBytes: number
    beforeEach(() => {
      liveBytes = memoryStats(device).liveBytes
    })
    afterEach(() => {
      expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(liveBytes)
    })

    const DTYPES: readonly ComputeDType[] = device === 'cpu' ? ['f32'] : ['f32', 'bf16', 'f16']
    const cases = CASES.flatMap((one) => DTYPES.map((dtype) => ({ ...one, dtype })))

    test.each(cases)('$name, in $dtype: the float64 composition', async ({ dtype, batch, ...sizes }) => {
      using model = await loadedModel(sizes, device)
      model.computeIn(dtype)
      const ids = idsOf(sizes, batch)
      const expected = clipTextStates(ids, referenceOf(sizes))
      expectClose('states', await statesOf(model, ids), expected, tolerance(sizes, expected, dtype))
    })

    test.each(DTYPES)('in %s no token changes a bit of those before it', async (dtype) => {
      using model = await loadedModel(SMALL, device)
      model.computeIn(dtype)
      const ids = idsOf(SMALL, 2)
      const before = await statesOf(model, ids)
      const [at, { tokens, hidden }] = [4, SMALL]
      const changed = ids.map((id, i) => (i % tokens >= at ? (id + 1) % SMALL.vocabulary : id))
      const after = await statesOf(model, changed)
      for (let token = 0; token < 2 * tokens; token++) {
        const of = (states: NdArray) => states.data.slice(token * hidden, (token + 1) * hidden)
        if (token % tokens < at) expect(of(after), `token ${token}`).toEqual(of(before))
        else expect(of(after), `token ${token}`).not.toEqual(of(before))
      }
    })

    test.skipIf(device === 'cpu')('a captured graph of it follows other ids, with the same bits', async () => {
      using model = await loadedModel(SMALL, device)
      model.computeIn('bf16')
      const [first, second] = [idsOf(SMALL, 2), idsOf(SMALL, 4).subarray(2 * SMALL.tokens)]
      using ids = Tensor.from(first, [2, SMALL.tokens], device)
      using warm = model.forward(ids)
      await warm.toHost()
      const { graph, result } = Graph.capture(device, () => keep(model.forward(ids)))
      using states = result
      try {
        ids.write(second)
        graph.replay()
        await synchronize(device)
        expect(await narrowValues(states)).toEqual(await statesOf(model, second))
        expect(second).not.toEqual(first)
      } finally {
        graph.dispose()
      }
    })

    test('ids of another shape are refused, with both', async () => {
      using model = await loadedModel(SMALL, device)
      for (const shape of [[18], [2, 10], [1, 2, 9]]) {
        using ids = Tensor.from(new Int32Array(elementCount(shape)), shape, device)
        expect(() => model.forward(ids)).toThrow(
          `ClipTextTransformer: the token ids have shape [${shape}]; expected [B, 9].`,
        )
      }
    })
  })
}

const OTHER: Readonly<Record<string, Partial<ClipTextReference>>> = {
  epsilon: { epsilon: 1e-6 },
  activation: { activation: 'gelu-erf' },
  'mask of attention': { causal: false },
  'last norm': { finalNorm: false },
  'number of heads': { heads: 2 },
}
test.each(Object.entries(OTHER))('the bound in f32 notices another %s', (_, change) => {
  const ids = idsOf(SMALL, 3)
  const expected = clipTextStates(ids, referenceOf(SMALL))
  const other = clipTextStates(ids, { ...referenceOf(SMALL), ...change })
  expect(compare(other, expected, tolerance(SMALL, expected, 'f32')).close).toBe(false)
})

test('the published sizes: parameters as the Transformers library counts them, and shapes', () => {
  const entriesOf = (name: keyof typeof CLIP_TEXT_PRESETS) =>
    ClipTextTransformer.entriesOf(clipTextConfigSchema.parse(CLIP_TEXT_PRESETS[name]))
  const count = (name: keyof typeof CLIP_TEXT_PRESETS) =>
    entriesOf(name).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  expect(count('clip-vit-L')).toBe(123_060_480)
  expect(count('clip-vit-B')).toBe(63_165_952)
  const entries = entriesOf('clip-vit-L').map(({ name, shape }) => [name, shape])
  expect(entries.slice(0, 5)).toEqual([
    ['token_embedding.weight', [49_408, 768]],
    ['position_embedding.weight', [77, 768]],
    ['blocks.0.norm1.weight', [768]],
    ['blocks.0.norm1.bias', [768]],
    ['blocks.0.attn.qkv.weight', [2304, 768]],
  ])
  expect(entries.slice(-2)).toEqual([
    ['final_layer_norm.weight', [768]],
    ['final_layer_norm.bias', [768]],
  ])
})

test('a tower of a width alone: OpenAI’s, and its name', () => {
  const published = clipTextOfSizes({ tokens: 77, width: 768 })
  expect(published).toEqual(clipTextConfigSchema.parse(CLIP_TEXT_PRESETS['clip-vit-L']))
  expect(clipTextName(published)).toBe('clip-vit-L')
  const other = clipTextOfSizes({ tokens: 16, width: 128 })
  expect(other).toMatchObject({ tokens: 16, hidden: 128, depth: 12, heads: 2, ffnWidth: 512 })
  expect(clipTextName(other)).toBe('clip-text-128x12')
  expect(() => clipTextOfSizes({ tokens: 77, width: 100 })).toThrow(
    'a CLIP text encoder of width 100: heads is missing: must be said, for the width of 100 is no multiple of 64.',
  )
})

const REFUSED: readonly { config: Parameters<typeof clipTextConfigSchema.parse>[0]; message: string }[] = [
  { config: { hidden: 100, depth: 2 }, message: 'must be said, for the width of 100 is no multiple of 64' },
  { config: { hidden: 128, depth: 2, heads: 3 }, message: '3 heads do not divide the hidden width 128' },
  { config: { hidden: 256, depth: 2, heads: 1 }, message: 'gives a head_dim of 256; at most 128 is supported' },
  { config: { hidden: 128, depth: 2, layers: 3 }, message: 'Unrecognized key: \\"layers\\"' },
]
test.each(REFUSED)('a configuration is refused: $message', ({ config, message }) => {
  expect(() => clipTextConfigSchema.parse(config)).toThrow(message)
})
