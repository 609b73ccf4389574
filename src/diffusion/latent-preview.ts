/**
 * A linear look at Stable Diffusion latents (scaled by 0.18215) for when no autoencoder is at hand: one pixel per latent
 * element, its colour the four channels times this matrix (the least-squares fit of colours to latents that the community
 * uses for previews). Shapes and colours can be told; detail cannot.
 */
const RGB_OF_LATENT = [
  [0.3512, 0.2297, 0.3227],
  [0.325, 0.4974, 0.235],
  [-0.2829, 0.1762, 0.2721],
  [-0.212, -0.2616, -0.7177],
] as const

/** Latents [N, 4, h, w] → bytes [N, h, w, 3]. */
export function previewLatents(latents: Float64Array, shape: readonly number[]): Uint8Array {
  const [count, channels, height, width] = shape
  if (channels !== 4) throw new RangeError(`previewLatents: latents of ${channels} channels; the preview knows 4.`)
  const area = height! * width!
  const out = new Uint8Array(count! * 3 * area)
  for (let n = 0; n < count!; n++) {
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) {
        let value = 0
        for (let k = 0; k < 4; k++) value += latents[(n * 4 + k) * area + i]! * RGB_OF_LATENT[k]![c]!
        out[(n * area + i) * 3 + c] = Math.max(0, Math.min(255, Math.trunc(((value + 1) / 2) * 255)))
      }
    }
  }
  return out
}
