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

type PresetOf<K extends string> = `${K}-${Size}/${(typeof PATCHES)[number]}`

export type SiTPreset = PresetOf<'SiT'>
export type DiTPreset = PresetOf<'DiT'>
export type TransformerPreset = SiTPreset | DiTPreset

function presetsOf<K extends string>(kind: K): Readonly<Record<PresetOf<K>, TransformerSize>> {
  return Object.fromEntries(
    Object.entries(SIZES).flatMap(([size, dimensions]) =>
      PATCHES.map((patch) => [`${kind}-${size}/${patch}`, { ...dimensions, patch }]),
    ),
  ) as Record<PresetOf<K>, TransformerSize>
}

/** `SiT-S/2` to `SiT-XL/8`. */
export const SIT_PRESETS = presetsOf('SiT')

/** `DiT-S/2` to `DiT-XL/8`. */
export const DIT_PRESETS = presetsOf('DiT')

/** The sizes of a preset by its name; free sizes as they are. Throws where there is no such preset. */
export function presetSize<P extends string, S extends object>(
  presets: Readonly<Record<P, TransformerSize>>,
  model: P | S,
): TransformerSize | S {
  if (typeof model !== 'string') return model
  const size = (presets as Readonly<Record<string, TransformerSize>>)[model]
  if (size) return size
  throw new RangeError(`There is no model "${model}": expected one of ${Object.keys(presets).join(', ')}.`)
}
