import { formatBytes } from '../report/quantity.ts'
import { type Device, memoryStats } from '../tensor/device.ts'

/**
 * Features that are kept for a classifier fill memory slowly, and a process that has none left ends after hours without a word.
 *
 * @throws Error where they take more than there is
 */
export function requireFeatureMemory(
  { train, test }: { readonly train: ArrayLike<number>; readonly test: ArrayLike<number> },
  { layers, width, device }: { layers: number; width: number; device: Device },
): void {
  // Those that are trained on are copied to where the classifier is.
  const rows = train.length + test.length + (device === 'cpu' ? train.length : 0)
  const bytes = 4 * width * layers * rows
  const { limitBytes } = memoryStats('cpu')
  if (bytes <= limitBytes) return
  throw new Error(
    `The features of ${train.length + test.length} images in ${layers} layers take ${formatBytes(bytes)}, more than the ${formatBytes(limitBytes)} of memory here: look at fewer layers at a time, or at fewer images.`,
  )
}
