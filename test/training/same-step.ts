import { expect } from 'vitest'
import { LAMBDA } from '../tensor/rounding.ts'
import { BATCH, type FirstStep, SIZE } from './tiny-trainer.ts'

/**
 * The longest way through roundings: the sums of a block's products (4 · 32 terms at most), forward and backward, through two blocks, the
 * projector and the head, and those over the samples' tokens. Both sides are off by so many.
 */
const ROUNDINGS = 2 * 4 * (4 * SIZE.hidden) + BATCH * 16
const TOLERANCE = 2 * LAMBDA * Math.sqrt(ROUNDINGS) * 2 ** -24
const norm = (values: Float32Array) => Math.hypot(...values)

/** Expects two ways of making a tiny trainer's step to be the same up to the rounding of sums. */
export function expectSameStep(actual: FirstStep, expected: FirstStep): void {
  const losses = [
    'denoising',
    'vb',
    'velocityCosine',
    'alignment',
    'attentionAlignment',
    'selfAlignment',
    'dispersive',
    'contrastive',
    'classToken',
  ] as const
  const names = ['loss', ...losses, 'gradNorm'] as const
  for (const name of names) {
    const [wanted, value] = [expected.step[name], actual.step[name]]
    expect([name, value === undefined]).toEqual([name, wanted === undefined])
    if (wanted !== undefined) expect(Math.abs(value! / wanted - 1), name).toBeLessThan(TOLERANCE)
  }
  const difference = actual.gradients.map((value, i) => value - expected.gradients[i]!)
  expect(norm(difference)).toBeLessThan(TOLERANCE * norm(expected.gradients))
}
