import { IMAGENET } from '../models/image-normalisation.ts'
import { JEPA_PRESETS, JEPA_TRAITS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

/** I-JEPA (arXiv 2301.08243): the context encoder's tokens behind the final norm; there is no class token. */
export const jepa: EncoderFamily = {
  title: 'I-JEPA',
  presets: JEPA_PRESETS,
  others: {
    'I-JEPA ViT-H/16 of 448 pixels': { ...JEPA_TRAITS, hidden: 1280, depth: 32, heads: 16, patch: 16, imageSize: 448 },
    'I-JEPA ViT-g/16': { ...JEPA_TRAITS, hidden: 1408, depth: 40, heads: 16, ffnWidth: 6144, patch: 16 },
  },
  traits: JEPA_TRAITS,
  statistics: IMAGENET,
  publishedFile: () => 'https://dl.fbaipublicfiles.com/ijepa/IN1K-vit.h.14-300e.pth.tar',
  // A checkpoint of its training also holds the target encoder, of which REPA takes none.
  stateKeys: ['encoder', 'target_encoder'],
  state: (file) => backboneState(file, { family: 'I-JEPA', landmark: 'pos_embed' }),
}
