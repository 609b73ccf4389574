import { describe, expect, test } from 'vitest'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { DiT, parseDiTConfig } from '../../src/models/dit.ts'
import { inferTransformerConfig } from '../../src/models/infer-transformer.ts'
import { DIT_PRESETS, type DiTPreset, SIT_PRESETS, type SiTPreset } from '../../src/models/presets.ts'
import { parseSiTConfig, SiT } from '../../src/models/sit.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { randomIntegers, randomNormal } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const configOf = (preset: DiTPreset, options: object = {}) =>
  parseDiTConfig({ kind: 'DiT', inputSize: [32, 32], ...DIT_PRESETS[preset], ...options })

const count = (preset: DiTPreset, options?: object) =>
  transformerEntries(configOf(preset, options)).reduce((sum, { shape }) => sum + elementCount(shape), 0)

/** Numbers in the state dict at 256 px, with the variance's channels. */
test.each<readonly [DiTPreset, number]>([
  ['DiT-S/2', 32_963_360],
  ['DiT-B/2', 130_512_416],
  ['DiT-L/2', 458_102_816],
  ['DiT-XL/2', 675_129_632],
])('%s has %i numbers', (preset, numbers) => {
  expect(count(preset)).toBe(numbers)
})

test.each(Object.keys(DIT_PRESETS) as DiTPreset[])('%s is a SiT with twice the channels in its head', (preset) => {
  const sit = transformerEntries(
    parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...SIT_PRESETS[preset.replace('D', 'S') as SiTPreset] }),
  )
  const { patch, hidden } = DIT_PRESETS[preset]
  const differing = transformerEntries(configOf(preset)).filter(
    ({ shape }, i) => String(shape) !== String(sit[i]!.shape),
  )
  expect(differing.map(({ name, shape }) => [name, shape])).toEqual([
    ['final_layer.linear.weight', [8 * patch * patch, hidden]],
    ['final_layer.linear.bias', [8 * patch * patch]],
  ])
})

describe('the state dict of the published checkpoints', () => {
  const linear = (name: string, output: number, input: number) => [
    [`${name}.weight`, [output, input]],
    [`${name}.bias`, [output]],
  ]
  // DiT-XL/2's and, learning no variance with it, the original SiT-XL/2's.
  const published = (tokens: number) => [
    ['pos_embed', [1, tokens, 1152]],
    ['x_embedder.proj.weight', [1152, 4, 2, 2]],
    ['x_embedder.proj.bias', [1152]],
    ...linear('t_embedder.mlp.0', 1152, 256),
    ...linear('t_embedder.mlp.2', 1152, 1152),
    ['y_embedder.embedding_table.weight', [1001, 1152]],
    ...Array.from({ length: 28 }, (_, i) => `blocks.${i}`).flatMap((block) => [
      ...linear(`${block}.attn.qkv`, 3456, 1152),
      ...linear(`${block}.attn.proj`, 1152, 1152),
      ...linear(`${block}.mlp.fc1`, 4608, 1152),
      ...linear(`${block}.mlp.fc2`, 1152, 4608),
      ...linear(`${block}.adaLN_modulation.1`, 6912, 1152),
    ]),
    ...linear('final_layer.linear', 32, 1152),
    ...linear('final_layer.adaLN_modulation.1', 2304, 1152),
  ]
  const sit = parseSiTConfig({
    kind: 'SiT',
    inputSize: [32, 32],
    ...SIT_PRESETS['SiT-XL/2'],
    learnSigma: true,
    convention: 'sit',
  })

  test.each([
    ['DiT-XL/2', 256, configOf('DiT-XL/2')],
    ['DiT-XL/2 at 512 px', 1024, configOf('DiT-XL/2', { inputSize: [64, 64] })],
    ['the original SiT-XL/2', 256, sit],
  ])('of %s has %i positions, and the names, shapes and order', (_, tokens, config) => {
    expect(transformerEntries(config).map(({ name, shape }) => [name, shape])).toEqual(published(tokens))
  })

  test('tells its model, but for which of the two', () => {
    const shapes = new Map(transformerEntries(sit).map(({ name, shape }) => [name, shape]))
    expect(inferTransformerConfig(shapes, 'a.pt')).toEqual(configOf('DiT-XL/2'))
    expect(inferTransformerConfig(shapes, 'a.pt', { kind: 'SiT' })).toEqual(sit)
  })
})

const TINY = { depth: 3, hidden: 64, heads: 4, patch: 2 } as const
const OPTIONS = { channels: 3, inputSize: [8, 8] as [number, number], classes: 5, projectorWidth: 48 }

function inputs(batch: number) {
  return {
    x: randomNormal([batch, 3, 8, 8], { seed: 5, stream: 'noise', step: 0 }, 'cpu'),
    t: randomIntegers(batch, 0, 1000, { seed: 5, stream: 'timesteps', step: 0 }, 'cpu'),
    labels: Tensor.from(
      Int32Array.from({ length: batch }, (_, i) => i % 5),
      [batch],
      'cpu',
    ),
  }
}

test('a DiT predicts as many channels again, and 0 at first', async () => {
  using model = DiT.create(TINY, { ...OPTIONS, alignWidths: [32], alignDepth: 2 })
  const { x, t, labels } = inputs(3)
  const { prediction, projections } = model.forward(x, t, labels, { project: true })
  expect(prediction.shape).toEqual([3, 6, 8, 8])
  expect((await prediction.data()).every((value) => value === 0)).toBe(true)
  expect(projections.map(({ shape }) => shape)).toEqual([[3, 16, 32]])
  for (const tensor of [x, t, labels, prediction, ...projections]) tensor.dispose()
})

test('hidden states are those of the whole steps that a forward pass takes', async () => {
  using dit = DiT.create(TINY, OPTIONS)
  const { x, t, labels } = inputs(2)
  using time = Tensor.from(Float32Array.from(await t.dataAs('i32')), [2], 'cpu')
  using states = dit.hiddenStates(x, t, labels, 1)
  using same = dit.hiddenStates(x, time, labels, 1)
  expect(await states.data()).toEqual(await same.data())
  for (const tensor of [x, t, labels]) tensor.dispose()
})

test('a SiT of eight channels says what its first four say', async () => {
  using wide = SiT.create(TINY, { ...OPTIONS, learnSigma: true })
  using view = wide.arena.array('weights')
  view.write(Float32Array.from({ length: view.elements }, (_, i) => Math.sin(i) / 10))
  using dit = DiT.create(TINY, OPTIONS)
  using same = dit.arena.array('weights')
  same.write(await view.data())
  const { x, t, labels } = inputs(2)
  const whole = await dit.forward(x, t, labels).prediction.data()
  using time = Tensor.from(Float32Array.from(await t.dataAs('i32')), [2], 'cpu')
  const half = wide.forward(x, time, labels).prediction
  expect(half.shape).toEqual([2, 3, 8, 8])
  const size = 3 * 8 * 8
  expect(await half.data()).toEqual(
    Float32Array.from({ length: 2 * size }, (_, i) => whole[Math.floor(i / size) * 2 * size + (i % size)]!),
  )
  for (const tensor of [x, t, labels, half]) tensor.dispose()
})

test.each([
  [{ heads: 5 }, "the model's configuration: heads is 5: 5 heads do not divide the hidden width 64."],
  [{ convention: 'sit' }, 'the model\'s configuration: there is no setting "convention".'],
])('%j is refused', (change, sentence) => {
  expect(() => parseDiTConfig({ kind: 'DiT', ...TINY, inputSize: [8, 8], ...change })).toThrow(sentence)
})
