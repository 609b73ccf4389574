import { clip } from './clip.ts'
import { dinov1 } from './dinov1.ts'
import { dinov2 } from './dinov2.ts'
import { dinov3 } from './dinov3.ts'
import type { EncoderFamily } from './encoder-family.ts'
import { jepa } from './jepa.ts'
import { mae } from './mae.ts'
import { mocov3 } from './mocov3.ts'
import { siglip } from './siglip.ts'

/** Every family of encoders that files of weights can be had for. */
export const ENCODER_FAMILIES: readonly EncoderFamily[] = [dinov2, dinov3, dinov1, mocov3, mae, clip, jepa, siglip]

/** The family that an encoder's name is of; undefined for `hog`, `vit` and what is no encoder's name. */
export const familyOf = (name: string): EncoderFamily | undefined =>
  ENCODER_FAMILIES.find(({ presets }) => Object.hasOwn(presets, name))
