/** How a weight or a rate falls. */
export type Decay = 'linear' | 'cosine'

/** What is left of it after `step` of `steps`: from 1 to 0, along a line or a half cosine. */
export function decayFactor(decay: Decay, step: number, steps: number): number {
  return decay === 'linear' ? 1 - step / steps : (1 + Math.cos((Math.PI * step) / steps)) / 2
}
