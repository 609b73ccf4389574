import { VISION_TRANSFORMER_PRESETS, type VisionTransformerPreset } from '../models/vit-presets.ts'

/** What is built in, one of one's own (stated-encoder.ts), and the published ones. */
export type EncoderName = 'hog' | 'vit' | VisionTransformerPreset

/** Encoders that can be aligned with, as the reference spells them; `hog` is built in, and `vit` is one that was trained here. */
export const ENCODER_NAMES: readonly EncoderName[] = [
  'hog',
  'vit',
  ...(Object.keys(VISION_TRANSFORMER_PRESETS) as VisionTransformerPreset[]),
]
