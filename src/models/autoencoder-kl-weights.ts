/**
 * Files of AutoencoderKL weights, as diffusers and latent-diffusion write them: their tensors under diffusers' names of today, and the sizes
 * that follow from them.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type AutoencoderKLConfig, autoencoderKLConfigSchema } from './autoencoder-kl.ts'
import { diffusersNames, isLdmAutoencoder } from './ldm-autoencoder-names.ts'

/** Names of the attention's layers in files from before diffusers 0.18, those of the published sd-vae-ft-* among them. */
const OLD_ATTENTION: Readonly<Record<string, string>> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
}

/** A file's tensors under today's names. Where it has latent-diffusion's, what is not the autoencoder's is left out. */
export function autoencoderKLState(file: StateSource): StateSource {
  return isLdmAutoencoder(file.names) ? ldmState(file) : diffusersState(file)
}

function ldmState(file: StateSource): StateSource {
  const names = diffusersNames(file.names)
  // Attention's layers are convolutions of one cell there, and matrices here.
  const isMatrix = (name: string, shape: readonly number[]) =>
    /\.attentions\.\d+\..*\.weight$/.test(name) && shape.length === 4 && shape[2] === 1 && shape[3] === 1
  const shapeOf = (name: string) => {
    const shape = file.shapeOf(names.get(name)!)
    return isMatrix(name, shape) ? shape.slice(0, 2) : shape
  }
  return {
    name: file.name,
    names: [...names.keys()],
    shapeOf,
    read: async (name) => ({ ...(await file.read(names.get(name)!)), shape: shapeOf(name) }),
  }
}

function diffusersState(file: StateSource): StateSource {
  const names = new Map<string, string>()
  for (const name of file.names) {
    const today = name.replace(
      /(\.attentions\.\d+\.)(query|key|value|proj_attn)\./,
      (_, before: string, old: string) => `${before}${OLD_ATTENTION[old]}.`,
    )
    if (names.has(today))
      throw new Error(`${file.name} holds both ${names.get(today)} and ${name}, which are one tensor.`)
    names.set(today, name)
  }
  return {
    name: file.name,
    names: [...names.keys()],
    shapeOf: (name) => file.shapeOf(names.get(name)!),
    read: (name) => file.read(names.get(name)!),
  }
}

/** Whether names are those of an AutoencoderKL, whole or not. */
export function isAutoencoderKL(names: readonly string[]): boolean {
  const ofDiffusers = /^(encoder\.down_blocks|decoder\.up_blocks|encoder\.mid_block|decoder\.mid_block)\./
  return isLdmAutoencoder(names) || names.some((name) => ofDiffusers.test(name))
}

/**
 * What diffusers' config.json, or a writer's metadata under `config`, says of an AutoencoderKL. Settings that change what is
 * computed and have one value here are checked; the others are of no interest.
 */
export const diffusersConfigSchema = z.object({
  in_channels: z.int().optional(),
  out_channels: z.int().optional(),
  down_block_types: z.array(z.enum(['DownEncoderBlock2D', 'AttnDownEncoderBlock2D'])).optional(),
  up_block_types: z.array(z.enum(['UpDecoderBlock2D', 'AttnUpDecoderBlock2D'])).optional(),
  block_out_channels: z.array(z.int()).optional(),
  layers_per_block: z.int().optional(),
  act_fn: z.literal('silu').optional(),
  latent_channels: z.int().optional(),
  norm_num_groups: z.int().optional(),
  scaling_factor: z.number().optional(),
  shift_factor: z.null().optional(),
  mid_block_add_attention: z.literal(true).optional(),
  use_quant_conv: z.literal(true).optional(),
  use_post_quant_conv: z.literal(true).optional(),
})

export type DiffusersConfig = z.output<typeof diffusersConfigSchema>

