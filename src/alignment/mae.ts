import { IMAGENET } from '../models/image-normalisation.ts'
import { MAE_PRESETS, MAE_TRAITS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

/** MAE (arXiv 2111.06377): the patch tokens as they leave the last block. Its norm and its decoder are left out. */
export const mae: EncoderFamily = {
  title: 'MAE',
  presets: MAE_PRESETS,
  others: {
    'MAE ViT-B/16': { ...MAE_TRAITS, hidden: 768, depth: 12, heads: 12 },
    'MAE ViT-H/14': { ...MAE_TRAITS, hidden: 1280, depth: 32, heads: 16, patch: 14 },
  },
  traits: MAE_TRAITS,
  statistics: IMAGENET,
  publishedFile: () => 'https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth',
  stateKeys: ['model'],
  state: (file) =>
    backboneState(file, {
      family: 'MAE',
      rename: (name) => (/^(decoder_|mask_token$|norm\.)/.test(name) ? undefined : name),
    }),
}
