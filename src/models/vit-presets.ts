import type { VisionTransformerOptions } from './vit-config.ts'

/** The sizes of DINOv2 (arXiv 2304.07193), by their letter. All have a head_dim of 64. */
const SIZES = {
  s: { hidden: 384, depth: 12, heads: 6 },
  b: { hidden: 768, depth: 12, heads: 12 },
  l: { hidden: 1024, depth: 24, heads: 16 },
  g: { hidden: 1536, depth: 40, heads: 24, ffn: 'swiglu' },
} as const

export type DINOv2Preset = `${'dinov2' | 'dinov2reg'}-vit-${keyof typeof SIZES}`

/** The published models, as REPA spells them: `dinov2-vit-b`; with 4 registers (arXiv 2309.16588), `dinov2reg-vit-b`. */
export const DINOV2_PRESETS: Readonly<Record<DINOv2Preset, VisionTransformerOptions>> = Object.fromEntries(
  (['dinov2', 'dinov2reg'] as const).flatMap((family) =>
    Object.entries(SIZES).map(([letter, size]) => [
      `${family}-vit-${letter}`,
      { ...size, registers: family === 'dinov2reg' ? 4 : 0 },
    ]),
  ),
) as Record<DINOv2Preset, VisionTransformerOptions>
