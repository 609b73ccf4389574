import type { Encoder } from '../alignment/encoder.ts'
import type { FeatureStore } from '../data/feature-store.ts'

/** An encoder that need not run: its features of the training images are with the data set, rounded to float16. */
export interface CachedEncoder {
  readonly name: string
  readonly width: number
  readonly store: FeatureStore
}

/** What hidden states are aligned with. */
export type AlignmentEncoder = Encoder | CachedEncoder

export function isCached(encoder: AlignmentEncoder): encoder is CachedEncoder {
  return 'store' in encoder
}
