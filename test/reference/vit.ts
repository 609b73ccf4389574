import { type Activation, activation } from './activation.ts'
import { type NdArray, reshape, sum, zeros } from './array.ts'
import { attention } from './attention.ts'
import { layerNorm } from './layer-norm.ts'
import { linear } from './linear.ts'
import { patchEmbed } from './patch-embed.ts'
import { resize } from './resize.ts'

/** How a family's vision transformer computes. Weights are under timm's names, as [out, in] matrices and [D] vectors. */
export interface ViTReference {
  readonly weights: ReadonlyMap<string, NdArray>
  readonly depth: number
  readonly heads: number
  readonly epsilon: number
  readonly activation: Activation
  readonly classToken: boolean
  readonly preNorm: boolean
  readonly finalNorm: boolean
  readonly patchBias: boolean
  /** Of the table's resampling: timm's (default), without it the Transformers library's. */
  readonly tableAntialias?: boolean
}

/** The patch tokens [B, T, D] that REPA takes from a normalised image [B, 3, H, W], the table resampled to its grid. */
export function patchFeatures(image: NdArray, model: ViTReference): NdArray {
  const { of, norm } = layersOf(model)
  const kernel = of('patch_embed.proj.weight')
  const [hidden, , patch] = kernel.shape as [number, number, number]
  const grid = [image.shape[2]! / patch, image.shape[3]! / patch] as const
  const first = model.classToken ? 1 : 0

  const bias = model.patchBias ? of('patch_embed.proj.bias') : zeros([hidden])
  const positions = resampled(of('pos_embed'), first, grid, model.tableAntialias ?? true)
  const patches = patchEmbed(image, kernel, bias, positions)
  let x = model.classToken ? withFirstToken(patches, of('cls_token'), of('pos_embed')) : patches
  if (model.preNorm) x = norm(x, 'norm_pre')
  for (let i = 0; i < model.depth; i++) {
    x = block(x, `blocks.${i}`, model)
  }
  if (model.finalNorm) x = norm(x, 'norm')
  return withoutTokens(x, first)
}

type Layers = Pick<ViTReference, 'weights' | 'epsilon'>

/** Weights and layers by their names. */
export function layersOf({ weights, epsilon }: Layers) {
  const of = (name: string): NdArray => {
    const value = weights.get(name)
    if (!value) throw new Error(`the reference has no ${name}`)
    return value
  }
  return {
    of,
    norm: (x: NdArray, name: string) => layerNorm(x, of(`${name}.weight`), of(`${name}.bias`), epsilon),
    dense: (x: NdArray, name: string) => linear(x, of(`${name}.weight`), of(`${name}.bias`)),
  }
}

/** What leaves the block of a name, x [B, N, D]. */
export function block(x: NdArray, name: string, model: Layers & Pick<ViTReference, 'heads' | 'activation'>): NdArray {
  const { norm, dense } = layersOf(model)
  const [batch, tokens, hidden] = x.shape as [number, number, number]
  const heads = [batch, tokens, 3, model.heads, hidden / model.heads]
  const qkv = reshape(dense(norm(x, `${name}.norm1`), `${name}.attn.qkv`), heads)
  const attended = sum(x, dense(attention(qkv).o, `${name}.attn.proj`))
  const inner = activation(dense(norm(attended, `${name}.norm2`), `${name}.mlp.fc1`), model.activation)
  return sum(attended, dense(inner, `${name}.mlp.fc2`))
}

/**
 * The entries behind the first `first`, bicubic, [rows·columns, D]: timm's resample_abs_pos_embed with antialias, the Transformers
 * library's interpolate_pos_encoding without.
 */
function resampled(
  table: NdArray,
  first: number,
  [rows, columns]: readonly [number, number],
  antialias: boolean,
): NdArray {
  const width = table.shape.at(-1)!
  const side = Math.sqrt(table.data.length / width - first)
  const planes = zeros([width, side, side])
  for (let t = 0; t < side * side; t++) {
    for (let d = 0; d < width; d++) planes.data[d * side * side + t] = table.data[(first + t) * width + d]!
  }
  const isOwn = rows === side && columns === side
  const fitted = isOwn ? planes : resize(planes, rows, columns, { method: 'bicubic', antialias })
  const out = zeros([rows * columns, width])
  for (let t = 0; t < rows * columns; t++) {
    for (let d = 0; d < width; d++) out.data[t * width + d] = fitted.data[d * rows * columns + t]!
  }
  return out
}

function withFirstToken(patches: NdArray, token: NdArray, table: NdArray): NdArray {
  const [batch, tokens, width] = patches.shape as [number, number, number]
  const out = zeros([batch, tokens + 1, width])
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < width; d++) out.data[b * (tokens + 1) * width + d] = token.data[d]! + table.data[d]!
    out.data.set(patches.data.subarray(b * tokens * width, (b + 1) * tokens * width), (b * (tokens + 1) + 1) * width)
  }
  return out
}

function withoutTokens(x: NdArray, first: number): NdArray {
  const [batch, tokens, width] = x.shape as [number, number, number]
  const out = zeros([batch, tokens - first, width])
  for (let b = 0; b < batch; b++) {
    out.data.set(x.data.subarray((b * tokens + first) * width, (b + 1) * tokens * width), b * (tokens - first) * width)
  }
  return out
}
