import type { StateSource } from '../nn/state-dict.ts'
import type { FileTensor } from './renamed-state.ts'

/** The library's names of a block's layers, but for the three projections of attention. */
const LAYERS: Readonly<Record<string, string>> = {
  layer_norm1: 'norm1',
  'self_attn.out_proj': 'attn.proj',
  layer_norm2: 'norm2',
  'mlp.fc1': 'mlp.fc1',
  'mlp.fc2': 'mlp.fc2',
}

/**
 * The blocks of a tower as the Transformers library writes CLIP's and SigLIP's, `encoder.layers.INDEX.…` behind a prefix
 * (`vision_model.`, `text_model.`), under the names of models/vit.ts. Its three projections of attention are one there.
 */
export function transformersBlocks(file: StateSource, prefix: string): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>()
  for (const from of file.names) {
    if (!from.startsWith(prefix)) continue
    const [, index, layer, kind] = /^encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(from.slice(prefix.length)) ?? []
    if (layer === undefined) continue
    if (layer === 'self_attn.q_proj') {
      const parts = ['q', 'k', 'v'].map((part) => `${prefix}encoder.layers.${index}.self_attn.${part}_proj.${kind}`)
      tensors.set(`blocks.${index}.attn.qkv.${kind}`, { from: parts })
    } else if (!/^self_attn\.[kv]_proj$/.test(layer)) {
      const name = Object.hasOwn(LAYERS, layer) ? LAYERS[layer] : layer
      tensors.set(`blocks.${index}.${name}.${kind}`, { from })
    }
  }
  return tensors
}
