import { isTransformersDinov2, transformersDinov2 } from '../models/dinov2-names.ts'
import { renamedState } from '../models/renamed-state.ts'
import { DINOV2_PRESETS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'
import { IMAGENET } from './preprocessing.ts'

/**
 * DINOv2 (arXiv 2304.07193), with and without registers: the patch tokens behind the final norm (x_norm_patchtokens). Read are the files of
 * its authors, checkpoints of their training and the Transformers library's files.
 */
export const dinov2: EncoderFamily = {
  title: 'DINOv2',
  presets: DINOV2_PRESETS,
  traits: {},
  statistics: IMAGENET,
  publishedFile(name) {
    const model = `dinov2_vit${name.at(-1)}14`
    const registers = name.startsWith('dinov2reg-') ? '_reg4' : ''
    return `https://dl.fbaipublicfiles.com/dinov2/${model}/${model}${registers}_pretrain.pth`
  },
  /** Training writes blocks in chunks, `blocks.CHUNK.INDEX.…`, where INDEX counts over all chunks. */
  state(file) {
    const prefix = ['', 'dinov2.'].find((found) => isTransformersDinov2(file, found))
    if (prefix !== undefined) return renamedState(file, transformersDinov2(file, prefix))
    return backboneState(file, {
      family: 'DINOv2',
      rename: (name) => name.replace(/^blocks\.\d+\.(\d+\.)/, 'blocks.$1'),
    })
  },
  largeGrids: (name) => !name.startsWith('dinov2reg-'),
}
