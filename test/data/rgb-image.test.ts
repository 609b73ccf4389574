import { expect, test } from 'vitest'
import { interleaved, toPlanes } from '../../src/data/rgb-image.ts'
import { syntheticImage } from './synthetic-image.ts'

test('planes of several images are interleaved again, each by itself', () => {
  const [width, height] = [5, 3]
  const length = 3 * width * height
  const both = new Uint8Array(2 * length)
  both.set(syntheticImage(width, height).data)
  both.set(syntheticImage(height, width).data, length)
  const planes = new Uint8Array(2 * length)
  for (const first of [0, length]) {
    toPlanes({ width, height, data: both.subarray(first, first + length) }, planes, first)
  }
  expect(planes).not.toEqual(both)
  expect(interleaved(planes, width * height)).toEqual(both)
})
