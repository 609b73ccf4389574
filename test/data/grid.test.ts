import { describe, expect, test } from 'vitest'
import { ImageGrid, imageGrid } from '../../src/data/grid.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { interleaved } from '../../src/tensor/planes.ts'
import { goldenSuffix, haveGolden } from '../shared-folder.ts'
import { goldenTensors } from './golden.ts'
import { maxDifference } from './max-difference.ts'

describe('imageGrid', () => {
  test.skipIf(!haveGolden)(`golden preprocess.grid${goldenSuffix}`, async () => {
    const tensors = await goldenTensors('preprocess/preprocess.grid.safetensors')
    const x = tensors.get('x')!
    const expected = tensors.get('grid')!
    const [count, channels, height, width] = x.shape as [number, number, number, number]
    const grid = imageGrid(interleaved(toFloat32(x), height * width), [count, height, width, channels])
    expect([grid.height, grid.width, 3]).toEqual(expected.shape)
    // The manifest allows a difference of 1; there is none.
    expect(maxDifference(grid.data, expected.data)).toBe(0)
  })

  test('bytes are copied as they are, and fewer images than columns make a narrow grid', () => {
    const grid = imageGrid(Uint8Array.of(1, 2, 3, 4, 5, 6), [2, 1, 1, 3], { columns: 5, padding: 1 })
    expect([grid.width, grid.height]).toEqual([5, 3])
    expect([...grid.data.subarray(15, 30)]).toEqual([0, 0, 0, 1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0, 0])
  })

  test.each([
    [[2, 1, 3], '6 values of shape [2,1,3] are not [N, H, W, 3] images'],
    [[1, 1, 1, 3], '6 values of shape [1,1,1,3] are not'],
    [[2, 3, 1, 1], 'of shape [2,3,1,1]'],
  ])('refuses the shape %j', (shape, message) => {
    expect(() => imageGrid(new Uint8Array(6), shape)).toThrow(message)
  })

  test.each([
    [[0, 8, 8], 'ImageGrid: 0 images; at least one is needed.'],
    [
      [50_000, 256, 256],
      'A grid of 50000 images of 256 x 256 would be a picture of 57794 x 57794 pixels, 10020439308 bytes; at most 2147483647 fit into one. Show some 10753 of them at most.',
    ],
  ] as const)('no picture is of %j', ([count, height, width], message) => {
    expect(() => new ImageGrid(count, height, width)).toThrow(message)
  })
})
