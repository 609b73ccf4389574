/** The layouts of DINOv3's published weights, written from tensors under its authors' names. */
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import type { NdArray } from '../reference/array.ts'
import type { Checkpoint, Weights } from './published-files.ts'

const tensor = ({ shape, data }: NdArray): HostTensor => hostFloat32(Float32Array.from(data), shape)
const filled = (value: number, shape: readonly number[]) =>
  hostFloat32(new Float32Array(shape.reduce((count, axis) => count * axis, 1)).fill(value), shape)

/** The third of a tensor's rows that belongs to queries (0), keys (1) or values (2). */
function third({ shape, data }: NdArray, which: number): NdArray {
  const [rows, ...rest] = shape as [number, ...number[]]
  const size = data.length / 3
  return { shape: [rows / 3, ...rest], data: data.slice(which * size, (which + 1) * size) }
}

/** dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth: the backbone's state dict, its buffers and its mask token with it. */
export function authorsFile(weights: Weights): Map<string, HostTensor> {
  const state = new Map<string, HostTensor>()
  for (const [name, value] of weights) state.set(name.replace('register_tokens', 'storage_tokens'), tensor(value))
  const width = weights.get('cls_token')!.shape[2]!
  state.set('mask_token', filled(9, [1, width]))
  for (const name of weights.keys()) {
    if (!name.endsWith('.attn.qkv.bias')) continue
    const mask = filled(1, [3 * width])
    new Float32Array(mask.data.buffer).fill(0, width, 2 * width)
    state.set(`${name}_mask`, mask)
  }
  return state
}

/** With the periods of its rotary positions, as its files have them. */
export const withPeriods = (file: Map<string, HostTensor>, periods: readonly number[]): Map<string, HostTensor> =>
  new Map([...file, ['rope_embed.periods', hostFloat32(Float32Array.from(periods), [periods.length])]])

/** The teacher in a checkpoint of the training, with its heads. */
export const trainingFile = (weights: Weights): Checkpoint =>
  new Map([
    [
      'teacher',
      new Map<string, HostTensor>([
        ...[...authorsFile(weights)].map(([name, value]) => [`backbone.${name}`, value] as const),
        ['dino_head.mlp.0.weight', filled(1, [2, 3])],
        ['ibot_head.last_layer.weight', filled(1, [2, 3])],
      ]),
    ],
  ])

const TRANSFORMERS: readonly (readonly [RegExp, string])[] = [
  [/^(cls_token|register_tokens)$/, 'embeddings.$1'],
  [/^patch_embed\.proj/, 'embeddings.patch_embeddings'],
  [/^blocks\./, 'layer.'],
  [/\.attn\.proj/, '.attention.o_proj'],
  [/\.ls([12])\.gamma/, '.layer_scale$1.lambda1'],
  [/\.mlp\.(fc1|w2)/, '.mlp.up_proj'],
  [/\.mlp\.w1/, '.mlp.gate_proj'],
  [/\.mlp\.(fc2|w3)/, '.mlp.down_proj'],
]

/** model.safetensors of facebook/dinov3-vitb16-pretrain-lvd1689m: three projections of attention, keys without a bias. */
export function transformersFile(weights: Weights): Checkpoint {
  const state = new Map<string, HostTensor>()
  const width = weights.get('cls_token')!.shape[2]!
  state.set('embeddings.mask_token', filled(9, [1, 1, width]))
  for (const [name, value] of weights) {
    const renamed = TRANSFORMERS.reduce((text, [from, to]) => text.replace(from, to), name)
    if (!name.includes('.attn.qkv.')) {
      state.set(renamed, tensor(value))
      continue
    }
    for (const [i, part] of ['q', 'k', 'v'].entries()) {
      if (part === 'k' && name.endsWith('.bias')) continue
      state.set(renamed.replace('attn.qkv', `attention.${part}_proj`), tensor(third(value, i)))
    }
  }
  return state
}

const TIMM: readonly (readonly [RegExp, string])[] = [
  [/^register_tokens$/, 'reg_token'],
  [/\.ls([12])\.gamma/, '.gamma_$1'],
  [/\.mlp\.w1/, '.mlp.fc1_g'],
  [/\.mlp\.w2/, '.mlp.fc1_x'],
  [/\.mlp\.w3/, '.mlp.fc2'],
]

/** model.safetensors of timm's vit_base_patch16_dinov3_qkvb; its vit_base_patch16_dinov3 has no bias of queries and values either. */
export function timmFile(weights: Weights): Map<string, HostTensor> {
  const state = new Map<string, HostTensor>()
  for (const [name, value] of weights) {
    const renamed = TIMM.reduce((text, [from, to]) => text.replace(from, to), name)
    if (!name.endsWith('.attn.qkv.bias')) {
      state.set(renamed, tensor(value))
      continue
    }
    state.set(renamed.replace('qkv.bias', 'q_bias'), tensor(third(value, 0)))
    state.set(renamed.replace('qkv.bias', 'v_bias'), tensor(third(value, 2)))
  }
  return state
}
