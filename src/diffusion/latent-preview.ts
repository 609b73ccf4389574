/**
 * A linear look at latents for when no autoencoder is at hand: one pixel per latent element. Shapes can be told; detail cannot.
 */

/**
 * Of four channels, Stable Diffusion's (scaled by 0.18215): the colour of (channels · matrix + 1) / 2. The least-squares fit of colours to
 * latents that the community uses for previews.
 */
const STABLE_DIFFUSION = [
  [0.3512, 0.2297, 0.3227],
  [0.325, 0.4974, 0.235],
  [-0.2829, 0.1762, 0.2721],
  [-0.212, -0.2616, -0.7177],
] as const

/** Of any others the first three are red, green and blue, from −2 to 2: two deviations of what a model is trained on. */
const FALSE_COLOUR = 0.5

/** What is seen of latents of so many channels, in words. */
export function previewOf(channels: number): string {
  if (channels === 4) return 'a linear preview of the latents, one pixel per element'
  const first = channels === 1 ? 'the channel' : `the first ${Math.min(3, channels)} of ${channels} channels`
  return `a preview of the latents in false colours, ${first}, one pixel per element`
}

/** Latents [N, C, h, w] → bytes [N, h, w, 3]. */
export function previewLatents(latents: Float64Array, shape: readonly number[]): Uint8Array {
  const [count, channels, height, width] = shape as [number, number, number, number]
  const weights = weightsOf(channels)
  const area = height * width
  const out = new Uint8Array(count * 3 * area)
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) {
        let value = 0
        for (let k = 0; k < weights.length; k++) value += latents[(n * channels + k) * area + i]! * weights[k]![c]!
        out[(n * area + i) * 3 + c] = Math.max(0, Math.min(255, Math.trunc(((value + 1) / 2) * 255)))
      }
    }
  }
  return out
}

/** Of the first channels, what each gives red, green and blue. One channel alone is grey, two are red and green. */
function weightsOf(channels: number): readonly (readonly number[])[] {
  if (channels === 4) return STABLE_DIFFUSION
  if (channels === 1) return [[FALSE_COLOUR, FALSE_COLOUR, FALSE_COLOUR]]
  return Array.from({ length: Math.min(3, channels) }, (_, k) => [0, 1, 2].map((c) => (c === k ? FALSE_COLOUR : 0)))
}
