import type { VisionTransformerOptions } from './vit-config.ts'

/** What a family's models have in common: all that is not their size. */
type Traits = Omit<VisionTransformerOptions, 'hidden' | 'depth' | 'heads'>

const B = { hidden: 768, depth: 12, heads: 12 } as const
const L = { hidden: 1024, depth: 24, heads: 16 } as const
const H = { hidden: 1280, depth: 32, heads: 16 } as const

/** The shape-optimized ViT of 400 million parameters (arXiv 2305.13035). */
const SO400M = { hidden: 1152, depth: 27, heads: 16, ffnWidth: 4304 } as const

/** The sizes of DINOv2 (arXiv 2304.07193), by their letter. All have a head_dim of 64. */
const DINOV2_SIZES = {
  s: { hidden: 384, depth: 12, heads: 6 },
  b: B,
  l: L,
  g: { hidden: 1536, depth: 40, heads: 24, ffn: 'swiglu' },
} as const

export type DINOv2Preset = `${'dinov2' | 'dinov2reg'}-vit-${keyof typeof DINOV2_SIZES}`

/** The published models, as REPA spells them: `dinov2-vit-b`; with 4 registers (arXiv 2309.16588), `dinov2reg-vit-b`. */
export const DINOV2_PRESETS: Readonly<Record<DINOv2Preset, VisionTransformerOptions>> = Object.fromEntries(
  (['dinov2', 'dinov2reg'] as const).flatMap((family) =>
    Object.entries(DINOV2_SIZES).map(([letter, size]) => [
      `${family}-vit-${letter}`,
      { ...size, registers: family === 'dinov2reg' ? 4 : 0 },
    ]),
  ),
) as Record<DINOv2Preset, VisionTransformerOptions>

/**
 * DINOv3 (arXiv 2508.10104), whose positions are rotary, with 4 registers. The image's side fixes nothing. Files that were made to be
 * trained on have a mask token, and keys a bias that is masked: neither has a part in features.
 */
export const DINOV3_TRAITS = {
  imageSize: 224,
  patch: 16,
  registers: 4,
  maskToken: false,
  rope: { base: 100 },
  epsilon: 1e-5,
} as const satisfies Traits
export const DINOV3_PRESETS = {
  'dinov3-vit-s16': { ...DINOV3_TRAITS, hidden: 384, depth: 12, heads: 6 },
  'dinov3-vit-s16plus': { ...DINOV3_TRAITS, hidden: 384, depth: 12, heads: 6, ffn: 'swiglu', ffnWidth: 1536 },
  'dinov3-vit-b16': { ...DINOV3_TRAITS, ...B },
  'dinov3-vit-l16': { ...DINOV3_TRAITS, ...L },
  'dinov3-vit-l16plus': { ...DINOV3_TRAITS, ...L, ffn: 'swiglu', ffnWidth: 4096 },
  'dinov3-vit-h16plus': { ...DINOV3_TRAITS, hidden: 1280, depth: 32, heads: 20, ffn: 'swiglu', ffnWidth: 5120 },
  'dinov3-vit-7b16': { ...DINOV3_TRAITS, hidden: 4096, depth: 40, heads: 32, ffn: 'swiglu', ffnWidth: 8192 },
} as const satisfies Presets

/** The plain vision transformer of 224-pixel images and patches of 16 that DINO, MoCo v3 and MAE share. */
const PLAIN = { imageSize: 224, patch: 16, layerScale: false, maskToken: false } as const satisfies Traits

/** DINO (arXiv 2104.14294). */
export const DINOV1_TRAITS = PLAIN satisfies Traits
export const DINOV1_PRESETS = { 'dinov1-vit-b': { ...DINOV1_TRAITS, ...B } } as const satisfies Presets

/** MoCo v3 (arXiv 2104.02057), whose ViT-S has 12 heads of 32. */
export const MOCOV3_TRAITS = PLAIN satisfies Traits
export const MOCOV3_PRESETS = {
  'mocov3-vit-s': { ...MOCOV3_TRAITS, hidden: 384, depth: 12, heads: 12 },
  'mocov3-vit-b': { ...MOCOV3_TRAITS, ...B },
  'mocov3-vit-l': { ...MOCOV3_TRAITS, ...L },
} as const satisfies Presets

/** MAE (arXiv 2111.06377). REPA takes what leaves its last block, before the norm. */
export const MAE_TRAITS = { ...PLAIN, finalNorm: false } as const satisfies Traits
export const MAE_PRESETS = { 'mae-vit-l': { ...MAE_TRAITS, ...L } } as const satisfies Presets

/** The image tower of CLIP (arXiv 2103.00020). REPA takes what leaves its last block, before ln_post and the projection. */
export const CLIP_TRAITS = {
  imageSize: 224,
  patch: 14,
  activation: 'quick-gelu',
  patchBias: false,
  preNorm: true,
  finalNorm: false,
  layerScale: false,
  maskToken: false,
  epsilon: 1e-5,
} as const satisfies Traits
export const CLIP_PRESETS = { 'clip-vit-L': { ...CLIP_TRAITS, ...L } } as const satisfies Presets

/** I-JEPA (arXiv 2301.08243), which has no class token. */
export const JEPA_TRAITS = {
  imageSize: 224,
  patch: 14,
  classToken: false,
  layerScale: false,
  maskToken: false,
} as const satisfies Traits
export const JEPA_PRESETS = { 'jepa-vit-h': { ...JEPA_TRAITS, ...H } } as const satisfies Presets

/**
 * The image tower of SigLIP (arXiv 2303.15343), which has no class token. big_vision computes the approximate GELU, and so does the
 * Transformers library ("gelu_pytorch_tanh"), whose way of resampling positions this is.
 */
export const SIGLIP_TRAITS = {
  imageSize: 256,
  patch: 16,
  activation: 'gelu-tanh',
  classToken: false,
  layerScale: false,
  maskToken: false,
  interpolation: { antialias: false, offset: 0 },
} as const satisfies Traits
export const SIGLIP_PRESETS = {
  'siglip-vit-b': { ...SIGLIP_TRAITS, ...B },
  'siglip-vit-l': { ...SIGLIP_TRAITS, ...L },
  'siglip-vit-so400m': { ...SIGLIP_TRAITS, ...SO400M, patch: 14, imageSize: 224 },
} as const satisfies Presets

type Presets = Readonly<Record<string, VisionTransformerOptions>>

export type VisionTransformerPreset =
  | DINOv2Preset
  | keyof typeof DINOV3_PRESETS
  | keyof typeof DINOV1_PRESETS
  | keyof typeof MOCOV3_PRESETS
  | keyof typeof MAE_PRESETS
  | keyof typeof CLIP_PRESETS
  | keyof typeof JEPA_PRESETS
  | keyof typeof SIGLIP_PRESETS

/** All of them, in the order in which they are listed to users. */
export const VISION_TRANSFORMER_PRESETS: Readonly<Record<VisionTransformerPreset, VisionTransformerOptions>> = {
  ...DINOV2_PRESETS,
  ...DINOV3_PRESETS,
  ...DINOV1_PRESETS,
  ...MOCOV3_PRESETS,
  ...MAE_PRESETS,
  ...CLIP_PRESETS,
  ...JEPA_PRESETS,
  ...SIGLIP_PRESETS,
}
