/** Seeds of first values: what those of a trainer and of a sampler may be. */
import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { memoryStats } from '../../src/tensor/device.ts'

const SIZES = { depth: 1, hidden: 32, heads: 2, patch: 2 }

describe.each([
  ['SiT.create', (seed: number) => SiT.create(SIZES, { seed })],
  ['DiT.create', (seed: number) => DiT.create(SIZES, { seed })],
  ['VisionTransformer.create', (seed: number) => VisionTransformer.create('dinov2-vit-b', { seed })],
  [
    'align',
    (seed: number) => {
      using model = SiT.create(SIZES)
      model.align({ widths: [4], depth: 1, seed })
      return model
    },
  ],
] as const)('%s', (_, make) => {
  test.each([
    [-1, 'expected number to be >=0'],
    [0.5, 'expected int'],
    [Number.NaN, 'expected number'],
    ['seven', 'expected number'],
    [null, 'expected number'],
    [2 ** 53, 'expected int to be <=9007199254740991'],
    [2 ** 63, 'expected int to be <=9007199254740991'],
  ])('takes no seed %s', (seed, expected) => {
    const { liveBytes } = memoryStats('cpu')
    const shown = typeof seed === 'string' ? `"${seed}"` : String(seed)
    expect(() => make(seed as number)).toThrow(
      new ConfigurationError(`the model's options: seed is ${shown}: ${expected}.`),
    )
    expect(memoryStats('cpu').liveBytes).toBe(liveBytes)
  })
})

test('the largest seed that is one', () => {
  using model = SiT.create(SIZES, { seed: 2 ** 53 - 1 })
  expect(model.parameterCount).toBeGreaterThan(0)
})
