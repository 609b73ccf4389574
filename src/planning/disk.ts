/** What a run leaves on the disk, in bytes. */
import { DTYPE_BYTES } from '../tensor/dtype.ts'

export interface DiskRequest {
  readonly images: number
  /** Side in pixels. */
  readonly size: number
  /** Stored latents [2C, h, w], or points [C, h, w]; undefined: the pixels are the latent. */
  readonly latents: readonly number[] | undefined
  /** Whether the mirror images' latents and features are there too. */
  readonly flip: boolean
  /** Tokens and feature width of each encoder, cached or not. */
  readonly features: readonly { readonly tokens: number; readonly width: number }[]
  /** Numbers in the state dict, and those of them that are trained. */
  readonly parameters: number
  readonly trainable: number
  readonly steps: number
  readonly checkpointEvery: number
  readonly resumeEvery: number | undefined
  readonly sampleEvery: number
  /** Pictures of a grid of samples. */
  readonly gridImages: number
}

export interface DiskPlan {
  /** PNGs as the reference stores them, without compression. */
  readonly images: number
  readonly latents: number
  /** Of all encoders, as float16. Nothing is cached unless `repa prepare --features` is told to. */
  readonly cachedFeatures: number
  readonly checkpoint: number
  readonly checkpoints: { readonly count: number; readonly bytes: number }
  /** At most: a PNG is smaller than its pixels. */
  readonly grids: { readonly count: number; readonly bytes: number }
  /** All but the cached features. */
  readonly total: number
}

const NPY_HEADER = 128
/** Signature, header, chunk frames and zlib's five bytes a stored block of 64 KiB. */
const PNG_OVERHEAD = 100

export function planDisk(request: DiskRequest): DiskPlan {
  const { size, parameters, trainable, steps, checkpointEvery, resumeEvery, sampleEvery } = request
  const pixels = 3 * size ** 2
  // A byte a row says how it is filtered.
  const images = request.images * (pixels + size + PNG_OVERHEAD)
  const sides = request.flip ? 2 : 1
  const floats = request.latents?.reduce((count, side) => count * side, 1)
  const latents = floats === undefined ? 0 : sides * request.images * (NPY_HEADER + DTYPE_BYTES.f32 * floats)
  const cachedFeatures = request.features.reduce(
    (sum, { tokens, width }) => sum + sides * request.images * tokens * width * DTYPE_BYTES.f16,
    0,
  )
  // Weights and EMA of everything, two moments of what is trained (training/checkpoint.ts).
  const checkpoint = DTYPE_BYTES.f32 * (2 * parameters + 2 * trainable)
  // One that is only there to resume from lies beside the others until the next is whole.
  const count = Math.ceil(steps / checkpointEvery) + (resumeEvery !== undefined && resumeEvery < steps ? 1 : 0)
  const checkpoints = { count, bytes: count * checkpoint }
  const gridCount = Math.ceil(steps / sampleEvery)
  const grids = { count: gridCount, bytes: gridCount * request.gridImages * pixels }
  const total = images + latents + checkpoints.bytes + grids.bytes
  return { images, latents, cachedFeatures, checkpoint, checkpoints, grids, total }
}
