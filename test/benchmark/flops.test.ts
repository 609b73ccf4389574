import { expect, test } from 'vitest'
import { trainingFlops } from '../../src/benchmark/flops.ts'
import { SIT_PRESETS, type SiTPreset } from '../../src/models/presets.ts'
import { sitConfigSchema } from '../../src/models/sit.ts'

const config = (model: SiTPreset, alignWidths: number[] = []) =>
  sitConfigSchema.parse({ kind: 'SiT', inputSize: [32, 32], ...SIT_PRESETS[model], alignWidths })

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

test('a projector adds its three products', () => {
  const added = trainingFlops(config('SiT-B/2', [768])) - trainingFlops(config('SiT-B/2'))
  expect(added).toBe(6 * 256 * (768 * 2048 + 2048 * 2048 + 2048 * 768))
})
