import { timmDinov2, transformersDinov2, withoutChunk } from '../models/dinov2-names.ts'
import { IMAGENET } from '../models/image-normalisation.ts'
import { DINOV2_PRESETS } from '../models/vit-presets.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

/**
 * DINOv2 (arXiv 2304.07193), with and without registers: the patch tokens behind the final norm (x_norm_patchtokens). Read are the files of
 * its authors, checkpoints of their training, and the files of the Transformers library and of timm.
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
  state(file) {
    return (
      transformersDinov2(file, ['', 'dinov2.']) ??
      timmDinov2(file) ??
      backboneState(file, { family: 'DINOv2', rename: withoutChunk })
    )
  },
  largeGrids: (name) => !name.startsWith('dinov2reg-'),
}
