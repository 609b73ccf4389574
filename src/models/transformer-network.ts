import { unpatchify } from '../tensor/ops/patch.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Observe } from './adaln-block.ts'
import type { AttentionWatch } from './attention-watch.ts'
import type { Projector } from './projector.ts'
import type { SelfAlignmentHead } from './self-alignment-head.ts'
import type { TokenRoute } from './token-route.ts'
import type { TransformerConfig } from './transformer-config.ts'

/** Channels of the head's output. */
export function outputChannels({ channels, learnSigma }: TransformerConfig): number {
  return learnSigma ? 2 * channels : channels
}

/** Of the head's patches [B, T, p·p·C], in the grid's order, the image [B, C, H, W]. */
export function imageOf(config: TransformerConfig, patches: Tensor): Tensor {
  const [height, width] = config.inputSize
  return unpatchify(patches, { channels: outputChannels(config), height, width, patch: config.patch })
}

export interface ForwardOptions {
  /** Also project the hidden states for every encoder. */
  readonly project?: boolean
  /** Of a model with a class token: that token [B, z], noised as the input is. */
  readonly classToken?: Tensor | undefined
  /** Lets tokens go past some of the blocks, in training. What is projected in between is of the others alone. */
  readonly route?: TokenRoute | undefined
  readonly observe?: Observe
  /** Shows what attention reads in some of the blocks, [B, T, 3D]. */
  readonly attention?: AttentionWatch | undefined
}

/** Of what blocks make of an input, which no head reads: as in a forward pass. */
export type HiddenStatesOptions = Pick<ForwardOptions, 'classToken' | 'observe'>

export interface TransformerOutput {
  /** What the model says of its input, [B, C, H, W]: see each model's `forward`. */
  readonly prediction: Tensor
  /**
   * For every encoder the projected hidden states [B, T, z], with the class token's before them, or [B, kept tokens, z] inside of a route;
   * empty when not asked for.
   */
  readonly projections: readonly Tensor[]
  /** The same of the class token, [B, z], where the model has one. */
  readonly classToken?: Tensor | undefined
}

/** The layers of a diffusion transformer and what they compute, by the way in which a condition enters: adaln-network.ts, joint-network.ts. */
export interface TransformerNetwork {
  readonly projectors: readonly Projector[]
  readonly selfAlignmentHead: SelfAlignmentHead | undefined
  /** Whether a class token is denoised along (REG). */
  readonly hasClassToken: boolean
  /**
   * The hidden states [B, T, D] as they leave block `depth` (from 1), of text and image those of the image; no later block is run, and
   * `observe` is shown what `run` shows it up to there.
   */
  hiddenStates(x: Tensor, t: Tensor, condition: Tensor, depth: number, options?: HiddenStatesOptions): Tensor
  /** The head's output [B, output channels, H, W], and with `project` the projections of the hidden states for every encoder. */
  run(x: Tensor, t: Tensor, condition: Tensor, options?: ForwardOptions): TransformerOutput
  /** Frees what was made once and kept. */
  clear(): void
}
