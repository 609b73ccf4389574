import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { channelStatistics } from '../../src/pretraining/channel-statistics.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

/** A prepared set of images of 8 pixels a side, the bytes of each by its number. */
async function dataset(count: number, byte: (image: number, i: number) => number): Promise<Dataset> {
  const root = temporaryFolder()
  const names = Array.from({ length: count }, (_, i) => `00000/img${String(i).padStart(8, '0')}.png`)
  const png = (image: number) =>
    encodePng(
      Uint8Array.from({ length: 192 }, (_, i) => byte(image, i)),
      8,
      8,
      3,
    )
  writeTree(root, {
    'images/dataset.json': JSON.stringify({ labels: names.map((name) => [name, 0]) }),
    ...Object.fromEntries(names.map((name, image) => [`images/${name}`, png(image)])),
  })
  return Dataset.open(root)
}

test('mean and deviation of each channel, over all pixels of all images', async () => {
  const byte = (image: number, i: number) => (97 * image + 31 * i + 50 * (i % 3)) & 255
  const { mean, std } = await channelStatistics(await dataset(5, byte), 1)
  for (let c = 0; c < 3; c++) {
    const values = Array.from({ length: 5 * 64 }, (_, j) => byte(Math.floor(j / 64), (j % 64) * 3 + c) / 255)
    const expected = values.reduce((sum, value) => sum + value, 0) / values.length
    expect(mean[c]).toBeCloseTo(expected, 12)
    const variance = values.reduce((sum, value) => sum + (value - expected) ** 2, 0) / values.length
    expect(std[c]).toBeCloseTo(Math.sqrt(variance), 12)
  }
})

test('of images of one colour nothing is divided by 0', async () => {
  const { mean, std } = await channelStatistics(await dataset(2, () => 51), 1)
  expect(mean).toEqual([0.2, 0.2, 0.2])
  expect(std).toEqual([1 / 255, 1 / 255, 1 / 255])
})
