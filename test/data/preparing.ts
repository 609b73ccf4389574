import { join } from 'node:path'
import type { FeatureEncoder } from '../../src/data/feature-encoder.ts'
import type { LatentEncoder } from '../../src/data/latent-encoder.ts'
import { encodePng } from '../../src/data/png.ts'
import type { PrepareOptions } from '../../src/data/prepare.ts'
import { numberToFloat16 } from '../../src/tensor/float16.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { syntheticImage } from './synthetic-image.ts'

export function png(width: number, height: number, seed: number): Uint8Array {
  return encodePng(syntheticImage(width, height, seed).data, width, height, 3)
}

/** `count` pictures of 20×16 in three classes. */
export function pictures(count: number): Record<string, Uint8Array> {
  const name = (i: number): string => `class${i % 3}/${String(i).padStart(3, '0')}.png`
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [name(i), png(20, 16, i + 1)]))
}

/** The means and standard deviations of 8×8 blocks of each channel: an encoder of the right shape, and checkable. */
export const blockMoments: LatentEncoder = {
  name: 'block-moments',
  latentChannels: 3,
  downsampling: 8,
  batchSize: 4,
  encode: async (images, size) => images.map((pixels) => momentsOfBlocks(pixels, size)),
}

/** The means alone, as of an autoencoder whose latents are points. */
export const blockMeans: LatentEncoder = {
  ...blockMoments,
  name: 'block-means',
  latentScale: 1,
  hasDeviations: false,
  encode: async (images, size) => images.map((pixels) => meansOfBlocks(pixels, size)),
}

export function meansOfBlocks(pixels: Uint8Array, size: number): Float32Array {
  return momentsOfBlocks(pixels, size).subarray(0, 3 * (size / 8) ** 2)
}

export function momentsOfBlocks(pixels: Uint8Array, size: number): Float32Array {
  const side = size / 8
  const out = new Float32Array(6 * side * side)
  for (let c = 0; c < 3; c++) {
    for (let block = 0; block < side * side; block++) {
      const values = Array.from({ length: 64 }, (_, i) => {
        const y = Math.floor(block / side) * 8 + (i >> 3)
        const x = (block % side) * 8 + (i & 7)
        return pixels[(y * size + x) * 3 + c]!
      })
      const mean = values.reduce((sum, value) => sum + value, 0) / 64
      out[c * side * side + block] = mean
      out[(c + 3) * side * side + block] = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 64)
    }
  }
  return out
}

export function setup(
  files: Readonly<Record<string, Uint8Array | string>>,
  more: Partial<PrepareOptions> = {},
): PrepareOptions & { readonly source: string } {
  const root = temporaryFolder()
  const source = join(root, 'source')
  writeTree(source, files)
  return { out: join(root, 'out'), size: 16, ...more, source }
}

/** The mean of the pixels under each token, and of the three channels there: checkable too. */
export const tokenMeans: FeatureEncoder = {
  name: 'token-means',
  weights: 'ab'.repeat(32),
  width: 4,
  batchSize: 3,
  encode: async (images, size, grid) => images.map((pixels) => meansOfTokens(pixels, size, grid)),
}

export function meansOfTokens(
  pixels: Uint8Array,
  size: number,
  [rows, columns]: readonly [number, number],
): Uint16Array {
  const [height, width] = [size / rows, size / columns]
  return Uint16Array.from({ length: rows * columns * 4 }, (_, i) => {
    const token = Math.floor(i / 4)
    const channel = (i % 4) - 1
    let sum = 0
    for (let p = 0; p < height * width; p++) {
      const y = Math.floor(token / columns) * height + Math.floor(p / width)
      const x = (token % columns) * width + (p % width)
      for (let c = 0; c < 3; c++) if (channel < 0 || channel === c) sum += pixels[(y * size + x) * 3 + c]!
    }
    return numberToFloat16(sum / (height * width))
  })
}
