import type { SiTConfig } from '../models/sit.ts'
import type { BaselineModel } from './python-baseline.ts'

/** The baseline's model of the same sizes. */
export function baselineModel(config: SiTConfig): BaselineModel {
  return {
    inputSize: config.inputSize[0],
    channels: config.channels,
    patch: config.patch,
    hidden: config.hidden,
    depth: config.depth,
    heads: config.heads,
    classes: config.classes,
    encoderDepth: config.alignDepth,
    projectorDim: config.projectorWidth,
    zDims: config.alignWidths,
    qkNorm: config.qkNorm,
  }
}
