/** The layouts in which CLIP's weights are published, written from tensors under the names of src/models/clip-text.ts. */
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { asFileTensor } from '../models/clip-text-weights.ts'
import type { NdArray } from '../reference/array.ts'

type Weights = ReadonlyMap<string, NdArray>
export type FileTensors = Map<string, HostTensor>

const any = hostFloat32(new Float32Array(6), [2, 3])

function renamed(weights: Weights, names: readonly (readonly [RegExp, string])[]): FileTensors {
  return new Map(
    [...weights].map(([name, value]) => [
      names.reduce((text, [from, to]) => text.replace(from, to), name),
      asFileTensor(value),
    ]),
  )
}

/** The text tower in OpenAI's names, as open_clip writes it too. */
export const openaiTower = (weights: Weights): FileTensors =>
  renamed(weights, [
    [/^position_embedding\.weight$/, 'positional_embedding'],
    [/^blocks/, 'transformer.resblocks'],
    [/\.norm([12])\./, '.ln_$1.'],
    [/attn\.qkv\./, 'attn.in_proj_'],
    [/attn\.proj/, 'attn.out_proj'],
    [/mlp\.fc1/, 'mlp.c_fc'],
    [/mlp\.fc2/, 'mlp.c_proj'],
    [/^final_layer_norm/, 'ln_final'],
  ])

/** ViT-L-14.pt: with the image tower and the projections. */
export function openaiModel(weights: Weights): FileTensors {
  const state = openaiTower(weights)
  for (const name of [
    'visual.class_embedding',
    'visual.positional_embedding',
    'visual.transformer.resblocks.0.attn.in_proj_weight',
    'visual.transformer.resblocks.11.ln_1.weight',
    'text_projection',
    'logit_scale',
    'context_length',
    'vocab_size',
  ]) {
    state.set(name, any)
  }
  return state
}

/** The text tower as the Transformers library writes it (CLIPTextModel): queries, keys and values apart. */
export function transformersTower(weights: Weights, prefix = 'text_model.'): FileTensors {
  const state: FileTensors = new Map()
  for (const [name, value] of weights) {
    const layer = /^blocks\.(\d+)\.(.+)\.(weight|bias)$/.exec(name)
    if (!layer) {
      state.set(`${prefix}${name.replace(/^(token|position)_embedding/, 'embeddings.$&')}`, asFileTensor(value))
      continue
    }
    const [, index, part, kind] = layer
    const inLayer = `${prefix}encoder.layers.${index}.`
    if (part === 'attn.qkv') {
      const [rows, ...others] = value.shape
      const length = value.data.length / 3
      for (const [i, projection] of ['q_proj', 'k_proj', 'v_proj'].entries()) {
        const data = value.data.subarray(i * length, (i + 1) * length)
        state.set(`${inLayer}self_attn.${projection}.${kind}`, asFileTensor({ shape: [rows! / 3, ...others], data }))
      }
    } else {
      const called = part!.replace(/^norm/, 'layer_norm').replace('attn.proj', 'self_attn.out_proj')
      state.set(`${inLayer}${called}.${kind}`, asFileTensor(value))
    }
  }
  // Older versions of the library saved this buffer.
  return state.set(`${prefix}embeddings.position_ids`, any)
}

/** CLIPModel: with the image tower and the projections. */
export function transformersModel(weights: Weights): FileTensors {
  const state = transformersTower(weights)
  for (const name of [
    'vision_model.embeddings.class_embedding',
    'vision_model.encoder.layers.0.self_attn.q_proj.weight',
    'vision_model.post_layernorm.weight',
    'text_projection.weight',
    'visual_projection.weight',
    'logit_scale',
  ]) {
    state.set(name, any)
  }
  return state
}
