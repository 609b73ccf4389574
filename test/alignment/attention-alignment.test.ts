import { describe, expect, test } from 'vitest'
import { attentionLoss, comparedAttention } from '../../src/alignment/attention-alignment.ts'
import { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { IMAGENET } from '../../src/models/image-normalisation.ts'
import { SiT } from '../../src/models/sit.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { attention } from '../../src/tensor/ops/attention.ts'
import type { PackedHeads } from '../../src/tensor/ops/attention-alignment.ts'
import { keep } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { Alignment, TrainerOptions } from '../../src/training/trainer-options.ts'
import { attentiveEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { fromValues, random } from '../reference/array.ts'
import { attentionAlignment } from '../reference/attention-alignment.ts'

describe('what is compared', () => {
  const XL = { blocks: 8, heads: 16 }
  const DINOV2_B = { blocks: 12, heads: 12 }

  test.each([
    // As HASTE's code has it, counted from 1.
    [{}, XL, DINOV2_B, { model: { from: 5, to: 8 }, encoder: { from: 9, to: 12 }, heads: 12 }],
    [{}, { blocks: 4, heads: 12 }, DINOV2_B, { model: { from: 1, to: 4 }, encoder: { from: 9, to: 12 }, heads: 12 }],
    [{}, { blocks: 2, heads: 6 }, DINOV2_B, { model: { from: 1, to: 2 }, encoder: { from: 11, to: 12 }, heads: 6 }],
    [{}, XL, { blocks: 3, heads: 3 }, { model: { from: 6, to: 8 }, encoder: { from: 1, to: 3 }, heads: 3 }],
    [{ blocks: 1, heads: 2 }, XL, DINOV2_B, { model: { from: 8, to: 8 }, encoder: { from: 12, to: 12 }, heads: 2 }],
    [{ blocks: 8, heads: 12 }, XL, DINOV2_B, { model: { from: 1, to: 8 }, encoder: { from: 5, to: 12 }, heads: 12 }],
  ])('%j of %j and %j', (asked, model, encoder, expected) => {
    expect(comparedAttention({ weight: 0.5, ...asked }, model, encoder)).toEqual(expected)
  })

  test.each([
    [
      { blocks: 9 },
      'The attention of 9 blocks cannot be compared: the model has 8 up to the one that is aligned, the encoder 12; expected 1 to 8.',
    ],
    [
      { heads: 13 },
      'The attention of 13 heads cannot be compared: the model has 16, the encoder 12; expected 1 to 12.',
    ],
    [{ blocks: 0 }, 'The attention of 0 blocks'],
    [{ heads: 1.5 }, 'The attention of 1.5 heads'],
  ])('%j is refused', (asked, sentence) => {
    expect(() => comparedAttention({ weight: 0.5, ...asked }, XL, DINOV2_B)).toThrow(sentence)
  })
})

test('the loss is the mean over blocks', async () => {
  const draw = (seed: number, tokens: number) => random([2, tokens, 3 * 2 * 4], seed)
  const pairs = [1, 2].map((i) => [draw(i, 5), draw(10 + i, 6)] as const)
  const tensor = (values: ReturnType<typeof draw>): PackedHeads => ({
    qkv: Tensor.from(Float32Array.from(values.data), values.shape, 'cpu'),
    heads: 2,
  })
  const own = pairs.map(([model]) => tensor(model))
  const teacher = pairs.map(([, encoder]) => tensor(encoder))
  using loss = attentionLoss(own, teacher, 2, 1)
  const heads = { heads: 2, width: 4 }
  const expected = pairs.flatMap(([model, encoder]) => [...attentionAlignment(model, heads, encoder, heads, 2).data])
  expect((await loss.dataAs('f64'))[0]).toBeCloseTo(expected.reduce((sum, value) => sum + value, 0) / 4, 6)
  expect(() => attentionLoss(own, teacher.slice(1), 2, 1)).toThrow('2 blocks for 1 of an encoder; expected as many')
  for (const { qkv } of [...own, ...teacher]) qkv.dispose()
})

describe('the attention of an encoder', () => {
  const config = { hidden: 24, depth: 3, heads: 3, patch: 2, imageSize: 8, registers: 2 }

  test.each([
    ['DINOv2', {}],
    ['without a class token', { classToken: false, registers: 0 }],
  ])('%s: what the last blocks read is shown in their order, and the features are as without', async (_, more) => {
    using encoder = new VisionEncoder(
      { statistics: IMAGENET },
      'vit',
      VisionTransformer.create({ ...config, ...more }, { seed: 4 }),
    )
    expect(encoder.attention).toEqual({ blocks: 3, heads: 3 })
    using images = Tensor.from(
      Uint8Array.from(random([2 * 3 * 8 * 8], 1).data, (value) => 128 + 127 * value),
      [2, 3, 8, 8],
      'cpu',
    )
    const grid = [4, 4] as const
    const shown: PackedHeads[] = []
    const show = ({ qkv, heads }: PackedHeads) => shown.push({ qkv: keep(qkv.alias()), heads })
    using features = encoder.features(images, grid, { attention: { from: 2, to: 3, show } })
    using plain = encoder.features(images, grid)
    expect(await features.data()).toEqual(await plain.data())
    const before = 'classToken' in more ? 0 : 3
    expect(shown.map(({ qkv, heads }) => [qkv.shape, heads])).toEqual([
      [[2, before + 16, 72], 3],
      [[2, before + 16, 72], 3],
    ])
    // Two blocks' own: not the same, and such as attention reads.
    const [second, third] = await Promise.all(shown.map(({ qkv }) => qkv.data()))
    expect(second).not.toEqual(third)
    using read = attention(shown[1]!.qkv, 3)
    expect(read.shape).toEqual([2, before + 16, 24])
    for (const { qkv } of shown) qkv.dispose()
  })

  test('a model that attends as its encoder is told its entropy', async () => {
    using encoder = new VisionEncoder({ statistics: IMAGENET }, 'vit', VisionTransformer.create(config, { seed: 4 }))
    using images = Tensor.from(new Uint8Array(3 * 8 * 8).fill(90), [1, 3, 8, 8], 'cpu')
    const shown: PackedHeads[] = []
    const show = ({ qkv, heads }: PackedHeads) => shown.push({ qkv: keep(qkv.alias()), heads })
    encoder.features(images, [4, 4], { attention: { from: 3, to: 3, show } }).dispose()
    const { qkv } = shown[0]!
    using patches = qkv.slice(0, 1).view(3 * 72, [1, 16, 72])
    using loss = attentionLoss([{ qkv: patches, heads: 3 }], [{ qkv, heads: 3 }], 3, 1)
    const values = fromValues([1, 16, 72], [...(await patches.data())])
    const own = { heads: 3, width: 8 }
    expect((await loss.dataAs('f64'))[0]).toBeCloseTo(attentionAlignment(values, own, values, own, 3).data[0]!, 5)
    qkv.dispose()
  })
})

describe('a Trainer refuses to compare', () => {
  const attend = { encoder: attentiveEncoder, depth: 2, attention: { weight: 0.5 } }
  test.each<[string, Partial<TrainerOptions>, string]>([
    [
      'with an encoder without attention',
      { align: { ...attend, encoder: constantEncoder } },
      'the encoder constant has none; name a vision transformer first.',
    ],
    [
      'with cached features',
      { align: { ...attend, encoder: { name: 'dinov2-vit-b', width: 8, store: {} as never } } as Alignment },
      'of the cached features of dinov2-vit-b there is none; let the encoder run.',
    ],
    [
      'where a route leaves tokens out',
      { align: attend, route: { share: 0.5, from: 2, to: 2 } },
      'blocks 1 to 2 are compared, and some tokens go past blocks 2 to 2; let the route begin later.',
    ],
    [
      'where a route ends at the first block that is compared',
      { align: { ...attend, attention: { weight: 0.5, blocks: 1 } }, route: { share: 0.5, from: 2, to: 2 } },
      'blocks 2 to 2 are compared, and some tokens go past blocks 2 to 2; let the route begin later.',
    ],
    [
      'more heads than there are',
      { align: { ...attend, attention: { weight: 0.5, heads: 3 } } },
      'The attention of 3 heads cannot be compared: the model has 2, the encoder 2; expected 1 to 2.',
    ],
    [
      'more blocks than the model has',
      {
        align: {
          encoder: { ...attentiveEncoder, attention: { blocks: 12, heads: 2 } },
          attention: { weight: 0.5, blocks: 4 },
        },
      },
      'The attention of 4 blocks cannot be compared: the model has 3 up to the one that is aligned',
    ],
    ['by a weight below 0', { align: { ...attend, attention: { weight: -1 } } }, 'align.attention.weight'],
  ])('%s', async (_, options, sentence) => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create(
      { depth: 3, hidden: 16, heads: 2, patch: 2 },
      { inputSize: [8, 8], classes: 5, projectorWidth: 8 },
    )
    const { config } = model
    expect(() => new Trainer({ model, data, batch: 2, ...options })).toThrow(sentence)
    expect(model.config).toEqual(config)
  })

  test('beside a class token', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create(
      { depth: 3, hidden: 16, heads: 2, patch: 2 },
      { inputSize: [8, 8], classes: 5, projectorWidth: 8 },
    )
    const align = { ...attend, encoder: { ...attentiveEncoder, hasClassToken: true } }
    expect(() => new Trainer({ model, data, batch: 2, align, classToken: { weight: 1 } })).toThrow(
      'a class token is denoised along (REG), which takes part in it; leave one out.',
    )
  })
})
