/** The second step of a preparation, the reference tool's `encode`: images to the moments of their latents. */
import { join } from 'node:path'
import type { World } from '../distributed/world.ts'
import { encodeNpy } from '../formats/npy.ts'
import { hostFloat32 } from '../tensor/host-tensor.ts'
import { FolderWriter, latentName, settled } from './dataset-files.ts'
import { type LatentEncoder, latentShape } from './latent-encoder.ts'
import { LAYOUT } from './layout.ts'
import type { PrepareJournal } from './prepare-journal.ts'
import { cutIntoBatches, mirrored, type PreparedImages } from './prepared-images.ts'
import { encodeShared } from './shared-batches.ts'

/** What is to be encoded: the images as they are, their mirror images. */
export interface LatentParts {
  readonly plain: boolean
  readonly flipped: boolean
}

export interface EncodeLatentsOptions {
  readonly out: string
  readonly parts: LatentParts
  /** Images that are done. */
  readonly done: number
  /** The leader's alone. */
  readonly journal: PrepareJournal | undefined
  readonly world: World
  readonly signal: AbortSignal | undefined
  readonly onProgress: (done: number) => void
}

/**
 * Writes `vae-sd/00000/img-mean-std-00000000.npy` and on, f32 [2C, h, w], and the mirror images' under the same names in `vae-sd-flip/`.
 * Processes take batches in turn, so that what a round leaves are the first so many images, whatever the number of processes. Batches begin
 * at multiples of the encoder's batch size, also after a kill, so that the bytes are an unbroken run's.
 */
export async function encodeLatents(
  images: PreparedImages,
  encoder: LatentEncoder,
  { out, parts, done, journal, world, signal, onProgress }: EncodeLatentsOptions,
): Promise<void> {
  const { batchSize } = encoder
  const { size, numbers } = images
  const files = new FolderWriter()
  const shape = latentShape(encoder, size)
  const writeBatch = (folder: string, begin: number, latents: readonly Float32Array[]): Promise<void> =>
    settled(
      latents.map((latent, i) =>
        files.write(join(out, folder, latentName(numbers[begin + i]!)), encodeNpy(hostFloat32(latent, shape))),
      ),
    )
  let written = Math.floor(done / batchSize) * batchSize
  onProgress(written)
  const batches = cutIntoBatches({ begin: written, end: numbers.length }, batchSize)
  await encodeShared(images, {
    parts: Array.from({ length: world.size }, (_, rank) => batches.filter((_, i) => i % world.size === rank)),
    world,
    signal,
    encode: async (batch) => {
      const latents = parts.plain ? await encodeChecked(encoder, batch.images, images, batch.begin) : []
      const flipped = parts.flipped ? await encodeChecked(encoder, mirrored(batch, size), images, batch.begin) : []
      return () =>
        settled([
          writeBatch(LAYOUT.latents, batch.begin, latents),
          writeBatch(LAYOUT.flippedLatents, batch.begin, flipped),
        ])
    },
    onRound: async (count) => {
      written += count
      await journal?.appendLatents(written)
      onProgress(written)
    },
  })
}

/** The latents of these images, the first of which is the data set's `first`. @throws {Error} where they are of another shape or not finite */
export async function encodeChecked(
  encoder: LatentEncoder,
  pixels: readonly Uint8Array[],
  { names, size }: PreparedImages,
  first: number,
): Promise<readonly Float32Array[]> {
  const shape = latentShape(encoder, size)
  const length = shape[0] * shape[1] * shape[2]
  const latents = await encoder.encode(pixels, size)
  const wrong = latents.find((latent) => latent.length !== length)
  if (latents.length !== pixels.length || wrong) {
    throw new Error(
      `The autoencoder '${encoder.name}' gave ${latents.length} latents of ${(wrong ?? latents[0])?.length} floats ` +
        `for ${pixels.length} images; ${length} floats each, of shape [${shape}], were expected.`,
    )
  }
  const bad = latents.findIndex((latent) => !latent.every(Number.isFinite))
  if (bad >= 0) {
    throw new Error(
      `The autoencoder '${encoder.name}' gives latents of '${names[first + bad]}' that are not finite; training on them would give nothing but NaN. Check its file.`,
    )
  }
  return latents
}
