import { VISION_TRANSFORMER_PRESETS, type VisionTransformerPreset } from '../models/vit-presets.ts'

export type EncoderName = 'hog' | VisionTransformerPreset

/** Encoders that can be aligned with, as the reference spells them; `hog` is built in. */
export const ENCODER_NAMES: readonly EncoderName[] = [
  'hog',
  ...(Object.keys(VISION_TRANSFORMER_PRESETS) as VisionTransformerPreset[]),
]
