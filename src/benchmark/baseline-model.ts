import type { SiTConfig } from '../models/sit.ts'
import type { BaselineModel } from './python-baseline.ts'

/** The baseline's model of the same sizes. Throws for blocks that it has not. */
export function baselineModel(config: SiTConfig): BaselineModel {
  const { norm, ffn, rope, text } = config
  if (norm !== 'layerNorm' || ffn !== 'mlp' || rope) {
    throw new RangeError(
      `The baseline has REPA's blocks alone, and the model has norm ${norm}, ffn ${ffn} and rope ${rope}; leave it out, or take a SiT's.`,
    )
  }
  return {
    inputSize: config.inputSize[0],
    channels: config.channels,
    patch: config.patch,
    hidden: config.hidden,
    depth: config.depth,
    heads: config.heads,
    classes: config.classes,
    ...(text && { text }),
    encoderDepth: config.alignDepth,
    projectorDim: config.projectorWidth,
    zDims: config.alignWidths,
    qkNorm: config.qkNorm,
  }
}
