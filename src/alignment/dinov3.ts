import { IMAGENET } from '../models/image-normalisation.ts'
import { type FileTensor, renamedState } from '../models/renamed-state.ts'
import type { VisionTransformerConfig, VisionTransformerOptions } from '../models/vit-config.ts'
import { DINOV3_PRESETS, DINOV3_TRAITS } from '../models/vit-presets.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../tensor/host-tensor.ts'
import { backbonePrefix } from './backbone.ts'
import type { EncoderFamily } from './encoder-family.ts'

/** What its authors call the files of the weights that were trained on LVD-1689M; each ends with the beginning of its SHA-256. */
const PUBLISHED: Readonly<Record<string, string>> = {
  'dinov3-vit-s16': 'dinov3_vits16_pretrain_lvd1689m-08c60483.pth',
  'dinov3-vit-s16plus': 'dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth',
  'dinov3-vit-b16': 'dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth',
  'dinov3-vit-l16': 'dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth',
  'dinov3-vit-l16plus': 'dinov3_vitl16plus_pretrain_lvd1689m-46503df0.pth',
  'dinov3-vit-h16plus': 'dinov3_vith16plus_pretrain_lvd1689m-7c1da9a5.pth',
  'dinov3-vit-7b16': 'dinov3_vit7b16_pretrain_lvd1689m-a955f4ea.pth',
}

/** A writer's names of the tensors. */
interface Layout {
  /** A tensor by which it is told. */
  readonly landmark: string
  /** Another of the backbone's own, beside it. */
  readonly beside: string
  /** Each of its names, or what it begins with, and the model's: of three projections of attention or two of SwiGLU `q`, `k`, `v`, `w1`, `w2`. */
  readonly names: readonly (readonly [RegExp, string])[]
}

const LAYOUTS = {
  /** facebookresearch/dinov3. */
  authors: {
    landmark: 'storage_tokens',
    beside: 'cls_token',
    names: [[/^storage_tokens$/, 'register_tokens']],
  },
  /** The Transformers library. */
  transformers: {
    landmark: 'embeddings.register_tokens',
    beside: 'embeddings.cls_token',
    names: [
      [/^embeddings\.patch_embeddings\./, 'patch_embed.proj.'],
      [/^embeddings\./, ''],
      [/^(model\.)?layer\./, 'blocks.'],
      [/\.attention\.([qkv])_proj\./, '.attn.$1.'],
      [/\.attention\.o_proj\./, '.attn.proj.'],
      [/\.layer_scale([12])\.lambda1$/, '.ls$1.gamma'],
      [/\.mlp\.gate_proj\./, '.mlp.w1.'],
    ],
  },
  /** timm, whose file of this name is an EVA. */
  timm: {
    landmark: 'reg_token',
    beside: 'cls_token',
    names: [
      [/^reg_token$/, 'register_tokens'],
      [/\.attn\.([qv])_bias$/, '.attn.$1.bias'],
      [/\.gamma_([12])$/, '.ls$1.gamma'],
      [/\.mlp\.fc1_g\./, '.mlp.w1.'],
      [/\.mlp\.fc1_x\./, '.mlp.w2.'],
    ],
  },
} as const satisfies Readonly<Record<string, Layout>>

/** Known, and without a part in features: periods are read for themselves, and keys have no bias, whatever a file holds for them. */
const UNUSED = /^(mask_token|rope_embed\.periods|local_cls_norm\..*|head\..*|.*\.attn\.qkv\.bias_mask)$/

/**
 * DINOv3 (arXiv 2508.10104): the patch tokens behind the final norm (x_norm_patchtokens). REPA does not know it, iREPA aligns with it,
 * under these names. Its positions are rotary: images of any size are seen as they are, 256 pixels as 16 x 16 patches.
 *
 * Read are the files of its authors, of the backbone or of the teacher in training, of the Transformers library and of timm. Of SwiGLU they
 * hold two matrices where there is one here; and rows of queries and keys are put so that the two columns of a head that DINOv3 turns
 * together, i and i + head_dim / 2, are neighbours, which changes no product of a query with a key but for the order of its sum.
 */
export const dinov3: EncoderFamily = {
  title: 'DINOv3',
  presets: DINOV3_PRESETS,
  traits: DINOV3_TRAITS,
  statistics: IMAGENET,
  publishedFile: (name) => `${PUBLISHED[name]}, for which https://github.com/facebookresearch/dinov3 has a form`,
  largeGrids: () => true,
  state(file) {
    const { layout, prefix } = placeOf(file)
    requireLvd(file, prefix)
    return renamedState(file, tensorsOf(file, layout, prefix))
  },
  async statedTraits(file): Promise<Partial<VisionTransformerOptions>> {
    const name = `${placeOf(file).prefix}rope_embed.periods`
    if (!file.names.includes(name)) return {}
    return { rope: { ...DINOV3_TRAITS.rope, periods: [...toFloat32(await file.read(name))] } }
  },
  arranged,
}

function placeOf(file: StateSource): { layout: Layout; prefix: string } {
  const has = ({ landmark }: Layout) => file.names.some((name) => name === landmark || name.endsWith(`.${landmark}`))
  const layout = [LAYOUTS.transformers, LAYOUTS.timm].find(has) ?? LAYOUTS.authors
  if (layout === LAYOUTS.authors && file.names.some((name) => /(^|\.)downsample_layers\./.test(name))) {
    throw new Error(`${file.name} holds a ConvNeXt; of DINOv3 the vision transformers are encoders here.`)
  }
  return { layout, prefix: backbonePrefix(file, { family: 'DINOv3', ...layout }) }
}

