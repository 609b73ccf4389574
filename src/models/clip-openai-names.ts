import type { StateSource } from '../nn/state-dict.ts'
import type { FileTensor } from './renamed-state.ts'

/** OpenAI's names of a block's layers, and open_clip's. */
const LAYERS: Readonly<Record<string, string>> = {
  ln_1: 'norm1',
  'attn.in_proj': 'attn.qkv',
  'attn.out_proj': 'attn.proj',
  ln_2: 'norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
}

/**
 * The blocks of one of CLIP's towers as OpenAI and open_clip write them, `transformer.resblocks.INDEX.…` behind a prefix (`visual.` of
 * the images', none of the text's), under the names of models/vit.ts.
 */
export function openaiBlocks(file: StateSource, prefix: string): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>()
  for (const from of file.names) {
    if (!from.startsWith(prefix)) continue
    // Attention's first projection is one parameter: in_proj_weight, not in_proj.weight.
    const [, index, layer, kind] =
      /^transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)$/.exec(from.slice(prefix.length)) ?? []
    if (layer === undefined) continue
    const name = Object.hasOwn(LAYERS, layer) ? LAYERS[layer] : layer
    tensors.set(`blocks.${index}.${name}.${kind}`, { from })
  }
  return tensors
}
