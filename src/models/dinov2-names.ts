import type { StateSource } from '../nn/state-dict.ts'
import { type HostTensor, hostFloat32 } from '../tensor/host-tensor.ts'
import { type FileTensor, present, renamedState } from './renamed-state.ts'

/** The Transformers library's names of a block's layers, but for the three projections of attention. */
const LAYERS: Readonly<Record<string, string>> = {
  'attention.output.dense.weight': 'attn.proj.weight',
  'attention.output.dense.bias': 'attn.proj.bias',
  'layer_scale1.lambda1': 'ls1.gamma',
  'layer_scale2.lambda1': 'ls2.gamma',
  'mlp.weights_in.weight': 'mlp.w12.weight',
  'mlp.weights_in.bias': 'mlp.w12.bias',
  'mlp.weights_out.weight': 'mlp.w3.weight',
  'mlp.weights_out.bias': 'mlp.w3.bias',
}

/** A name of its authors' without the chunk of blocks in which training writes it, `blocks.CHUNK.INDEX.…`; INDEX counts over all chunks. */
export const withoutChunk = (name: string): string => name.replace(/^blocks\.\d+\.(\d+\.)/, 'blocks.$1')

/** Whether a file's names behind a prefix are the Transformers library's of a DINOv2, with or without registers. */
function isTransformersDinov2({ names }: Pick<StateSource, 'names'>, prefix: string): boolean {
  return ['embeddings.cls_token', 'embeddings.patch_embeddings.projection.weight'].every((name) =>
    names.includes(`${prefix}${name}`),
  )
}

/**
 * DINOv2 as the Transformers library writes it (Dinov2Model, Dinov2WithRegistersModel), under the names of models/vit.ts; behind the first of
 * these prefixes where it stands, and undefined behind none.
 */
export function transformersDinov2(file: StateSource, prefixes: readonly string[]): StateSource | undefined {
  const prefix = prefixes.find((found) => isTransformersDinov2(file, found))
  return prefix === undefined ? undefined : renamedState(file, tensorsBehind(prefix, file))
}

function tensorsBehind(prefix: string, file: StateSource): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>([
    ['cls_token', { from: `${prefix}embeddings.cls_token` }],
    ['pos_embed', { from: `${prefix}embeddings.position_embeddings` }],
    ['register_tokens', { from: `${prefix}embeddings.register_tokens` }],
    ['mask_token', { from: `${prefix}embeddings.mask_token` }],
    ['patch_embed.proj.weight', { from: `${prefix}embeddings.patch_embeddings.projection.weight` }],
    ['patch_embed.proj.bias', { from: `${prefix}embeddings.patch_embeddings.projection.bias` }],
    ['norm.weight', { from: `${prefix}layernorm.weight` }],
    ['norm.bias', { from: `${prefix}layernorm.bias` }],
  ])
  for (const from of file.names) {
    if (!from.startsWith(prefix)) continue
    const [, index, layer] = /^encoder\.layer\.(\d+)\.(.+)$/.exec(from.slice(prefix.length)) ?? []
    if (layer === undefined) continue
    const [, part, kind] = /^attention\.attention\.(query|key|value)\.(weight|bias)$/.exec(layer) ?? []
    if (part === undefined) {
      tensors.set(`blocks.${index}.${Object.hasOwn(LAYERS, layer) ? LAYERS[layer] : layer}`, { from })
    } else if (part === 'query') {
      const stem = `${prefix}encoder.layer.${index}.attention.attention`
      const parts = ['query', 'key', 'value'].map((name) => `${stem}.${name}.${kind}`)
      tensors.set(`blocks.${index}.attn.qkv.${kind}`, { from: parts })
    }
  }
  return present(tensors, file)
}

/**
 * DINOv2 as timm writes it (vit_base_patch14_dinov2, vit_base_patch14_reg4_dinov2 and their kin), under the names of models/vit.ts; undefined
 * for another file. timm has no mask token, which takes no part in features; beside registers its class token has its position in it, and the
 * table none for it; and SwiGLU's matrices are called as an MLP's.
 */
export function timmDinov2(file: StateSource): StateSource | undefined {
  const names = new Set(file.names)
  const own = ['cls_token', 'pos_embed', 'blocks.0.ls1.gamma', 'blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc2.weight']
  if (names.has('mask_token') || !own.every((name) => names.has(name))) return undefined
  const isGated = file.shapeOf('blocks.0.mlp.fc1.weight')[0] === 2 * file.shapeOf('blocks.0.mlp.fc2.weight')[1]!
  const renamed = (from: string) => {
    if (from === 'reg_token') return 'register_tokens'
    return isGated ? from.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.') : from
  }
  const state = renamedState(file, new Map(file.names.map((from) => [renamed(from), { from }])))
  const hidden = file.shapeOf('cls_token').at(-1)!
  const lacksClassPosition = (name: string) => name === 'pos_embed' && names.has('reg_token')
  const shapeOf = (name: string): readonly number[] => {
    if (name === 'mask_token') return [1, hidden]
    const shape = state.shapeOf(name)
    return lacksClassPosition(name) ? [1, shape[1]! + 1, hidden] : shape
  }
  return {
    name: file.name,
    names: [...state.names, 'mask_token'],
    shapeOf,
    async read(name): Promise<HostTensor> {
      if (name === 'mask_token') return hostFloat32(new Float32Array(hidden), [1, hidden])
      const tensor = await state.read(name)
      if (!lacksClassPosition(name)) return tensor
      const { dtype, data } = tensor
      const first = Buffer.alloc(data.length / state.shapeOf(name)[1]!)
      return { dtype, shape: shapeOf(name), data: new Uint8Array(Buffer.concat([first, data])) }
    },
  }
}