/** The configuration that the constructor's arguments name. */
export function configOfArguments(stated: DiffusersConfig, what: string): AutoencoderKLConfig {
  return parseConfiguration(
    autoencoderKLConfigSchema,
    {
      inChannels: stated.in_channels,
      outChannels: stated.out_channels,
      blockChannels: stated.block_out_channels,
      layersPerBlock: stated.layers_per_block,
      encoderAttention: levelsOf(stated.down_block_types, 'AttnDownEncoderBlock2D'),
      // Counted from the image.
      decoderAttention: levelsOf(stated.up_block_types?.toReversed(), 'AttnUpDecoderBlock2D'),
      latentChannels: stated.latent_channels,
      normGroups: stated.norm_num_groups,
      scalingFactor: stated.scaling_factor,
    },
    what,
  )
}

function levelsOf(types: readonly string[] | undefined, type: string): number[] | undefined {
  return types?.flatMap((own, level) => (own === type ? [level] : []))
}

/**
 * The configuration that a state dict's shapes tell, under today's names. The number of norm groups and the scaling factor leave
 * no trace in them: they are what `stated` says, else the Stable Diffusion VAE's, 32 and 0.18215, the latter for its four channels alone.
 *
 * @throws {Error} where the shapes are no AutoencoderKL's, or contradict what is stated
 */
export function autoencoderKLConfig(state: StateSource, stated: DiffusersConfig = {}): AutoencoderKLConfig {
  const names = new Set(state.names)
  const axis = (name: string, index: number): number => {
    if (!names.has(name)) throw new Error(`${state.name} is not a whole AutoencoderKL: it has no tensor ${name}.`)
    const shape = state.shapeOf(name)
    if (shape.length === 4) return shape[index]!
    throw new Error(`${state.name}: ${name} has shape [${shape}]; expected a convolution's [O, C, kh, kw].`)
  }
  const count = (pattern: RegExp) =>
    new Set(state.names.map((name) => pattern.exec(name)?.[1]).filter((index) => index !== undefined)).size
  const levels = Math.max(count(/^encoder\.down_blocks\.(\d+)\./), count(/^decoder\.up_blocks\.(\d+)\./))
  const layers = Math.max(
    count(/^encoder\.down_blocks\.0\.resnets\.(\d+)\./),
    count(/^decoder\.up_blocks\.0\.resnets\.(\d+)\./) - 1,
  )
  const seen = {
    in_channels: axis('encoder.conv_in.weight', 1),
    out_channels: axis('decoder.conv_out.weight', 0),
    block_out_channels: Array.from({ length: levels }, (_, level) =>
      axis(`encoder.down_blocks.${level}.resnets.0.conv1.weight`, 0),
    ),
    layers_per_block: layers,
    down_block_types: Array.from({ length: levels }, (_, level) =>
      names.has(`encoder.down_blocks.${level}.attentions.0.to_q.weight`)
        ? ('AttnDownEncoderBlock2D' as const)
        : ('DownEncoderBlock2D' as const),
    ),
    up_block_types: Array.from({ length: levels }, (_, level) =>
      names.has(`decoder.up_blocks.${level}.attentions.0.to_q.weight`)
        ? ('AttnUpDecoderBlock2D' as const)
        : ('UpDecoderBlock2D' as const),
    ),
    latent_channels: axis('post_quant_conv.weight', 0),
  }
  for (const [key, found] of Object.entries(seen)) {
    const said = stated[key as keyof typeof seen]
    if (said !== undefined && String(said) !== String(found)) {
      throw new Error(`${state.name}: its configuration states ${key} ${said}, but its tensors have ${found}.`)
    }
  }
  const groups = stated.norm_num_groups ?? 32
  if (stated.norm_num_groups === undefined && seen.block_out_channels.some((channels) => channels % groups !== 0)) {
    throw new Error(
      `${state.name}: its blocks have ${seen.block_out_channels.join(', ')} channels, which are not multiples of the usual ` +
        '32 norm groups; put the config.json that diffusers wrote, with norm_num_groups, beside the file.',
    )
  }
  return configOfArguments({ ...stated, ...seen, norm_num_groups: groups }, state.name)
}
