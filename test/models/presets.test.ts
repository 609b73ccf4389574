import { describe, expect, test } from 'vitest'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { DiT } from '../../src/models/dit.ts'
import {
  DITDH_PRESETS,
  type DiTPreset,
  LIGHTNINGDIT_PRESETS,
  type LightningDiTPreset,
  MMDIT_PRESETS,
  type MMDiTPreset,
  SIT_PRESETS,
  type SiTPreset,
} from '../../src/models/presets.ts'
import { parseSiTConfig, SiT } from '../../src/models/sit.ts'
import { elementCount } from '../../src/tensor/dtype.ts'

const entriesOf = (preset: SiTPreset, options: object = {}) =>
  transformerEntries(parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...SIT_PRESETS[preset], ...options }))

const count = (preset: SiTPreset, options?: object) =>
  entriesOf(preset, options).reduce((sum, { shape }) => sum + elementCount(shape), 0)

/** Numbers in the state dict at 256 px: without projector, and with one for features of width 768. */
const COUNTS: readonly (readonly [SiTPreset, trunk: number, total: number])[] = [
  ['SiT-S/2', 32_957_200, 39_515_664],
  ['SiT-B/2', 130_500_112, 137_845_008],
  ['SiT-L/2', 458_086_416, 465_955_600],
  ['SiT-XL/2', 675_111_184, 683_242_512],
]

test.each(COUNTS)('%s has %i numbers, with a projector %i', (preset, trunk, total) => {
  expect(count(preset)).toBe(trunk)
  expect(count(preset, { alignWidths: [768] })).toBe(total)
})

// Another patch changes the patch embedding, the head and the position table, and nothing else.
test.each(Object.keys(SIT_PRESETS) as SiTPreset[])('%s differs from its /2 by patch and positions alone', (preset) => {
  const { hidden, patch } = SIT_PRESETS[preset]
  const base = COUNTS.find(([name]) => name.split('/')[0] === preset.split('/')[0])![1]
  const values = 4 * patch * patch - 4 * 2 * 2
  const tokens = (32 / patch) ** 2 - 16 ** 2
  expect(count(preset)).toBe(base + values * hidden + values * (hidden + 1) + tokens * hidden)
})

/**
 * Numbers of LightningDiT's models as its code makes them, of latents of 32 x 16 x 16 for patch 1 and 4 x 32 x 32 for patch 2: parameters,
 * and rotary positions, which are buffers.
 */
const LIGHTNINGDIT_COUNTS: readonly (readonly [LightningDiTPreset, parameters: number, buffers: number])[] = [
  ['LightningDiT-B/1', 130_556_192, 32_768],
  ['LightningDiT-B/2', 130_531_600, 32_768],
  ['LightningDiT-L/2', 458_120_176, 32_768],
  ['LightningDiT-XL/1', 675_256_736, 36_864],
  ['LightningDiT-XL/2', 675_219_856, 36_864],
  ['LightningDiT-1p0B/1', 1_029_401_120, 32_768],
  ['LightningDiT-1p0B/2', 1_029_351_952, 32_768],
  ['LightningDiT-1p6B/1', 1_631_767_120, 32_768],
  ['LightningDiT-1p6B/2', 1_631_709_760, 32_768],
]

test.each(LIGHTNINGDIT_COUNTS)('%s has %i parameters', (preset, parameters, buffers) => {
  const [channels, side] = preset.endsWith('/1') ? [32, 16] : [4, 32]
  const model = { kind: 'SiT', ...LIGHTNINGDIT_PRESETS[preset], channels, inputSize: [side, side] }
  const entries = transformerEntries(parseSiTConfig(model))
  const numbers = (isBuffer: boolean) =>
    entries.filter((entry) => entry.isBuffer === isBuffer).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  expect([numbers(false), numbers(true)]).toEqual([parameters, buffers])
})

