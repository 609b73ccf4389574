/**
 * Of features that are not finite a classifier makes some class and a search some neighbour, and the number looks like any other.
 *
 * @param features [n, width], of images from `first` on
 * @param whose whose they are, as a sentence has it: `layer 6`
 * @throws Error that names the first image with such a feature
 */
export function requireFiniteFeatures(
  features: Float32Array,
  { width, first, whose, check }: { width: number; first: number; whose: string; check: string },
): void {
  const bad = features.findIndex((value) => !Number.isFinite(value))
  if (bad < 0) return
  const image = first + Math.floor(bad / width)
  throw new Error(
    `A feature of ${whose}, for image ${image} of those looked at (from 0), is ${features[bad]}; check ${check}.`,
  )
}
