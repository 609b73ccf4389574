/** Files of AutoencoderKL weights, as diffusers writes them: their tensors under today's names, and the sizes that follow from them. */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type AutoencoderKLConfig, autoencoderKLConfigSchema } from './autoencoder-kl.ts'

/** Names of the attention's layers in files from before diffusers 0.18, those of the published sd-vae-ft-* among them. */
const OLD_ATTENTION: Readonly<Record<string, string>> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
}

/** A file's tensors under today's names. */
export function autoencoderKLState(file: StateSource): StateSource {
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
  return names.some((name) =>
    /^(encoder\.down_blocks|decoder\.up_blocks|encoder\.mid_block|decoder\.mid_block)\./.test(name),
  )
}

const allOf = <T extends string>(type: T) => z.array(z.literal(type)).optional()

/**
 * What diffusers' config.json, or a writer's metadata under `config`, says of an AutoencoderKL. Settings that change what is
 * computed and have one value here are checked; the others are of no interest.
 */
export const diffusersConfigSchema = z.object({
  in_channels: z.int().optional(),
  out_channels: z.int().optional(),
  down_block_types: allOf('DownEncoderBlock2D'),
  up_block_types: allOf('UpDecoderBlock2D'),
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
      latentChannels: stated.latent_channels,
      normGroups: stated.norm_num_groups,
      scalingFactor: stated.scaling_factor,
    },
    what,
  )
}

/**
 * The configuration that a state dict's shapes tell, under today's names. The number of norm groups and the scaling factor leave
 * no trace in them: they are what `stated` says, else the Stable Diffusion VAE's, 32 and 0.18215.
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
