import { basename } from 'node:path'
import { transformersBlocks } from '../models/clip-transformers-names.ts'
import { HALF } from '../models/image-normalisation.ts'
import { type FileTensor, present, renamedState } from '../models/renamed-state.ts'
import { listed } from '../models/state-shapes.ts'
import { SIGLIP_PRESETS, SIGLIP_TRAITS } from '../models/vit-presets.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { backboneState } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

const { 'siglip-vit-b': B, 'siglip-vit-l': L, 'siglip-vit-so400m': SO400M } = SIGLIP_PRESETS

const PUBLISHED: Readonly<Record<string, string>> = {
  'siglip-vit-b': 'siglip-base-patch16-256',
  'siglip-vit-l': 'siglip-large-patch16-256',
  'siglip-vit-so400m': 'siglip-so400m-patch14-224',
}

/** The embeddings of a text tower's vocabulary, in the Transformers library's names and in open_clip's. */
const VOCABULARY = ['text_model.embeddings.token_embedding.weight', 'text.token_embedding.weight']
/** Gemma's tokenizer. SigLIP's have 32,000 pieces, and where it is multilingual 250,000. */
const SIGLIP2_PIECES = 256_000

/**
 * The image tower of SigLIP (arXiv 2303.15343): the patch tokens behind post_layernorm, the Transformers library's last_hidden_state.
 * Later versions of REPA's paper align with SigLIP-L, its code never did; this is what it takes of other encoders with a final norm
 * (DINOv2's x_norm_patchtokens), and what SigLIP's own pooling head reads, which is left out; CLIP's ln_post, without which REPA takes
 * CLIP, sees the class token alone. Where the grid is not the table's, images and positions are resampled as the library does it,
 * to any grid: bicubic with antialias (its image processor, but neither rounded nor clamped to bytes) and without
 * (interpolate_pos_encoding).
 *
 * Read are the files of the Transformers library, of the whole model or the image tower, and those of open_clip and timm, whose names
 * are this model's. SigLIP 2 (arXiv 2502.14786) of fixed resolution is the same model under the same names; its image processor
 * resizes bilinearly, which makes a difference where images are resized. Its text tower alone tells it from SigLIP.
 */
export const siglip: EncoderFamily = {
  title: 'SigLIP',
  presets: SIGLIP_PRESETS,
  others: {
    'SigLIP ViT-B/16 of 224 pixels': { ...B, imageSize: 224 },
    'SigLIP ViT-B/16 of 384 pixels': { ...B, imageSize: 384 },
    'SigLIP ViT-B/16 of 512 pixels': { ...B, imageSize: 512 },
    'SigLIP ViT-L/16 of 384 pixels': { ...L, imageSize: 384 },
    // 27 x 27 whole patches.
    'SigLIP So400m/14 of 384 pixels': { ...SO400M, imageSize: 378 },
    'SigLIP So400m/16 of 256 pixels': { ...SO400M, patch: 16, imageSize: 256 },
  },
  traits: SIGLIP_TRAITS,
  statistics: HALF,
  resampling: { imageAntialias: true, positions: SIGLIP_TRAITS.interpolation },
  publishedFile: (name) => `https://huggingface.co/google/${PUBLISHED[name]}/resolve/main/model.safetensors`,
  largeGrids: () => true,
  state(file) {
    const { names } = file
    for (const prefix of ['vision_model.', '']) {
      const classToken = `${prefix}embeddings.class_embedding`
      if (names.includes(classToken)) {
        throw new Error(
          `${file.name} holds no SigLIP weights, but maybe CLIP's: it has ${classToken}, and SigLIP has no class token.`,
        )
      }
      const patches = `${prefix}embeddings.patch_embedding.weight`
      if (names.includes(patches)) {
        requireSquarePatches(file, patches)
        return renamedState(file, transformersTensors(file, prefix))
      }
    }
    if (names.some((name) => /(^|\.)pos_embed$/.test(name))) {
      return backboneState(file, {
        family: 'SigLIP',
        landmark: 'pos_embed',
        rename: (name) => (name.startsWith('attn_pool.') ? undefined : name),
      })
    }
    if (names.length > 0 && names.every((name) => name.startsWith('text_model.'))) {
      throw new Error(
        `${file.name} holds a text tower alone: all of its ${names.length} tensors are text_model's. The encoder is SigLIP's image ` +
          'tower; pass the file of the whole model, or of its vision_model.',
      )
    }
    throw new Error(
      `${file.name} holds no SigLIP weights: it has no vision_model.embeddings.patch_embedding.weight, as the Transformers library ` +
        `calls it, nor timm's pos_embed. ${listed(names)}`,
    )
  },
  remark(file) {
    const name = VOCABULARY.find((own) => file.names.includes(own))
    if (name === undefined || file.shapeOf(name)[0] !== SIGLIP2_PIECES) return undefined
    return (
      `${basename(file.name)} holds SigLIP 2: its text tower knows 256,000 pieces of words (of SigLIP 32,000 or 250,000). The image ` +
      "tower is of SigLIP's form and is used as it is; where images are resized, it is bicubically, as for SigLIP, not bilinearly."
    )
  },
}

/** NaFlex, of SigLIP 2, multiplies flat patches by a matrix and fits its positions to every image's own grid. */
function requireSquarePatches(file: StateSource, name: string): void {
  const shape = file.shapeOf(name)
  if (shape.length !== 2) return
  throw new Error(
    `${file.name} holds SigLIP 2 NaFlex, whose patches are flat ([${shape.join(', ')}]) and whose images are of any shape: another model ` +
      'than the encoders siglip-vit-b, -l and -so400m; pass a file of fixed resolution.',
  )
}

function transformersTensors(file: StateSource, prefix: string): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>([
    ['pos_embed', { from: `${prefix}embeddings.position_embedding.weight`, leadingAxes: 1 }],
    ['patch_embed.proj.weight', { from: `${prefix}embeddings.patch_embedding.weight` }],
    ['patch_embed.proj.bias', { from: `${prefix}embeddings.patch_embedding.bias` }],
    ...transformersBlocks(file, prefix),
    ['norm.weight', { from: `${prefix}post_layernorm.weight` }],
    ['norm.bias', { from: `${prefix}post_layernorm.bias` }],
  ])
  return present(tensors, file)
}
