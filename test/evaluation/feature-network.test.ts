import { expect, test } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { encoderNetwork } from '../../src/evaluation/feature-network.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

// Of one that was finer along the longer side the image's two axes would count differently, and most encoders have no such grid.
test.each([
  { name: 'dinov2-vit-b', height: 256, width: 256, grid: [16, 16] },
  { name: 'dinov2-vit-b', height: 512, width: 768, grid: [32, 32] },
  { name: 'dinov2-vit-b', height: 384, width: 512, grid: [16, 16] },
  { name: 'hog', height: 512, width: 384, grid: [16, 16] },
  { name: 'hog', height: 24, width: 96, grid: [6, 6] },
  { name: 'hog', height: 3, width: 9, grid: [1, 1] },
])('$name sees images of $height by $width on a grid of $grid', async ({ name, height, width, grid }) => {
  const seen: (readonly number[])[] = []
  const encoder: Encoder = {
    name,
    width: 2,
    features: (images, [rows, columns]) => {
      seen.push([rows, columns])
      return Tensor.full([images.shape[0]!, rows * columns, 2], 0.5, 'cpu')
    },
    [Symbol.dispose]() {},
  }
  using network = encoderNetwork(encoder, 'cpu')
  const { features } = await network.run({ pixels: new Uint8Array(height * width * 3), count: 1, height, width })
  expect([...features]).toEqual([0.5, 0.5])
  expect(seen).toEqual([grid])
})
