import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { openPreparedImages, pixelBatches } from '../../src/data/prepared-images.ts'
import { encodeNpy } from '../../src/formats/npy.ts'
import { planar } from '../../src/tensor/planes.ts'
import { randomIntegers } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const SIZE = 4
const pixels = [0, 1, 2].map((i) => Uint8Array.from(randomIntegers(3 * SIZE ** 2, 256, 70 + i)))

// The reference's tool writes pictures, and its loader reads arrays, too, one of which may have a batch's axis.
const WRITERS: readonly [name: string, write: (image: Uint8Array) => Uint8Array][] = [
  ['png', (image) => encodePng(image, SIZE, SIZE, 3)],
  ['npy', (image) => encodeNpy({ dtype: 'u8', shape: [3, SIZE, SIZE], data: planar(image, SIZE ** 2) })],
  ['npy', (image) => encodeNpy({ dtype: 'u8', shape: [1, 3, SIZE, SIZE], data: planar(image, SIZE ** 2) })],
]

test.each(WRITERS)(
  'images as .%s are the same to training and to what is prepared of them',
  async (extension, write) => {
    const root = temporaryFolder()
    const names = pixels.map((_, i) => `00000/img0000000${i}.${extension}`)
    writeTree(join(root, 'images'), {
      ...Object.fromEntries(names.map((name, i) => [name, write(pixels[i]!)])),
      'dataset.json': JSON.stringify({ labels: names.map((name) => [name, 0]) }),
    })
    const images = await openPreparedImages(root)
    expect(images.size).toBe(SIZE)
    const read: Uint8Array[] = []
    for await (const batch of pixelBatches(images, [{ begin: 0, end: 3 }]))
      read.push(...batch.images.map((image) => Uint8Array.from(image)))
    expect(read).toEqual(pixels)
    const { image } = await (await Dataset.open(root)).read(1, { image: true, latent: false })
    expect(image).toEqual(planar(pixels[1]!, SIZE ** 2))
  },
)
