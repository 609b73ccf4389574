import { afterEach, describe, expect, test, vi } from 'vitest'
import { selfTest } from '../../src/doctor/self-test.ts'
import { native } from '../../src/native.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

test('passes here', async () => {
  const { checks, passed, seconds } = await selfTest()
  expect(checks.filter((check) => !check.passed)).toEqual([])
  expect(checks).toHaveLength(5)
  expect(passed).toBe(true)
  expect(seconds).toBeGreaterThan(0)
})

// Faults of a ten-thousandth: far above what rounding allows, far below what would be seen in a training curve.
const FAULT = 1.0001

describe('sees a kernel that computes wrongly', () => {
  const addon = native()
  const { adamW, attention, attentionBackward, fillUniform, gatedResidualNormModulateBackward, linear } = addon
  test.each<[string, string, () => void]>([
    [
      'fillUniform',
      'random numbers',
      () =>
        vi
          .spyOn(addon, 'fillUniform')
          .mockImplementation((out, low, high, seed, ...rest) => fillUniform(out, low, high, seed + 1n, ...rest)),
    ],
    [
      'linear',
      'matrix product',
      () =>
        vi.spyOn(addon, 'linear').mockImplementation((...all) => {
          const [out, pre] = linear(...all)
          return [addon.scale(out, FAULT), pre]
        }),
    ],
    [
      'attention',
      'attention',
      () =>
        vi.spyOn(addon, 'attention').mockImplementation((...all) => {
          const [out, lse] = attention(...all)
          return [addon.scale(out, FAULT), lse]
        }),
    ],
    [
      'attentionBackward',
      'attention',
      () =>
        vi
          .spyOn(addon, 'attentionBackward')
          .mockImplementation((...all) => addon.scale(attentionBackward(...all), FAULT)),
    ],
    [
      'attentionBackward, whose sign is wrong',
      'attention',
      () =>
        vi.spyOn(addon, 'attentionBackward').mockImplementation((...all) => addon.scale(attentionBackward(...all), -1)),
    ],
    [
      'gatedResidualNormModulateBackward',
      'SiT, loss and gradient',
      () =>
        vi.spyOn(addon, 'gatedResidualNormModulateBackward').mockImplementation((...all) => {
          const [dX, dY] = gatedResidualNormModulateBackward(...all)
          return [addon.scale(dX, 1.01), dY]
        }),
    ],
    [
      'adamW',
      'AdamW and EMA',
      () =>
        vi.spyOn(addon, 'adamW').mockImplementation((...all) => {
          all[10] *= 1.01
          adamW(...all)
        }),
    ],
  ])('%s', async (_, name, inject) => {
    inject()
    const { checks, passed } = await selfTest()
    expect(passed).toBe(false)
    expect(checks.filter((check) => !check.passed).map((check) => check.name)).toContain(name)
  })
})
