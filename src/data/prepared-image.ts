/** An image's file of a prepared set: a picture, or a `.npy` file of its planes, which the reference reads too. */
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { readNpy } from '../formats/npy.ts'
import { interleaved, toPlanes } from '../tensor/planes.ts'
import type { RgbImage } from './rgb-image.ts'

/** Its planes (CHW), with height and width. */
export async function readPlanes(file: string): Promise<{ data: Uint8Array; size: readonly [number, number] }> {
  if (isArray(file)) return planesOfArray(file)
  const image = await decoded(file)
  const data = new Uint8Array(image.data.length)
  toPlanes(image, data)
  return { data, size: [image.height, image.width] }
}

/** Its pixels (HWC). */
export async function readPixels(file: string): Promise<RgbImage> {
  if (!isArray(file)) return decoded(file)
  const { data, size } = await planesOfArray(file)
  const [height, width] = size
  return { width, height, data: interleaved(data, height * width) }
}

const isArray = (file: string) => extname(file) === '.npy'

async function decoded(file: string): Promise<RgbImage> {
  const { decodeImage } = await import('./image-decoding.ts')
  return decodeImage(await readFile(file), file)
}

async function planesOfArray(file: string): Promise<{ data: Uint8Array; size: readonly [number, number] }> {
  const { dtype, shape, data } = await readNpy(file)
  // The reference takes [1, 3, H, W] as well.
  const planes = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape
  const [channels, height, width] = planes
  if (dtype !== 'u8' || planes.length !== 3 || channels !== 3) {
    throw new Error(`The image '${file}' is ${dtype} of shape [${shape}]; u8 of shape [3, H, W] was expected.`)
  }
  return { data, size: [height!, width!] }
}
