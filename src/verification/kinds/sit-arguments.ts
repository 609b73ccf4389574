/** How golden files name a SiT of REPA: the constructor arguments of the reference's models/sit.py, and a state dict. */
import * as z from 'zod'
import { SIT_PRESETS, type SiTPreset } from '../../models/presets.ts'
import { SiT, type SiTConfig, sitConfigSchema } from '../../models/sit.ts'
import type { Device } from '../../tensor/device.ts'
import type { GoldenSet } from '../golden-set.ts'
import { loadModel } from './load-model.ts'

const positive = z.int().positive()

/** Defaults are the constructor's. */
const referenceConfigSchema = z
  .object({
    /** A name of SiT_models, which fixes depth, hidden_size, num_heads and patch_size. */
    model: z.enum(Object.keys(SIT_PRESETS) as [SiTPreset, ...SiTPreset[]]).optional(),
    input_size: positive.default(32),
    patch_size: positive.optional(),
    in_channels: positive.default(4),
    hidden_size: positive.optional(),
    decoder_hidden_size: positive.optional(),
    encoder_depth: positive.default(8),
    depth: positive.optional(),
    num_heads: positive.optional(),
    mlp_ratio: z.number().positive().default(4),
    class_dropout_prob: z.number().min(0).max(1).default(0.1),
    num_classes: positive.default(1000),
    z_dims: z.array(positive).default([768]),
    projector_dim: positive.default(2048),
    qk_norm: z.boolean().default(false),
  })
  .transform((config, context): SiTConfig => {
    const preset = config.model && SIT_PRESETS[config.model]
    const result = sitConfigSchema.safeParse({
      kind: 'SiT',
      depth: config.depth ?? preset?.depth,
      hidden: config.hidden_size ?? preset?.hidden,
      heads: config.num_heads ?? preset?.heads,
      patch: config.patch_size ?? preset?.patch,
      inputSize: [config.input_size, config.input_size],
      channels: config.in_channels,
      classes: config.num_classes,
      mlpRatio: config.mlp_ratio,
      qkNorm: config.qk_norm,
      classDropout: config.class_dropout_prob,
      alignDepth: config.encoder_depth,
      alignWidths: config.z_dims,
      projectorWidth: config.projector_dim,
    })
    if (!result.success) {
      for (const { path, message } of result.error.issues)
        context.addIssue({ code: 'custom', path: [...path], message })
      return z.NEVER
    }
    const { decoder_hidden_size: decoder = result.data.hidden } = config
    if (decoder !== result.data.hidden) {
      const message = `only a decoder as wide as the model (${result.data.hidden}) is supported`
      context.addIssue({ code: 'custom', path: ['decoder_hidden_size'], message })
    }
    return result.data
  })

export const sitConfigArgument = { config: referenceConfigSchema }

/** Args of every kind that runs a SiT with stored weights. */
export const sitArguments = { ...sitConfigArgument, params: z.string() }

/** The SiT with its stored weights; the caller disposes it. */
export async function loadSiT(
  set: GoldenSet,
  { config, params }: { readonly config: SiTConfig; readonly params: string },
  device: Device,
): Promise<SiT> {
  await using file = set.file(params)
  return await loadModel(set, SiT.fromConfig(config, device), file.state())
}
