/**
 * SiT (arXiv 2401.08740) as REPA trains it (arXiv 2410.06940): DiT's transformer, which predicts the velocity of an interpolant
 * between data and noise.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { type Device, deviceOf } from '../tensor/device.ts'
import { resizeChannels } from '../tensor/ops/diffusion.ts'
import type { PixelRounding } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { DiffusionTransformer, FIRST_GUIDED_CHANNELS } from './diffusion-transformer.ts'
import { requireSeed } from './model.ts'
import {
  DITDH_PRESETS,
  type DiTDHPreset,
  LIGHTNINGDIT_PRESETS,
  type LightningDiTPreset,
  MMDIT_PRESETS,
  type MMDiTPreset,
  presetSize,
  SIT_PRESETS,
  type SiTPreset,
} from './presets.ts'
import {
  ddtHeadSetting,
  requireConsistent,
  type TransformerConfig,
  textSetting,
  transformerSettings,
} from './transformer-config.ts'
import type { ForwardOptions, TransformerOutput } from './transformer-network.ts'

/** Everything that fixes a SiT's parameters and computation. */
export const sitConfigSchema = z
  .strictObject({
    kind: z.literal('SiT'),
    ...transformerSettings,
    /** 0: of a model of text. */
    classes: z.int().min(0).default(1000),
    /**
     * Whether the head has twice the channels (learn_sigma), as in the published checkpoints of the original SiT: they come from DiT's
     * code, and nothing reads the second half.
     */
    learnSigma: z.boolean().default(false),
    /**
     * Which way the model's time runs: `repa`, from data at t = 0 to noise at t = 1; `sit`, as in willisma/SiT, from noise at t = 0 to
     * data at t = 1, its velocity pointing to the data.
     */
    convention: z.enum(['repa', 'sit']).default('repa'),
    /** Width of the encoder's class token that is denoised along with the image (REG); left out: there is none. */
    classTokenWidth: z.int().positive().optional(),
    ...ddtHeadSetting,
    ...textSetting,
  })
  .superRefine(requireConsistent)

export type SiTConfig = z.output<typeof sitConfigSchema>
export type SiTOptions = z.input<typeof sitConfigSchema>
export type SiTConvention = SiTConfig['convention']

/** @throws {ConfigurationError} naming every setting that is wrong */
export function parseSiTConfig(config: unknown, what = "the model's configuration"): SiTConfig {
  return parseConfiguration(sitConfigSchema, config, what)
}

const PRESETS = { ...SIT_PRESETS, ...LIGHTNINGDIT_PRESETS, ...DITDH_PRESETS, ...MMDIT_PRESETS }

/** A transformer that predicts the velocity of an interpolant between data and noise; with REPA's projectors where it is aligned. */
export class SiT extends DiffusionTransformer<SiTConfig> {
  /**
   * A SiT with its initial weights. `model` is a preset (`SiT-XL/2`, `LightningDiT-XL/1`, `DiTDH-XL`, `MMDiT-d24/2`) or free sizes;
   * `inputSize` defaults to 32 x 32, the latents of 256-pixel images; `device` is `cpu` by default, and may be `auto`, `cuda` or `cuda:N`.
   *
   * @throws {ConfigurationError} naming every setting that is wrong
   */
  static create(
    model:
      | SiTPreset
      | LightningDiTPreset
      | DiTDHPreset
      | MMDiTPreset
      | Pick<SiTOptions, 'depth' | 'hidden' | 'heads' | 'patch'>,
    options: Partial<Omit<SiTOptions, 'kind'>> & { device?: Device; seed?: number } = {},
  ): SiT {
    const { device = 'cpu', seed = 0, ...rest } = options
    requireSeed(seed)
    const size = presetSize(PRESETS, model)
    const sit = new SiT(parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...size, ...rest }), deviceOf(device))
    sit.initialise(seed)
    return sit
  }

  /** A SiT with undefined weights: for loading a state dict. */
  static fromConfig(config: SiTConfig, device: Device): SiT {
    return new SiT(parseSiTConfig(config), device)
  }

  override get guidedChannels(): number {
    return this.config.convention === 'sit' ? FIRST_GUIDED_CHANNELS : this.config.channels
  }

  /** LightningDiT's decoder (VA-VAE) does as the original SiT's script; RAE's, and REPA's of text, as REPA's. */
  override get pixelRounding(): PixelRounding {
    return this.config.convention === 'sit' ? 'nearest' : 'down'
  }

  protected override reconfigured(change: Partial<TransformerConfig>): SiTConfig {
    return parseSiTConfig({ ...this.config, ...change })
  }

  /**
   * x [B, C, H, W], t [B] in [0, 1] (config.convention says which end is noise), labels i32 [B], or of a model of text its hidden states
   * [B, L, W] → the velocity [B, C, H, W] by the model's time; and that of the class token, where the model has one and the options give it.
   */
  override forward(x: Tensor, t: Tensor, condition: Tensor, options: ForwardOptions = {}): TransformerOutput {
    const { channels, learnSigma } = this.config
    if (!learnSigma) return this.run(x, t, condition, options)
    return scope(() => {
      const { prediction, ...rest } = this.run(x, t, condition, options)
      return { prediction: resizeChannels(prediction, channels), ...rest }
    })
  }
}
