import { type Activation, activation, swiGlu } from './activation.ts'
import { map, type NdArray, reshape, sum, zeros } from './array.ts'
import { attention, causalAttention } from './attention.ts'
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
  /** Rotary positions in the table's place, as DINOv3 has them: the periods of a quarter of a head's columns. */
  readonly rope?: { readonly periods: readonly number[] } | undefined
  /** Whether keys have a bias; default true. */
  readonly keyBias?: boolean
}

/** The patch tokens [B, T, D] that REPA takes from a normalised image [B, 3, H, W], the table resampled to its grid. */
export function patchFeatures(image: NdArray, model: ViTReference): NdArray {
  const { tokens, before } = features(image, model)
  return withoutTokens(tokens, before)
}

/** The class token [B, D] of a normalised image [B, 3, H, W]. */
export function classFeatures(image: NdArray, model: ViTReference): NdArray {
  const { tokens } = features(image, model)
  const [batch, count, width] = tokens.shape as [number, number, number]
  const out = zeros([batch, width])
  return map(out, (_, i) => tokens.data[Math.floor(i / width) * count * width + (i % width)]!)
}

/** All tokens [B, N, D], and how many stand before the patches'. */
function features(image: NdArray, model: ViTReference): { readonly tokens: NdArray; readonly before: number } {
  const { of, norm } = layersOf(model)
  const kernel = of('patch_embed.proj.weight')
  const [hidden, , patch] = kernel.shape as [number, number, number]
  const grid = [image.shape[2]! / patch, image.shape[3]! / patch] as const
  const first = model.classToken ? 1 : 0

  const bias = model.patchBias ? of('patch_embed.proj.bias') : zeros([hidden])
  const positions = model.rope
    ? zeros([grid[0] * grid[1], hidden])
    : resampled(of('pos_embed'), first, grid, model.tableAntialias ?? true)
  const patches = patchEmbed(image, kernel, bias, positions)
  const registers = model.weights.get('register_tokens')
  let x = registers ? withTokens(patches, registers) : patches
  if (model.classToken)
    x = withTokens(
      x,
      model.rope ? of('cls_token') : sum(reshape(of('cls_token'), [hidden]), firstEntry(of('pos_embed'))),
    )
  const before = x.shape[1]! - patches.shape[1]!
  if (model.preNorm) x = norm(x, 'norm_pre')
  const { rope } = model
  const turn = rope && ((qkv: NdArray) => turned(qkv, rope.periods, grid, before))
  for (let i = 0; i < model.depth; i++) {
    x = block(x, `blocks.${i}`, model, turn)
  }
  if (model.finalNorm) x = norm(x, 'norm')
  return { tokens: x, before }
}

type Layers = Pick<ViTReference, 'weights' | 'epsilon' | 'keyBias'>

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

/** What leaves the block of a name, x [B, N, D]; `turn` is what is done to queries and keys; `causal`: a token sees those up to itself. */
export function block(
  x: NdArray,
  name: string,
  model: Layers & Pick<ViTReference, 'heads' | 'activation'> & { readonly causal?: boolean },
  turn: (qkv: NdArray) => NdArray = (qkv) => qkv,
): NdArray {
  const { of, norm, dense } = layersOf(model)
  const [batch, tokens, hidden] = x.shape as [number, number, number]
  const heads = [batch, tokens, 3, model.heads, hidden / model.heads]
  const isKey = (index: number) => index >= hidden && index < 2 * hidden
  const bias = map(of(`${name}.attn.qkv.bias`), (value, i) => (model.keyBias === false && isKey(i) ? 0 : value))
  const qkv = reshape(linear(norm(x, `${name}.norm1`), of(`${name}.attn.qkv.weight`), bias), heads)
  /** LayerScale, where the block has it. */
  const scaled = (branch: NdArray, gamma: string) => {
    const factors = model.weights.get(gamma)
    return factors ? map(branch, (value, i) => value * factors.data[i % hidden]!) : branch
  }
  const o = model.causal ? causalAttention(turn(qkv)) : attention(turn(qkv)).o
  const attended = sum(x, scaled(dense(o, `${name}.attn.proj`), `${name}.ls1.gamma`))
  const inner = norm(attended, `${name}.norm2`)
  const ffn = () => dense(activation(dense(inner, `${name}.mlp.fc1`), model.activation), `${name}.mlp.fc2`)
  const swiGluFfn = () => {
    const [gate, up] = [dense(inner, `${name}.mlp.w1`), dense(inner, `${name}.mlp.w2`)]
    return dense(swiGlu(sideBySide(gate, up)), `${name}.mlp.w3`)
  }
  return sum(attended, scaled(model.weights.has(`${name}.mlp.w1.weight`) ? swiGluFfn() : ffn(), `${name}.ls2.gamma`))
}

/** [a | b] along the last axis. */
function sideBySide(a: NdArray, b: NdArray): NdArray {
  const width = a.shape.at(-1)!
  const out = zeros([...a.shape.slice(0, -1), 2 * width])
  for (let row = 0; row < a.data.length / width; row++) {
    out.data.set(a.data.subarray(row * width, (row + 1) * width), 2 * row * width)
    out.data.set(b.data.subarray(row * width, (row + 1) * width), (2 * row + 1) * width)
  }
  return out
}

/**
 * DINOv3's rotary positions: queries and keys of the tokens behind the first `before` of qkv [B, N, 3, H, d] become
 * x cos + [-x2 | x1] sin for the halves x1 and x2 of a head, at the angles 2 pi c / period of the row's centre c in [-1, 1], then the
 * column's, and the same again for the second half.
 */
function turned(
  qkv: NdArray,
  periods: readonly number[],
  [rows, columns]: readonly [number, number],
  before: number,
): NdArray {
  const [batch, tokens, , heads, d] = qkv.shape as [number, number, number, number, number]
  const out = { shape: qkv.shape, data: qkv.data.slice() }
  const centre = (index: number, count: number) => (2 * (index + 0.5)) / count - 1
  for (let patch = 0; patch < rows * columns; patch++) {
    const centres = [centre(Math.floor(patch / columns), rows), centre(patch % columns, columns)]
    const angles = centres.flatMap((c) => periods.map((period) => (2 * Math.PI * c) / period))
    for (let b = 0; b < batch; b++) {
      for (let head = 0; head < 2 * heads; head++) {
        const at = ((b * tokens + before + patch) * 3 * heads + head) * d
        for (const [i, angle] of angles.entries()) {
          const [x1, x2] = [qkv.data[at + i]!, qkv.data[at + d / 2 + i]!]
          out.data[at + i] = x1 * Math.cos(angle) - x2 * Math.sin(angle)
          out.data[at + d / 2 + i] = x2 * Math.cos(angle) + x1 * Math.sin(angle)
        }
      }
    }
  }
  return out
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

function firstEntry(table: NdArray): NdArray {
  const width = table.shape.at(-1)!
  return { shape: [width], data: table.data.slice(0, width) }
}

/** [first | rest]: M tokens of width D before every sample's of [B, N, D]. */
function withTokens(rest: NdArray, first: NdArray): NdArray {
  const [batch, tokens, width] = rest.shape as [number, number, number]
  const all = tokens + first.data.length / width
  const out = zeros([batch, all, width])
  for (let b = 0; b < batch; b++) {
    out.data.set(first.data, b * all * width)
    out.data.set(rest.data.subarray(b * tokens * width, (b + 1) * tokens * width), b * all * width + first.data.length)
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
