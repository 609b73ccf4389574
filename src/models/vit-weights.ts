/** Files of vision transformers' weights: what the shapes of their tensors, and a note beside them, tell of the model. */
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { countOf, shapesOf } from './state-shapes.ts'
import {
  type VisionTransformerConfig,
  type VisionTransformerOptions,
  visionTransformerConfigSchema,
} from './vit-config.ts'

/**
 * What a writer may note under the metadata key `config`: arguments of the reference's constructor. Those that do not change
 * what is computed from the weights (drop_path_rate, block_chunks, …) are of no interest.
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
  const what = `${file}, metadata "config"`
  return parseConfiguration(statedConfigSchema, parseJson(text, what), what)
}

export interface ConfigOptions {
  /** What the family is called in messages. */
  readonly family: string
  /** What no tensor's shape tells. */
  readonly traits?: Partial<VisionTransformerOptions>
  readonly heads?: number | undefined
  readonly stated?: StatedConfig | undefined
  /** Published sizes, for their heads. */
  readonly known?: readonly VisionTransformerOptions[]
}

/**
 * The configuration that a state dict's shapes tell. The number of heads leaves no trace in them: it is `heads`, else what the
 * metadata states, else that of the published size of this width and depth, else the width over 64.
 *
 * @throws Error where the shapes are not the family's or contradict the metadata, or the number of heads stays unknown
 */
export function vitConfig(
  state: StateSource,
  { family, traits = {}, heads, stated = {}, known = [] }: ConfigOptions,
): VisionTransformerConfig {
  const names = new Set(state.names)
  const shape = shapesOf(state, `${family} weights`)
  const axis = (name: string, index: number, rank: number): number => shape(name, rank)[index]!
  const classToken = traits.classToken ?? true
  const sideOfTable = () => {
    const entries = axis('pos_embed', 1, 3)
    const side = Math.sqrt(entries - (classToken ? 1 : 0))
    if (Number.isInteger(side) && side > 0) return side
    const expected = classToken ? 'one for the class token and those of a square grid' : 'those of a square grid'
    throw new Error(`${state.name}: pos_embed has ${entries} entries; expected ${expected}.`)
  }
  // Rotary positions leave no table, and their models a class token.
  const hidden = axis(traits.rope ? 'cls_token' : 'pos_embed', 2, 3)
  const side = traits.rope ? undefined : sideOfTable()
  const patch = axis('patch_embed.proj.weight', 2, 4)
  const isSwiGLU = names.has('blocks.0.mlp.w12.weight')
  const seen = {
    imageSize: side === undefined ? traits.imageSize : side * patch,
    patch,
    channels: axis('patch_embed.proj.weight', 1, 4),
    hidden,
    depth: countOf('blocks', names),
    ffn: isSwiGLU ? 'swiglu' : 'mlp',
    ffnWidth: isSwiGLU ? axis('blocks.0.mlp.w12.weight', 0, 2) / 2 : axis('blocks.0.mlp.fc1.weight', 0, 2),
    registers: names.has('register_tokens') ? axis('register_tokens', 1, 3) : 0,
  }
  requireAgreement(state.name, seen, stated)
  const published = known.find((size) => size.hidden === seen.hidden && size.depth === seen.depth)
  const { interpolate_antialias: antialias, interpolate_offset: offset } = stated
  // One of the two alone: the other is the reference constructor's default.
  const interpolation =
    antialias === undefined && offset === undefined
      ? undefined
      : { antialias: antialias ?? false, offset: offset ?? 0.1 }
  return parseConfiguration(
    visionTransformerConfigSchema,
    {
      ...traits,
      ...seen,
      heads: headsOf(state.name, hidden, { given: heads, stated: stated.num_heads, published: published?.heads }),
      interpolation: interpolation ?? traits.interpolation,
    },
    state.name,
  )
}

function requireAgreement(
  file: string,
  seen: { imageSize: number | undefined; patch: number; hidden: number; depth: number; registers: number },
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

function headsOf(
  file: string,
  hidden: number,
  {
    given,
    stated,
    published,
  }: { given: number | undefined; stated: number | undefined; published: number | undefined },
): number {
  if (given !== undefined && stated !== undefined && given !== stated) {
    throw new Error(`${file}: its metadata states ${stated} heads, but heads: ${given} was asked for.`)
  }
  const heads = given ?? stated ?? published ?? hidden / 64
  if (Number.isInteger(heads)) return heads
  throw new Error(
    `${file}: its width of ${hidden} is no multiple of 64, so the number of heads cannot be told; pass it as the option ` +
      '`heads`, or use a safetensors file whose metadata "config" states num_heads.',
  )
}
