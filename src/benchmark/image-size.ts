/** The square images whose latents benchmarks take: of Stable Diffusion's autoencoder. */

/** Pixels of an image's side for one of its latent. */
export const PIXELS_PER_LATENT = 8
/** Of an image's side: what the paper's tables are of. */
export const DEFAULT_SIZE = 256

/** Height and width of the latents of images of `size` x `size` pixels. Throws where the autoencoder has none of that size. */
export function latentsOfSize(size: number): [number, number] {
  const side = size / PIXELS_PER_LATENT
  if (!Number.isInteger(side) || side < 1) {
    throw new RangeError(`The size of the images is ${size} pixels; expected a multiple of ${PIXELS_PER_LATENT}.`)
  }
  return [side, side]
}

/** Tokens of such an image in a model of this patch. Throws where patches do not cover the latents. */
export function tokensOfSize(size: number, patch: number): number {
  const [side] = latentsOfSize(size)
  if (side % patch !== 0) {
    throw new RangeError(
      `The latents of images of ${size} pixels are ${side} x ${side}, which patches of ${patch} do not divide; expected a multiple of ${PIXELS_PER_LATENT * patch} pixels.`,
    )
  }
  return (side / patch) ** 2
}
