import { activation } from './activation.ts'
import { type NdArray, reshape } from './array.ts'
import { attention } from './attention.ts'
import { gatedResidual } from './gated-residual.ts'
import { joinTokens, splitTokens } from './joined-tokens.ts'
import { layerNormModulate } from './layer-norm.ts'
import { linear } from './linear.ts'
import { patchEmbed } from './patch-embed.ts'
import { unpatchify } from './patches.ts'
import { timestepEmbedding } from './timestep-embedding.ts'

/** What of an MMDiT (REPA's mmdit.py) the parameters' shapes do not say. */
export interface MmditConfig {
  readonly patch: number
  readonly depth: number
  readonly heads: number
  /** Block after which the image's tokens are projected, from 1. */
  readonly alignDepth: number
  readonly projectors: number
}

export interface MmditOutput {
  readonly velocity: NdArray
  /** The image's tokens as they leave each block, [B, T, D]. */
  readonly image: readonly NdArray[]
  /** The text's, [B, L, D], of all blocks but the last. */
  readonly context: readonly NdArray[]
  /** For every projector [B, T, z]. */
  readonly projections: readonly NdArray[]
}

/** x [B, C, H, W], t [B], text [B, L, W] → the velocity. Forward only; parameters by the names of mmdit.py's state dict. */
export function mmditForward(
  parameters: ReadonlyMap<string, NdArray>,
  { patch, depth, heads, alignDepth, projectors }: MmditConfig,
  x: NdArray,
  t: NdArray,
  text: NdArray,
): MmditOutput {
  const p = (name: string): NdArray => {
    const value = parameters.get(name)
    if (!value) throw new Error(`the reference has no ${name}`)
    return value
  }
  const affine = (name: string, input: NdArray, act?: 'silu' | 'gelu-tanh') =>
    linear(input, p(`${name}.weight`), p(`${name}.bias`), act)
  const [batch, channels, height, width] = x.shape as [number, number, number, number]

  const positions = p('pos_embed')
  const convolution = p('x_embedder.proj.weight')
  let image = patchEmbed(
    x,
    reshape(convolution, [convolution.shape[0]!, channels, patch, patch]),
    p('x_embedder.proj.bias'),
    reshape(positions, positions.shape.slice(-2)),
  )
  let context: NdArray | undefined = affine('context_embedder', text)
  const time = affine('t_embedder.mlp.2', affine('t_embedder.mlp.0', timestepEmbedding(t, 256), 'silu'))
  const condition = activation(time, 'silu')
  const hidden = image.shape[2]!

  /** A modulation by the time, [B, chunks, D]. */
  const modulationOf = (name: string) => {
    const all = affine(`${name}.adaLN_modulation.1`, condition)
    return reshape(all, [batch, all.shape[1]! / hidden, hidden])
  }
  const qkvOf = (name: string, input: NdArray) =>
    affine(`${name}.attn.qkv`, layerNormModulate(input, modulationOf(name), { shift: 0, scale: 1 }))
  const behindAttention = (name: string, input: NdArray, attended: NdArray) => {
    const modulation = modulationOf(name)
    const between = gatedResidual(input, affine(`${name}.attn.proj`, attended), modulation, 2)
    const normed = layerNormModulate(between, modulation, { shift: 3, scale: 4 })
    const branch = affine(`${name}.mlp.fc2`, affine(`${name}.mlp.fc1`, normed, 'gelu-tanh'))
    return gatedResidual(between, branch, modulation, 5)
  }

  const [images, contexts]: [NdArray[], NdArray[]] = [[], []]
  let projections: readonly NdArray[] = []
  for (let i = 0; i < depth; i++) {
    const [ofText, ofImage] = [`joint_blocks.${i}.context_block`, `joint_blocks.${i}.x_block`]
    const qkv = joinTokens(qkvOf(ofText, context!), qkvOf(ofImage, image))
    const { o } = attention(reshape(qkv, [batch, qkv.shape[1]!, 3, heads, hidden / heads]))
    const [textAttended, imageAttended] = splitTokens(o, context!.shape[1]!)
    context = i === depth - 1 ? undefined : behindAttention(ofText, context!, textAttended)
    image = behindAttention(ofImage, image, imageAttended)
    images.push(image)
    if (context) contexts.push(context)
    if (i + 1 === alignDepth) {
      const project = (name: string) =>
        affine(`${name}.4`, affine(`${name}.2`, affine(`${name}.0`, image, 'silu'), 'silu'))
      projections = Array.from({ length: projectors }, (_, k) => project(`projectors.${k}`))
    }
  }
  const read = layerNormModulate(image, modulationOf('final_layer'), { shift: 0, scale: 1 })
  const velocity = unpatchify(affine('final_layer.linear', read), { patch, channels, height, width })
  return { velocity, image: images, context: contexts, projections }
}
