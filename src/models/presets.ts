import { ConfigurationError } from '../configuration/parse.ts'
import type { SiTOptions } from './sit.ts'

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

/** LightningDiT's models (arXiv 2501.01423), those of its lightningdit.py. */
const LIGHTNINGDIT_SIZES = {
  'LightningDiT-B/1': { ...SIZES.B, patch: 1 },
  'LightningDiT-B/2': { ...SIZES.B, patch: 2 },
  'LightningDiT-L/2': { ...SIZES.L, patch: 2 },
  'LightningDiT-XL/1': { ...SIZES.XL, patch: 1 },
  'LightningDiT-XL/2': { ...SIZES.XL, patch: 2 },
  'LightningDiT-1p0B/1': { depth: 24, hidden: 1536, heads: 24, patch: 1 },
  'LightningDiT-1p0B/2': { depth: 24, hidden: 1536, heads: 24, patch: 2 },
  'LightningDiT-1p6B/1': { depth: 28, hidden: 1792, heads: 28, patch: 1 },
  'LightningDiT-1p6B/2': { depth: 28, hidden: 1792, heads: 28, patch: 2 },
} as const satisfies Readonly<Record<string, TransformerSize>>

export type LightningDiTPreset = keyof typeof LIGHTNINGDIT_SIZES
export type TransformerPreset = SiTPreset | DiTPreset | LightningDiTPreset | DiTDHPreset | MMDiTPreset

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

/** How a LightningDiT differs from a SiT: its blocks, and the original SiT's time. */
const LIGHTNINGDIT_DESIGN = {
  convention: 'sit',
  norm: 'rmsNorm',
  ffn: 'swiglu',
  rope: true,
} as const satisfies Partial<SiTOptions>

/** DiT-DH, the models that RAE (arXiv 2510.11690) trains in DINOv2's features: LightningDiT's blocks and a wide head; REPA's time. */
const DITDH_DESIGN = {
  patch: 1,
  norm: 'rmsNorm',
  ffn: 'swiglu',
  rope: true,
  ddtHead: { depth: 2, hidden: 2048, heads: 16 },
} as const satisfies Partial<SiTOptions>

/** `DiTDH-S` and `DiTDH-XL`, those of its configurations: SiTs with a DDT head. */
export const DITDH_PRESETS = {
  'DiTDH-S': { ...SIZES.S, ...DITDH_DESIGN },
  'DiTDH-XL': { ...SIZES.XL, ...DITDH_DESIGN },
} as const

export type DiTDHPreset = keyof typeof DITDH_PRESETS
export type DiTDHSettings = (typeof DITDH_PRESETS)[DiTDHPreset]

/** Features of an MMDiT's attention head in REPA's mmdit.py. */
export const MMDIT_HEAD_DIM = 32

/** MMDiT's rule in REPA's mmdit.py: as many heads as blocks, of 32 features each. Its train_t2i.py trains the one of 24. */
const mmditSize = <D extends number>(depth: D) =>
  ({
    depth,
    hidden: MMDIT_HEAD_DIM * depth,
    heads: depth,
    patch: 2,
    classes: 0,
    text: { tokens: 77, width: 768 },
  }) as const

/** `MMDiT-d12/2` and `MMDiT-d24/2`: SiTs of joint blocks of text and image. */
export const MMDIT_PRESETS = { 'MMDiT-d12/2': mmditSize(12), 'MMDiT-d24/2': mmditSize(24) } as const

export type MMDiTPreset = keyof typeof MMDIT_PRESETS
export type MMDiTSettings = (typeof MMDIT_PRESETS)[MMDiTPreset]

/** A LightningDiT, as a SiT. */
export type LightningDiTSettings = TransformerSize & typeof LIGHTNINGDIT_DESIGN

/** `LightningDiT-B/1` to `LightningDiT-1p6B/2`: SiTs of other blocks. */
export const LIGHTNINGDIT_PRESETS = Object.fromEntries(
  Object.entries(LIGHTNINGDIT_SIZES).map(([name, size]) => [name, { ...size, ...LIGHTNINGDIT_DESIGN }]),
) as Readonly<Record<LightningDiTPreset, LightningDiTSettings>>

/**
 * The sizes of a preset by its name; free sizes as they are.
 *
 * @throws {ConfigurationError} where there is no such preset
 */
export function presetSize<P extends string, T extends object, S extends object>(
  presets: Readonly<Record<P, T>>,
  model: P | S,
): T | S {
  if (typeof model !== 'string') return model
  if (Object.hasOwn(presets, model)) return presets[model]
  throw new ConfigurationError(`There is no model "${model}": expected one of ${Object.keys(presets).join(', ')}.`)
}
