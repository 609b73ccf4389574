import { decodeImage } from './image-decoding.ts'
import { encodePng } from './png.ts'
import { type Transform, transformImage } from './transforms.ts'

/** How every picture of a data set becomes a training image. */
export interface TrainingImageOptions {
  readonly transform: Transform
  /** Side of the square in pixels. */
  readonly size: number
  /** Height of the strip of `center-crop-wide`. */
  readonly wideHeight: number
}

/**
 * Decodes, crops and encodes one image file.
 *
 * @returns a stored (uncompressed) PNG file, the form that the reference writes and that is quickest to read; undefined where the
 * transform leaves the picture out because it is too small
 * @throws {ImageDecodeError} if the file cannot be read as an image
 */
export async function renderTrainingImage(
  bytes: Uint8Array,
  name: string,
  options: TrainingImageOptions,
): Promise<Uint8Array | undefined> {
  const { size } = options
  const image = transformImage(await decodeImage(bytes, name), options.transform, size, options.wideHeight)
  return image && encodePng(image.data, size, size, 3, { compressionLevel: 0 })
}
