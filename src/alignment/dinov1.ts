import { IMAGENET } from '../models/image-normalisation.ts'
import { DINOV1_PRESETS, DINOV1_TRAITS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

const S = { hidden: 384, depth: 12, heads: 6 } as const
const B = { hidden: 768, depth: 12, heads: 12 } as const

/**
 * DINO (arXiv 2104.14294). REPA's source of it is not published; the features are the patch tokens behind the final norm, as it
 * takes them from DINO's successor and from MoCo v3.
 */
export const dinov1: EncoderFamily = {
  title: 'DINO',
  presets: DINOV1_PRESETS,
  others: {
    'DINO ViT-S/16': { ...DINOV1_TRAITS, ...S },
    'DINO ViT-S/8': { ...DINOV1_TRAITS, ...S, patch: 8 },
    'DINO ViT-B/8': { ...DINOV1_TRAITS, ...B, patch: 8 },
  },
  traits: DINOV1_TRAITS,
  statistics: IMAGENET,
  publishedFile: () => 'https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth',
  state: (file) =>
    backboneState(file, { family: 'DINO', rename: (name) => (name.startsWith('head.') ? undefined : name) }),
}
