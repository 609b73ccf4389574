import { expect, test } from 'vitest'
import { interleaved, planar, toPlanes } from '../../src/tensor/planes.ts'
import { syntheticImage } from '../data/synthetic-image.ts'

test('images become planes and their planes pixels again, each image by itself', () => {
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
  expect(planar(both, width * height)).toEqual(planes)
  expect(interleaved(planes, width * height)).toEqual(both)
})
