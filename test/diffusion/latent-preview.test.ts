import { describe, expect, test } from 'vitest'
import { previewLatents, previewOf } from '../../src/diffusion/latent-preview.ts'

describe('a preview of latents', () => {
  test.each<readonly [string, readonly number[], readonly number[][]]>([
    // (0.3512 + 1) / 2 · 255 = 172.3 and so on.
    ['the first of four channels', [1, 0, 0, 0], [[172, 156, 168]]],
    ['all four channels', [1, 1, 1, 1], [[150, 209, 141]]],
    ['one channel', [0.5], [[159, 159, 159]]],
    ['two channels', [2, -2], [[255, 0, 127]]],
    ['three of eight channels', [0, 1, -1, 9, 9, 9, 9, 9], [[127, 191, 63]]],
    ['what is out of range', [-3, 3, 0, 0, 0], [[0, 255, 127]]],
  ])('of %s', (_, channels, [pixel]) => {
    // Two samples of 1 x 2 elements, all nothing but the last.
    const size = channels.length
    const latents = new Float64Array(2 * size * 2)
    for (const [k, value] of channels.entries()) latents[(size + k) * 2 + 1] = value
    const bytes = [...previewLatents(latents, [2, size, 1, 2])]
    expect(bytes.slice(0, 9)).toEqual(new Array(9).fill(127))
    expect(bytes.slice(9)).toEqual(pixel)
  })

  test.each([
    [4, 'a linear preview of the latents, one pixel per element'],
    [1, 'a preview of the latents in false colours, the channel, one pixel per element'],
    [2, 'a preview of the latents in false colours, the first 2 of 2 channels, one pixel per element'],
    [32, 'a preview of the latents in false colours, the first 3 of 32 channels, one pixel per element'],
  ])('of %i channels is said', (channels, words) => {
    expect(previewOf(channels)).toBe(words)
  })
})
