import { DINOV2_PRESETS, type DINOv2Preset } from '../models/vit-presets.ts'

export type EncoderName = 'hog' | DINOv2Preset

/** Encoders that can be aligned with, as the reference spells them; `hog` is built in. */
export const ENCODER_NAMES: readonly EncoderName[] = ['hog', ...(Object.keys(DINOV2_PRESETS) as DINOv2Preset[])]

/** Families of the reference's encoders that are not here yet: `mae-vit-l` is of the family `mae`. */
export const MISSING_ENCODER_FAMILIES: readonly string[] = ['dinov1', 'mocov3', 'mae', 'clip', 'jepa']
