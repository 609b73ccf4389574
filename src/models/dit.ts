/**
 * DiT (arXiv 2212.09748): a transformer that predicts the noise in a latent and, in as many channels again, where the variance of the
 * step back lies between its two bounds (Improved DDPM, arXiv 2102.09672). With projectors, DiT + REPA.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { type Device, deviceOf } from '../tensor/device.ts'
import { cast } from '../tensor/ops/cast.ts'
import type { PixelRounding } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { DiffusionTransformer, FIRST_GUIDED_CHANNELS } from './diffusion-transformer.ts'
import { requireSeed } from './model.ts'
import { DIT_PRESETS, type DiTPreset, presetSize } from './presets.ts'
import { requireConsistent, type TransformerConfig, transformerSettings } from './transformer-config.ts'
import type { ForwardOptions, HiddenStatesOptions, TransformerOutput } from './transformer-network.ts'

/** Everything that fixes a DiT's parameters and computation. */
export const ditConfigSchema = z
  .strictObject({
    kind: z.literal('DiT'),
    ...transformerSettings,
    /** Whether it also predicts the variance (learn_sigma), as every published DiT does. */
    learnSigma: z.boolean().default(true),
  })
  .superRefine(requireConsistent)

export type DiTConfig = z.output<typeof ditConfigSchema>
export type DiTOptions = z.input<typeof ditConfigSchema>

/** @throws {ConfigurationError} naming every setting that is wrong */
export function parseDiTConfig(config: unknown, what = "the model's configuration"): DiTConfig {
  return parseConfiguration(ditConfigSchema, config, what)
}

/** A transformer that predicts the noise of a diffusion and its variance; with REPA's projectors where it is aligned. */
export class DiT extends DiffusionTransformer<DiTConfig> {
  /**
   * A DiT with its initial weights. `model` is a preset (`DiT-XL/2`) or free sizes; `inputSize` defaults to 32 x 32, the
   * latents of 256-pixel images; `device` is `cpu` by default, and may be `auto`, `cuda` or `cuda:N`.
   *
   * @throws {ConfigurationError} naming every setting that is wrong
   */
  static create(
    model: DiTPreset | Pick<DiTOptions, 'depth' | 'hidden' | 'heads' | 'patch'>,
    options: Partial<Omit<DiTOptions, 'kind'>> & { device?: Device; seed?: number } = {},
  ): DiT {
    const { device = 'cpu', seed = 0, ...rest } = options
    requireSeed(seed)
    const size = presetSize(DIT_PRESETS, model)
    const dit = new DiT(parseDiTConfig({ kind: 'DiT', inputSize: [32, 32], ...size, ...rest }), deviceOf(device))
    dit.initialise(seed)
    return dit
  }

  /** A DiT with undefined weights: for loading a state dict. */
  static fromConfig(config: DiTConfig, device: Device): DiT {
    return new DiT(parseDiTConfig(config), device)
  }

  override get guidedChannels(): number {
    return FIRST_GUIDED_CHANNELS
  }

  override get pixelRounding(): PixelRounding {
    return 'nearest'
  }

  protected override reconfigured(change: Partial<TransformerConfig>): DiTConfig {
    return parseDiTConfig({ ...this.config, ...change })
  }

  /**
   * x [B, C, H, W], t [B] (whole numbers, i32 or f32: steps of the diffusion, 0 the cleanest), labels i32 [B] → [B, 2C, H, W]: the noise
   * in x, then v in about [−1, 1], where the log-variance of the step back lies between the posterior's and β_t's. Without
   * `learnSigma`, the noise alone.
   */
  override forward(x: Tensor, t: Tensor, labels: Tensor, options: ForwardOptions = {}): TransformerOutput {
    return scope(() => this.run(x, cast(t, 'f32'), labels, options))
  }

  override hiddenStates(x: Tensor, t: Tensor, labels: Tensor, depth: number, options?: HiddenStatesOptions): Tensor {
    return scope(() => super.hiddenStates(x, cast(t, 'f32'), labels, depth, options))
  }
}
