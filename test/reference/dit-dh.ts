import { activation, swiGlu } from './activation.ts'
import { map, type NdArray, reshape, sum, zeros } from './array.ts'
import { attention } from './attention.ts'
import { embedding } from './embedding.ts'
import { layerNorm } from './layer-norm.ts'
import { linear } from './linear.ts'
import { patchEmbed } from './patch-embed.ts'
import { unpatchify } from './patches.ts'
import { qkRmsNorm } from './qk-norm.ts'
import { rmsNormalize } from './rms-norm.ts'
import { rotate } from './rope.ts'

/** What of DiT-DH (RAE's DDT.py, DiTwDDTHead) the parameters' shapes do not say. */
export interface DitDhConfig {
  readonly patch: number
  readonly depth: number
  readonly heads: number
  readonly head: { readonly depth: number; readonly heads: number }
  /** RMSNorm, SwiGLU and rotary positions, or LayerNorm, an MLP with a GELU and none. */
  readonly lightning: boolean
  readonly qkNorm: boolean
}

export interface DitDhOutput {
  /** What leaves the trunk, [B, T, D]. */
  readonly trunk: NdArray
  readonly velocity: NdArray
}

/** x [B, C, H, W], t [B], one label a sample → the velocity. Forward only; parameters by the names of its state dict. */
export function ditDhForward(
  parameters: ReadonlyMap<string, NdArray>,
  config: DitDhConfig,
  x: NdArray,
  t: NdArray,
  labels: readonly number[],
): DitDhOutput {
  const { lightning, patch } = config
  const p = (name: string): NdArray => {
    const value = parameters.get(name)
    if (!value) throw new Error(`the reference has no ${name}`)
    return value
  }
  const affine = (name: string, input: NdArray, act?: 'silu' | 'gelu-tanh') =>
    linear(input, p(`${name}.weight`), p(`${name}.bias`), act)

  /** (1 + scale) ⊙ norm(x) + shift, the modulation [S, chunks·D] being of a sample or of each of its tokens. */
  const modulated = (input: NdArray, modulation: NdArray, [shift, scale]: readonly [number, number], norm: string) => {
    const width = input.shape[2]!
    const normed = lightning
      ? map(rmsNormalize(input, 1e-6), (value, i) => value * p(`${norm}.weight`).data[i % width]!)
      : layerNorm(
          input,
          map(zeros([width]), () => 1),
          zeros([width]),
          1e-6,
        )
    return map(normed, (value, i) => value * (1 + at(modulation, input, scale, i)) + at(modulation, input, shift, i))
  }
  /** Of chunk `chunk`, what belongs to element `i` of x [B, T, D]. */
  const at = (modulation: NdArray, { shape }: NdArray, chunk: number, i: number): number => {
    const [batch, tokens, width] = shape as [number, number, number]
    const samples = modulation.shape[0]!
    const row = samples === batch ? Math.floor(i / (tokens * width)) : Math.floor(i / width)
    return modulation.data[row * modulation.shape[1]! + chunk * width + (i % width)]!
  }
  const gated = (input: NdArray, branch: NdArray, modulation: NdArray, gate: number) =>
    map(input, (value, i) => value + at(modulation, input, gate, i) * branch.data[i]!)

  const block = (input: NdArray, condition: NdArray, name: string, heads: number, rope: string): NdArray => {
    const [batch, tokens, width] = input.shape as [number, number, number]
    const modulation = affine(`${name}.adaLN_modulation.1`, activation(condition, 'silu'))
    const norm1 = modulated(input, modulation, [0, 1], `${name}.norm1`)
    const packed = [batch, tokens, 3, heads, width / heads]
    let qkv = reshape(affine(`${name}.attn.qkv`, norm1), packed)
    if (config.qkNorm) {
      qkv = qkRmsNorm(qkv, { qWeight: p(`${name}.attn.q_norm.weight`), kWeight: p(`${name}.attn.k_norm.weight`) })
    }
    if (lightning) {
      const flat = reshape(qkv, [batch, tokens, 3 * width])
      qkv = reshape(rotate(flat, p(`${rope}.freqs_cos`), p(`${rope}.freqs_sin`), heads), packed)
    }
    const middle = gated(input, affine(`${name}.attn.proj`, attention(qkv).o), modulation, 2)
    const norm2 = modulated(middle, modulation, [3, 4], `${name}.norm2`)
    const hidden = lightning ? swiGlu(affine(`${name}.mlp.w12`, norm2)) : affine(`${name}.mlp.fc1`, norm2, 'gelu-tanh')
    return gated(middle, affine(`${name}.mlp.${lightning ? 'w3' : 'fc2'}`, hidden), modulation, 5)
  }

  const W = p('t_embedder.W').data
  const features = map(zeros([t.data.length, 2 * W.length]), (_, i) => {
    const [sample, column] = [Math.floor(i / (2 * W.length)), i % (2 * W.length)]
    const argument = 2 * Math.PI * t.data[sample]! * W[column % W.length]!
    return column < W.length ? Math.sin(argument) : Math.cos(argument)
  })
  const time = affine('t_embedder.mlp.2', affine('t_embedder.mlp.0', features, 'silu'))
  const condition = activation(sum(time, embedding(labels, p('y_embedder.embedding_table.weight'))), 'silu')

  const positions = p('pos_embed')
  let s = patchEmbed(
    x,
    p('s_embedder.proj.weight'),
    p('s_embedder.proj.bias'),
    reshape(positions, positions.shape.slice(-2)),
  )
  for (let i = 0; i < config.depth; i++) s = block(s, condition, `blocks.${i}`, config.heads, 'enc_feat_rope')
  const trunk = s
  const [batch, tokens, width] = trunk.shape as [number, number, number]
  const withTime = map(trunk, (value, i) => value + time.data[Math.floor(i / (tokens * width)) * width + (i % width)]!)
  const encoded = activation(withTime, 'silu')
  const own = parameters.has('s_projector.weight') ? affine('s_projector', encoded) : encoded
  const conditions = reshape(own, [batch * tokens, own.shape[2]!])

  const hidden = own.shape[2]!
  let stream = patchEmbed(x, p('x_embedder.proj.weight'), p('x_embedder.proj.bias'), zeros([tokens, hidden]))
  for (let i = 0; i < config.head.depth; i++) {
    stream = block(stream, conditions, `blocks.${config.depth + i}`, config.head.heads, 'dec_feat_rope')
  }
  const modulation = affine('final_layer.adaLN_modulation.1', activation(conditions, 'silu'))
  const patches = affine('final_layer.linear', modulated(stream, modulation, [0, 1], 'final_layer.norm_final'))
  const [, channels, height, imageWidth] = x.shape as [number, number, number, number]
  return { trunk, velocity: unpatchify(patches, { patch, channels, height, width: imageWidth }) }
}
