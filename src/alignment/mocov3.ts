import { IMAGENET } from '../models/image-normalisation.ts'
import { MOCOV3_PRESETS, MOCOV3_TRAITS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

/** Names that the published ViT-L misspells: its blocks' numbers ran into its layers'. */
const MISSPELT: Readonly<Record<string, string>> = {
  'blocks.13.norm13': 'blocks.13.norm1',
  'blocks.13.mlp.fc13': 'blocks.13.mlp.fc1',
  'blocks.14.norm14': 'blocks.14.norm2',
  'blocks.14.mlp.fc14': 'blocks.14.mlp.fc2',
}

/** MoCo v3 (arXiv 2104.02057): the base encoder's patch tokens behind the final norm. */
export const mocov3: EncoderFamily = {
  title: 'MoCo v3',
  presets: MOCOV3_PRESETS,
  traits: MOCOV3_TRAITS,
  statistics: IMAGENET,
  publishedFile(name) {
    // Trained by the authors of RCG, after MoCo v3's recipe.
    if (name === 'mocov3-vit-l') return 'linked from https://github.com/LTH14/rcg'
    const run = `vit-${name.at(-1)}-300ep`
    return `https://dl.fbaipublicfiles.com/moco-v3/${run}/${run}.pth.tar`
  },
  state: (file) =>
    backboneState(file, {
      family: 'MoCo v3',
      rename(name) {
        if (/^(head|fc)\./.test(name)) return undefined
        const [, stem, rest] = /^(.*)(\.(?:weight|bias))$/.exec(name) ?? []
        return stem !== undefined && Object.hasOwn(MISSPELT, stem) ? `${MISSPELT[stem]}${rest}` : name
      },
    }),
}