/**
 * The models that were trained on satellite images (SAT-493M) see them normalised otherwise. L's file is told by a norm that L of
 * LVD-1689M does not have; of the 7B's two files both have it.
 */
function requireLvd(file: StateSource, prefix: string): void {
  const norm = `${prefix}local_cls_norm.weight`
  if (!file.names.includes(norm) || file.shapeOf(norm)[0] !== 1024) return
  throw new Error(
    `${file.name} holds the DINOv3 that was trained on satellite images (SAT-493M), which are normalised otherwise; pass ` +
      `${PUBLISHED['dinov3-vit-l16']}.`,
  )
}

/** The file's tensors by the model's names, but for the parts of attention's bias, which keep their own. */
function tensorsOf(file: StateSource, { names }: Layout, prefix: string): Map<string, FileTensor> {
  const parts = new Map<string, string>()
  for (const from of file.names) {
    if (!from.startsWith(prefix)) continue
    const name = names.reduce((text, [own, ours]) => text.replace(own, ours), from.slice(prefix.length))
    if (!UNUSED.test(name)) parts.set(name, from)
  }
  // The Transformers library calls SwiGLU's last two matrices as an MLP's two.
  const isGated = parts.has('blocks.0.mlp.w1.weight')
  const tensors = new Map<string, FileTensor>()
  for (const [part, from] of parts) {
    const name = part
      .replace(/\.mlp\.up_proj\./, isGated ? '.mlp.w2.' : '.mlp.fc1.')
      .replace(/\.mlp\.(down_proj|fc2)\./, isGated ? '.mlp.w3.' : '.mlp.fc2.')
    tensors.set(name, { from })
  }
  stack(tensors, ['attn.q.weight', 'attn.k.weight', 'attn.v.weight'], 'attn.qkv.weight')
  for (const kind of ['weight', 'bias']) stack(tensors, [`mlp.w1.${kind}`, `mlp.w2.${kind}`], `mlp.w12.${kind}`)
  return tensors
}

/** Makes one tensor of several of the same block, wherever all of them are there. */
function stack(tensors: Map<string, FileTensor>, [first, ...others]: readonly string[], whole: string): void {
  for (const name of [...tensors.keys()]) {
    if (!name.endsWith(`.${first}`)) continue
    const block = name.slice(0, -first!.length)
    const parts = [name, ...others.map((part) => `${block}${part}`)]
    if (!parts.every((part) => tensors.has(part))) continue
    tensors.set(`${block}${whole}`, { from: parts.map((part) => tensors.get(part)!.from as string) })
    for (const part of parts) tensors.delete(part)
  }
}

/** With the columns of queries and keys in pairs, and with a bias of queries and values, or none, as one with zeros for what lacks it. */
function arranged(state: StateSource, { hidden, depth, heads }: VisionTransformerConfig): StateSource {
  const given = new Set(state.names)
  const biases = new Map<string, readonly [q: string, v: string] | undefined>()
  for (let block = 0; block < depth; block++) {
    const [whole, q, v] = ['qkv', 'q', 'v'].map((part) => `blocks.${block}.attn.${part}.bias`) as [
      string,
      string,
      string,
    ]
    if (given.has(whole) || given.has(q) !== given.has(v)) continue
    biases.set(whole, given.has(q) ? [q, v] : undefined)
    given.delete(q)
    given.delete(v)
  }
  const bias = async (name: string): Promise<Float32Array> => {
    const values = new Float32Array(3 * hidden)
    const parts = biases.get(name)
    if (parts) {
      values.set(toFloat32(await state.read(parts[0])), 0)
      values.set(toFloat32(await state.read(parts[1])), 2 * hidden)
    } else if (!biases.has(name)) {
      values.set(toFloat32(await state.read(name)))
    }
    return values.fill(0, hidden, 2 * hidden)
  }
  return {
    name: state.name,
    names: [...given, ...biases.keys()],
    shapeOf: (name) => (biases.has(name) ? [3 * hidden] : state.shapeOf(name)),
    async read(name) {
      const isBias = name.endsWith('.attn.qkv.bias')
      if (isBias) return inPairs(hostFloat32(await bias(name), [3 * hidden]), hidden / heads)
      const tensor = await state.read(name)
      return name.endsWith('.attn.qkv.weight') ? inPairs(tensor, hidden / heads) : tensor
    },
  }
}

/** Rows of the projection to queries, keys and values: of each head of the first two, rows i and i + headDim/2 one behind the other. */
function inPairs({ dtype, shape, data }: HostTensor, headDim: number): HostTensor {
  const rows = shape[0]!
  const bytes = data.length / rows
  const paired = data.slice()
  for (let row = 0; row < (2 / 3) * rows; row++) {
    const column = row % headDim
    const from = row - column + Math.floor(column / 2) + (column % 2) * (headDim / 2)
    paired.set(data.subarray(from * bytes, (from + 1) * bytes), row * bytes)
  }
  return { dtype, shape, data: paired }
}
