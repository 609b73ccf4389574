/** A small representation autoencoder (RAE) as its authors', the Transformers library and diffusers write its parts. */
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { fromValues, map, type NdArray, random } from '../reference/array.ts'
import { DrawnWeights } from '../reference/drawn-weights.ts'

export const GRID = 2
export const LATENT = 64
export const ENCODER = { depth: 2, heads: 1, patch: 3 } as const
export const DECODER = { hidden: 128, depth: 2, heads: 2, ffnWidth: 96, patch: 4 } as const

type Weights = Map<string, NdArray>
export type State = Map<string, HostTensor>

/** Its blocks have timm's names. */
class DrawnBlocks extends DrawnWeights {
  block(name: string, width: number, ffnWidth: number) {
    this.norm(`${name}.norm1`, width)
    this.dense(`${name}.attn.qkv`, 3 * width, width)
    this.dense(`${name}.attn.proj`, width, width)
    this.norm(`${name}.norm2`, width)
    this.dense(`${name}.mlp.fc1`, ffnWidth, width)
    this.dense(`${name}.mlp.fc2`, width, ffnWidth)
  }
}

/** DINOv2 with registers, of timm's names; its positions are of a grid of 3 x 3. */
export function encoderWeights(): Weights {
  const drawn = new DrawnBlocks(100, 0.1)
  drawn.add('cls_token', [1, 1, LATENT], 0.1)
  drawn.add('pos_embed', [1, 10, LATENT], 0.1)
  drawn.add('register_tokens', [1, 4, LATENT], 0.1)
  drawn.add('mask_token', [1, LATENT], 0.1)
  drawn.add('patch_embed.proj.weight', [LATENT, 3, ENCODER.patch, ENCODER.patch], 0.2)
  drawn.add('patch_embed.proj.bias', [LATENT], 0.1)
  for (let i = 0; i < ENCODER.depth; i++) {
    drawn.block(`blocks.${i}`, LATENT, 4 * LATENT)
    for (const branch of ['ls1', 'ls2']) drawn.add(`blocks.${i}.${branch}.gamma`, [LATENT], 0.3, 0.5)
  }
  drawn.norm('norm', LATENT)
  return drawn.weights
}

/** Its blocks have timm's names. */
export function decoderWeights(): Weights {
  const { hidden, depth, ffnWidth, patch } = DECODER
  const drawn = new DrawnBlocks(300, 0.1)
  drawn.dense('decoder_embed', hidden, LATENT)
  drawn.add('decoder_pos_embed', [1, 1 + GRID ** 2, hidden], 0.3)
  drawn.add('trainable_cls_token', [1, 1, hidden], 0.3)
  for (let i = 0; i < depth; i++) drawn.block(`decoder_layers.${i}`, hidden, ffnWidth)
  drawn.norm('decoder_norm', hidden)
  drawn.dense('decoder_pred', 3 * patch ** 2, hidden)
  return drawn.weights
}

/** Mean and variance of every channel and place. */
export const statistics = {
  mean: map(random([LATENT, GRID, GRID], 500, 0.3), Math.fround),
  var: map(random([LATENT, GRID, GRID], 501, 0.3), (value) => Math.fround(0.5 + Math.abs(value))),
}

const tensor = ({ shape, data }: NdArray): HostTensor => hostFloat32(Float32Array.from(data), shape)

/** Renames, and divides attention's first projection among three names, which stand for `attn.qkv`. */
function written(
  weights: Weights,
  names: readonly (readonly [RegExp, string])[],
  projections: readonly string[],
): State {
  const state: State = new Map()
  for (const [name, value] of weights) {
    const renamed = names.reduce((text, [from, to]) => text.replace(from, to), name)
    if (!name.includes('attn.qkv')) {
      state.set(renamed, tensor(value))
      continue
    }
    const [rows, ...rest] = value.shape as [number, ...number[]]
    const size = value.data.length / 3
    for (const [i, projection] of projections.entries()) {
      const part = fromValues([rows / 3, ...rest], value.data.slice(i * size, (i + 1) * size))
      state.set(renamed.replace('attn.qkv', projection), tensor(part))
    }
  }
  return state
}

const HF = ['query', 'key', 'value'].map((name) => `attention.attention.${name}`)

/** dinov2_vitb14_reg4_pretrain.pth. */
export const authorsEncoder = (): State => new Map([...encoderWeights()].map(([name, value]) => [name, tensor(value)]))

/** model.safetensors of facebook/dinov2-with-registers-base. */
export const transformersEncoder = (): State =>
  written(
    encoderWeights(),
    [
      [/^(cls_token|register_tokens|mask_token)$/, 'embeddings.$1'],
      [/^pos_embed$/, 'embeddings.position_embeddings'],
      [/^patch_embed\.proj/, 'embeddings.patch_embeddings.projection'],
      [/^blocks/, 'encoder.layer'],
      [/attn\.proj/, 'attention.output.dense'],
      [/\.ls([12])\.gamma/, '.layer_scale$1.lambda1'],
      [/^norm\./, 'layernorm.'],
    ],
    HF,
  )

const DECODER_NAMES: readonly (readonly [RegExp, string])[] = [
  [/\.norm1\./, '.layernorm_before.'],
  [/\.norm2\./, '.layernorm_after.'],
  [/\.mlp\.fc1\./, '.intermediate.dense.'],
  [/\.mlp\.fc2\./, '.output.dense.'],
]

/** decoders/dinov2/wReg_base/ViTXL_n08/model.pt. */
export const authorsDecoder = (): State =>
  written(decoderWeights(), [...DECODER_NAMES, [/\.attn\.proj\./, '.attention.output.dense.']], HF)

/** stats/dinov2/wReg_base/imagenet1k/stat.pt. */
export const authorsStatistics = (): State =>
  new Map(Object.entries(statistics).map(([name, value]) => [name, tensor(value)]))

/** diffusion_pytorch_model.safetensors of an AutoencoderRAE; its deviations are the roots of the variances. */
export function diffusersWhole(): State {
  const decoder = written(
    decoderWeights(),
    [...DECODER_NAMES, [/\.attn\.proj\./, '.attention.to_out.0.']],
    ['attention.to_q', 'attention.to_k', 'attention.to_v'],
  )
  const encoder = [...transformersEncoder()].filter(([name]) => !name.startsWith('layernorm.'))
  return new Map<string, HostTensor>([
    ...encoder.map(([name, value]) => [`encoder.model.${name}`, value] as const),
    ...[...decoder].map(([name, value]) => [`decoder.${name}`, value] as const),
    ['encoder_mean', hostFloat32(Float32Array.of(0.485, 0.456, 0.406), [1, 3, 1, 1])],
    ['encoder_std', hostFloat32(Float32Array.of(0.229, 0.224, 0.225), [1, 3, 1, 1])],
    ['_latents_mean', tensor(statistics.mean)],
    ['_latents_std', tensor(map(statistics.var, Math.sqrt))],
  ])
}
