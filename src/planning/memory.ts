import type { PlannedStep } from './planned-step.ts'

/** Bytes at the moment of a step at which most are taken; the parts add up to the peak. */
export interface MemoryPlan {
  readonly weights: number
  readonly gradients: number
  /** Both of AdamW's. */
  readonly moments: number
  readonly ema: number
  /** The copy of the weights that products read in bf16 or fp16. */
  readonly lowPrecisionWeights: number
  readonly encoderWeights: number
  /** What the encoders compute, their features among it. */
  readonly encoderActivations: number
  /** What the backward pass needs of the forward pass. */
  readonly activations: {
    readonly total: number
    readonly embedders: number
    /** The modulation of all blocks. */
    readonly modulation: number
    /** By block, in their order. */
    readonly blocks: readonly number[]
    readonly projectors: number
    readonly head: number
  }
  readonly activationGradients: number
  /** Images, latents and noise. */
  readonly batch: number
  /** Of the operation that runs at that moment. */
  readonly workspace: number
  /** The optimizer's counters and the like. */
  readonly other: number
  /** The most that tensors take at once. */
  readonly peak: number
  /** What the allocator has taken from the device after a step, blocks that it keeps for the next one among it. */
  readonly taken: number
}

/** Whether a part of a model, by the first part of its parameters' names, makes the first tokens or what conditions the blocks. */
export const isEmbedder = (part: string) =>
  part.endsWith('_embedder') ||
  part === 'pos_embed' ||
  part === 'feat_rope' ||
  part.startsWith('cls_projectors') ||
  part === 'wg_norm'

export function memoryPlan({ atPeak, peakBytes, takenBytes }: PlannedStep): MemoryPlan {
  const of = (purpose: string) => atPeak.get(purpose) ?? 0
  const activations = [...atPeak].flatMap(([purpose, bytes]) =>
    purpose.startsWith('activations:') ? [{ part: purpose.slice('activations:'.length), bytes }] : [],
  )
  const sum = (wanted: (part: string) => boolean) =>
    activations.reduce((total, { part, bytes }) => total + (wanted(part) ? bytes : 0), 0)
  const blocks = activations.filter(({ part }) => /^(joint_)?blocks\./.test(part)).map(({ bytes }) => bytes)
  return {
    weights: of('weights'),
    gradients: of('gradients'),
    moments: of('moments'),
    ema: of('EMA'),
    lowPrecisionWeights: of('low-precision weights'),
    encoderWeights: of('encoder weights'),
    encoderActivations: of('encoder'),
    activations: {
      total: sum(() => true),
      embedders: sum(isEmbedder),
      modulation: sum((part) => part === 'adaLN_modulation'),
      blocks,
      projectors: sum((part) => part === 'projectors'),
      head: sum((part) => part === 'final_layer'),
    },
    activationGradients: of('gradients of activations'),
    batch: of('batch'),
    workspace: of('workspace'),
    other: of('state'),
    peak: peakBytes,
    taken: takenBytes,
  }
}
