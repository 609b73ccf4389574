/** The sizes that DiT defined and SiT and REPA use, by their letter. */
const SIZES = {
  S: { depth: 12, hidden: 384, heads: 6 },
  B: { depth: 12, hidden: 768, heads: 12 },
  L: { depth: 24, hidden: 1024, heads: 16 },
  XL: { depth: 28, hidden: 1152, heads: 16 },
} as const

type Size = keyof typeof SIZES
const PATCHES = [2, 4, 8] as const

export interface TransformerSize {
  readonly depth: number
  readonly hidden: number
  readonly heads: number
  readonly patch: number
}

export type SiTPreset = `SiT-${Size}/${(typeof PATCHES)[number]}`

/** `SiT-S/2` to `SiT-XL/8`. */
export const SIT_PRESETS: Readonly<Record<SiTPreset, TransformerSize>> = Object.fromEntries(
  Object.entries(SIZES).flatMap(([size, dimensions]) =>
    PATCHES.map((patch) => [`SiT-${size}/${patch}`, { ...dimensions, patch }]),
  ),
) as Record<SiTPreset, TransformerSize>
