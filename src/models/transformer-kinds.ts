/** The kinds of diffusion transformer, chosen by a configuration's `kind`. */
import * as z from 'zod'
import type { Device } from '../tensor/device.ts'
import { DiT, ditConfigSchema } from './dit.ts'
import {
  DIT_PRESETS,
  DITDH_PRESETS,
  type DiTDHSettings,
  LIGHTNINGDIT_PRESETS,
  type LightningDiTSettings,
  MMDIT_PRESETS,
  type MMDiTSettings,
  SIT_PRESETS,
  type TransformerPreset,
  type TransformerSize,
} from './presets.ts'
import { SiT, sitConfigSchema } from './sit.ts'
import type { TextSettings } from './transformer-config.ts'

/** What a union of the kinds says of another one. */
export const UNKNOWN_KIND = 'expected "SiT" or "DiT"'

export const transformerConfigSchema = z.discriminatedUnion('kind', [sitConfigSchema, ditConfigSchema], {
  error: UNKNOWN_KIND,
})

export type AnyTransformerConfig = z.output<typeof transformerConfigSchema>
export type AnyTransformer = SiT | DiT
export type TransformerKind = AnyTransformerConfig['kind']

export const TRANSFORMER_KINDS = ['SiT', 'DiT'] as const satisfies readonly TransformerKind[]

/** The kind that a name says, as DiT's and SiT's scripts name their models: `DiT-XL/2`. REPA names none otherwise. */
export function kindOfName(name: string | null | undefined): TransformerKind | undefined {
  return TRANSFORMER_KINDS.find((kind) => name?.startsWith(`${kind}-`))
}

export const TRANSFORMER_PRESETS: Readonly<
  Record<TransformerPreset, TransformerSize | LightningDiTSettings | DiTDHSettings | MMDiTSettings>
> = {
  ...SIT_PRESETS,
  ...DIT_PRESETS,
  ...LIGHTNINGDIT_PRESETS,
  ...DITDH_PRESETS,
  ...MMDIT_PRESETS,
}

/** The kind, the sizes and what else a preset says. */
export function transformerOfPreset(
  preset: TransformerPreset,
): (TransformerSize | LightningDiTSettings | DiTDHSettings | MMDiTSettings) & { readonly kind: TransformerKind } {
  return { kind: preset in DIT_PRESETS ? 'DiT' : 'SiT', ...TRANSFORMER_PRESETS[preset] }
}

/** What of captions a model of this configuration is told; undefined: it is told classes. */
export function textOf(config: AnyTransformerConfig): TextSettings | undefined {
  return config.kind === 'SiT' ? config.text : undefined
}

/** A model with undefined weights: for loading a state dict, or `initialise`. */
export function transformerFromConfig(config: AnyTransformerConfig, device: Device): AnyTransformer {
  return config.kind === 'DiT' ? DiT.fromConfig(config, device) : SiT.fromConfig(config, device)
}
