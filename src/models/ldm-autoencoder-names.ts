/**
 * The names under which CompVis's latent-diffusion has an AutoencoderKL (arXiv 2112.10752), and so VA-VAE's code (arXiv 2501.01423), beside
 * those of diffusers:
 *
 *   encoder.down.L.block.I.nin_shortcut      encoder.down_blocks.L.resnets.I.conv_shortcut
 *   encoder.down.L.attn.I.q                  encoder.down_blocks.L.attentions.I.to_q
 *   encoder.mid.block_1                      encoder.mid_block.resnets.0
 *   decoder.up.L                             decoder.up_blocks.(levels - 1 - L), counted from the image there
 *
 * Files of whole trainings have the discriminator's tensors and others besides, and those of latent diffusion the autoencoder's behind
 * `first_stage_model.`.
 */

const PREFIX = 'first_stage_model.'
const PARTS = /^(encoder|decoder|quant_conv|post_quant_conv)\./

/** Whether names are those of latent-diffusion's autoencoder, whole or not. */
export function isLdmAutoencoder(names: readonly string[]): boolean {
  return names.some((name) => /^(first_stage_model\.)?(encoder\.down|decoder\.up)\.\d+\.block\./.test(name))
}

/** The autoencoder's tensors under diffusers' names, each with the name that the file has. */
export function diffusersNames(names: readonly string[]): Map<string, string> {
  const own = names
    .map((name) => [name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name, name] as const)
    .filter(([name]) => PARTS.test(name))
  const levels = new Set(own.flatMap(([name]) => /^decoder\.up\.(\d+)\./.exec(name)?.[1] ?? [])).size
  return new Map(own.map(([name, stored]) => [renamed(name, levels), stored]))
}

const LAYERS: readonly (readonly [RegExp, string])[] = [
  [/^(encoder|decoder)\.norm_out\./, '$1.conv_norm_out.'],
  [/^(encoder|decoder)\.mid\.block_1\./, '$1.mid_block.resnets.0.'],
  [/^(encoder|decoder)\.mid\.block_2\./, '$1.mid_block.resnets.1.'],
  [/^(encoder|decoder)\.mid\.attn_1\./, '$1.mid_block.attentions.0.'],
  [/^encoder\.down\.(\d+)\.downsample\./, 'encoder.down_blocks.$1.downsamplers.0.'],
  [/^encoder\.down\.(\d+)\.block\./, 'encoder.down_blocks.$1.resnets.'],
  [/^encoder\.down\.(\d+)\.attn\./, 'encoder.down_blocks.$1.attentions.'],
  [/^decoder\.up_blocks\.(\d+)\.upsample\./, 'decoder.up_blocks.$1.upsamplers.0.'],
  [/^decoder\.up_blocks\.(\d+)\.block\./, 'decoder.up_blocks.$1.resnets.'],
  [/^decoder\.up_blocks\.(\d+)\.attn\./, 'decoder.up_blocks.$1.attentions.'],
  [/\.nin_shortcut\./, '.conv_shortcut.'],
  [/(\.attentions\.\d+)\.norm\./, '$1.group_norm.'],
  [/(\.attentions\.\d+)\.([qkv])\./, '$1.to_$2.'],
  [/(\.attentions\.\d+)\.proj_out\./, '$1.to_out.0.'],
]

function renamed(name: string, levels: number): string {
  const counted = name.replace(
    /^decoder\.up\.(\d+)\./,
    (_, level) => `decoder.up_blocks.${levels - 1 - Number(level)}.`,
  )
  return LAYERS.reduce((current, [pattern, replacement]) => current.replace(pattern, replacement), counted)
}