/** RAE's paper has 839 million of DiT-DH-XL, of latents of 768 x 16 x 16. */
test.each([
  ['DiTDH-S', 196_455_764],
  ['DiTDH-XL', 838_675_796],
] as const)('%s has %i parameters', (preset, parameters) => {
  const model = { kind: 'SiT', ...DITDH_PRESETS[preset], channels: 768, inputSize: [16, 16] }
  const entries = transformerEntries(parseSiTConfig(model)).filter(({ isBuffer }) => !isBuffer)
  expect(entries.reduce((sum, { shape }) => sum + elementCount(shape), 0)).toBe(parameters)
})

/** REPA's mmdit.py at 256 px: parameters without a projector and with one for features of width 768, and its positions, a buffer. */
const MMDIT_COUNTS: readonly (readonly [MMDiTPreset, trunk: number, total: number, positions: number])[] = [
  ['MMDiT-d12/2', 62_768_656, 69_327_120, 98_304],
  ['MMDiT-d24/2', 505_070_608, 512_415_504, 196_608],
]

test.each(MMDIT_COUNTS)('%s has %i parameters, with a projector %i', (preset, trunk, total, positions) => {
  const numbers = (alignWidths: number[], isBuffer: boolean) => {
    const model = parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...MMDIT_PRESETS[preset], alignWidths })
    const entries = transformerEntries(model).filter((entry) => entry.isBuffer === isBuffer)
    return entries.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  }
  expect([numbers([], false), numbers([768], false), numbers([768], true)]).toEqual([trunk, total, positions])
})

// What every object has, among them.
test.each(['SiT-XL/3', 'constructor', '__proto__', 'toString'])('there is no model "%s"', (name) => {
  const message = (first: string) => `There is no model "${name}": expected one of ${first}, `
  expect(() => SiT.create(name as SiTPreset)).toThrow(message('SiT-S/2'))
  expect(() => DiT.create(name as DiTPreset)).toThrow(message('DiT-S/2'))
})

describe('the state dict of SiT-XL/2 with a projector', () => {
  const entries = entriesOf('SiT-XL/2', { alignWidths: [768] })
  const linear = (name: string, output: number, input: number) => [
    [`${name}.weight`, [output, input]],
    [`${name}.bias`, [output]],
  ]

  test('has the names, shapes and order of the published checkpoint', () => {
    const blocks = Array.from({ length: 28 }, (_, i) => `blocks.${i}`).flatMap((block) => [
      ...linear(`${block}.attn.qkv`, 3456, 1152),
      ...linear(`${block}.attn.proj`, 1152, 1152),
      ...linear(`${block}.mlp.fc1`, 4608, 1152),
      ...linear(`${block}.mlp.fc2`, 1152, 4608),
      ...linear(`${block}.adaLN_modulation.1`, 6912, 1152),
    ])
    const expected = [
      ['pos_embed', [1, 256, 1152]],
      ['x_embedder.proj.weight', [1152, 4, 2, 2]],
      ['x_embedder.proj.bias', [1152]],
      ...linear('t_embedder.mlp.0', 1152, 256),
      ...linear('t_embedder.mlp.2', 1152, 1152),
      ['y_embedder.embedding_table.weight', [1001, 1152]],
      ...blocks,
      ...linear('projectors.0.0', 2048, 1152),
      ...linear('projectors.0.2', 2048, 2048),
      ...linear('projectors.0.4', 768, 2048),
      ...linear('final_layer.linear', 16, 1152),
      ...linear('final_layer.adaLN_modulation.1', 2304, 1152),
    ]
    expect(expected).toHaveLength(298)
    expect(entries.map(({ name, shape }) => [name, shape])).toEqual(expected)
  })

  test('at 512 px differs in pos_embed alone', () => {
    const large = entriesOf('SiT-XL/2', { alignWidths: [768], inputSize: [64, 64] })
    const differing = large.filter(({ shape }, i) => String(shape) !== String(entries[i]!.shape))
    expect(differing.map(({ name, shape }) => [name, shape])).toEqual([['pos_embed', [1, 1024, 1152]]])
  })
})
