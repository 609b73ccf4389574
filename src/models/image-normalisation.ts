/** What networks were trained to see images normalised by. */

/** Mean and standard deviation of the channels of [0, 1]. */
export interface ChannelStatistics {
  readonly mean: readonly number[]
  readonly std: readonly number[]
}

export const IMAGENET: ChannelStatistics = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
export const CLIP: ChannelStatistics = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
}
/** [0, 1] to [−1, 1]. */
export const HALF: ChannelStatistics = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }
