/** Files of DINOv2 weights: their tensors under the reference's names, and the sizes that follow from them. */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from './vit-config.ts'

/**
 * A file's tensors under the names of the published models. Training writes others: the backbone beside the heads
 * (`backbone.norm.weight`, `dino_head.…`), maybe of student and teacher both, of which the teacher counts; and its blocks in
 * chunks, `blocks.CHUNK.INDEX.…`, where INDEX counts over all chunks.
 */
export function dinov2State(file: StateSource): StateSource {
  const prefix = prefixOf(file)
  const names = new Map<string, string>()
  for (const name of file.names) {
    if (!name.startsWith(prefix)) continue
    names.set(name.slice(prefix.length).replace(/^blocks\.\d+\.(\d+\.)/, 'blocks.$1'), name)
  }
  return {
    name: file.name,
    names: [...names.keys()],
    shapeOf: (name) => file.shapeOf(names.get(name)!),
    read: (name) => file.read(names.get(name)!),
  }
}

/** What stands before the backbone's names. */
function prefixOf(file: StateSource): string {
  const names = [...file.names]
  const prefixes = names
    .filter((name) => /(^|\.)cls_token$/.test(name))
    .map((name) => name.slice(0, -'cls_token'.length))
  const prefix = prefixes.find((found) => found === '' || found.startsWith('teacher.')) ?? prefixes[0]
  if (prefix !== undefined && names.includes(`${prefix}pos_embed`)) return prefix
  const transformers = names.some((name) => name.endsWith('embeddings.cls_token'))
  throw new Error(
    transformers
      ? `${file.name} names its tensors as the Transformers library does; expected the file that DINOv2 publishes, such as dinov2_vitb14_pretrain.pth.`
      : `${file.name} holds no DINOv2 weights: it has no cls_token with a pos_embed beside it. ${listed(names)}`,
  )
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ')
  return `It has ${shown}${names.length > 5 ? `, … (${names.length} tensors)` : ''}.`
}

/**
 * What a writer may note under the metadata key `config`: arguments of the reference's DinoVisionTransformer. Those that do not
 * change what is computed from the weights (drop_path_rate, block_chunks, …) are of no interest.
 */
const statedConfigSchema = z.object({
  img_size: z.int().optional(),
  patch_size: z.int().optional(),
  embed_dim: z.int().optional(),
  depth: z.int().optional(),
  num_heads: z.int().optional(),
  num_register_tokens: z.int().optional(),
  interpolate_antialias: z.boolean().optional(),
  interpolate_offset: z.number().optional(),
})

type StatedConfig = z.output<typeof statedConfigSchema>

/** The arguments that a file's metadata states, or undefined. Throws where they are there but are not what they should be. */
export function statedConfig(file: string, metadata: Readonly<Record<string, string>>): StatedConfig | undefined {
  const text = metadata.config
  if (text === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Error(`${file}: its metadata "config" is not JSON.`)
  }
  return parseConfiguration(statedConfigSchema, json, `${file}, metadata "config"`)
}

/**
 * The configuration that a state dict's shapes tell. The number of heads leaves no trace in them: it is `heads`, else what the
 * metadata states, else the width over 64, which is the head_dim of every published model.
 *
 * @throws Error where the shapes are not DINOv2's or contradict the metadata, or the number of heads stays unknown
 */
export function dinov2Config(
  state: StateSource,
  { heads, stated = {} }: { heads?: number | undefined; stated?: StatedConfig | undefined } = {},
): VisionTransformerConfig {
  const names = new Set(state.names)
  const axis = (name: string, index: number, rank: number): number => {
    const shape = names.has(name) ? state.shapeOf(name) : undefined
    if (shape?.length === rank) return shape[index]!
    const found = shape ? `its shape [${shape}] is not of ${rank} axes` : `it is missing. ${listed([...names])}`
    throw new Error(`${state.name} holds no DINOv2 weights: ${name} was looked for, and ${found}`)
  }
  const hidden = axis('cls_token', 2, 3)
  const entries = axis('pos_embed', 1, 3)
  const side = Math.sqrt(entries - 1)
  if (!Number.isInteger(side) || side === 0) {
    throw new Error(
      `${state.name}: pos_embed has ${entries} entries; expected one for the class token and those of a square grid.`,
    )
  }
  const patch = axis('patch_embed.proj.weight', 2, 4)
  const isSwiGLU = names.has('blocks.0.mlp.w12.weight')
  const registers = names.has('register_tokens') ? axis('register_tokens', 1, 3) : 0
  const seen = {
    imageSize: side * patch,
    patch,
    channels: axis('patch_embed.proj.weight', 1, 4),
    hidden,
    depth: depthOf(names),
    ffn: isSwiGLU ? 'swiglu' : 'mlp',
    ffnWidth: isSwiGLU ? axis('blocks.0.mlp.w12.weight', 0, 2) / 2 : axis('blocks.0.mlp.fc1.weight', 0, 2),
    registers,
  }
  requireAgreement(state.name, seen, stated)
  const { interpolate_antialias: antialias, interpolate_offset: offset } = stated
  // One of the two alone: the other is the reference constructor's default.
  const interpolation =
    antialias === undefined && offset === undefined
      ? undefined
      : { antialias: antialias ?? false, offset: offset ?? 0.1 }
  return parseConfiguration(
    visionTransformerConfigSchema,
    {
      ...seen,
      heads: headsOf(state.name, hidden, heads, stated.num_heads),
      interpolation,
    },
    state.name,
  )
}

function depthOf(names: Iterable<string>): number {
  let depth = 0
  for (const name of names) {
    const index = /^blocks\.(\d+)\./.exec(name)?.[1]
    if (index !== undefined) depth = Math.max(depth, Number(index) + 1)
  }
  return depth
}

function requireAgreement(
  file: string,
  seen: { imageSize: number; patch: number; hidden: number; depth: number; registers: number },
  stated: StatedConfig,
): void {
  const pairs = [
    ['img_size', stated.img_size, seen.imageSize],
    ['patch_size', stated.patch_size, seen.patch],
    ['embed_dim', stated.embed_dim, seen.hidden],
    ['depth', stated.depth, seen.depth],
    ['num_register_tokens', stated.num_register_tokens, seen.registers],
  ] as const
  for (const [key, said, found] of pairs) {
    if (said !== undefined && said !== found) {
      throw new Error(`${file}: its metadata states ${key} ${said}, but its tensors have ${found}.`)
    }
  }
}

function headsOf(file: string, hidden: number, given: number | undefined, stated: number | undefined): number {
  if (given !== undefined && stated !== undefined && given !== stated) {
    throw new Error(`${file}: its metadata states ${stated} heads, but heads: ${given} was asked for.`)
  }
  const heads = given ?? stated ?? hidden / 64
  if (Number.isInteger(heads)) return heads
  throw new Error(
    `${file}: its width of ${hidden} is no multiple of 64, so the number of heads cannot be told; pass it as the option ` +
      '`heads`, or use a safetensors file whose metadata "config" states num_heads.',
  )
}
