/** The layouts in which the families' authors publish their weights, written from tensors under timm's names. */
import type { WritableTorchValue } from '../../src/formats/torch-checkpoint-writer.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import type { NdArray } from '../reference/array.ts'

export type Weights = ReadonlyMap<string, NdArray>
export type Checkpoint = ReadonlyMap<string, WritableTorchValue>

const tensor = ({ shape, data }: NdArray): HostTensor => hostFloat32(Float32Array.from(data), shape)

/** A state dict with its names changed; those that become undefined are left out. */
function stateDict(weights: Weights, rename: (name: string) => string | undefined): Map<string, HostTensor> {
  const state = new Map<string, HostTensor>()
  for (const [name, value] of weights) {
    const renamed = rename(name)
    if (renamed !== undefined) state.set(renamed, tensor(value))
  }
  return state
}

const any = hostFloat32(new Float32Array(6), [2, 3])

/** dino_vitbase16_pretrain.pth: the backbone's state dict itself. */
export const dinoFile = (weights: Weights): Checkpoint => stateDict(weights, (name) => name)

/** dino_vitbase16_pretrain_full_checkpoint.pth: student and teacher with their heads; the teacher's weights count. */
export function dinoTrainingFile(weights: Weights): Checkpoint {
  const teacher = stateDict(weights, (name) => `backbone.${name}`)
  const student = stateDict(weights, (name) => `module.backbone.${name}`)
  for (const [name, { shape, data }] of student)
    student.set(name, { dtype: 'f32', shape, data: new Uint8Array(data.length) })
  return new Map<string, WritableTorchValue>([
    ['student', student.set('module.head.mlp.0.weight', any)],
    ['teacher', teacher.set('head.mlp.0.weight', any)],
    ['epoch', 300],
  ])
}

/** vit-b-300ep.pth.tar: base and momentum encoder with their projection heads, and a predictor; some of the names misspelt. */
export function mocoFile(weights: Weights): Checkpoint {
  const state = stateDict(weights, (name) => {
    const misspelt = name
      .replace('blocks.13.norm1.', 'blocks.13.norm13.')
      .replace('blocks.13.mlp.fc1.', 'blocks.13.mlp.fc13.')
      .replace('blocks.14.norm2.', 'blocks.14.norm14.')
      .replace('blocks.14.mlp.fc2.', 'blocks.14.mlp.fc14.')
    return `module.base_encoder.${misspelt}`
  })
  state.set('module.base_encoder.head.0.weight', any)
  for (const name of weights.keys()) state.set(`module.momentum_encoder.${name}`, any)
  state.set('module.predictor.0.weight', any)
  return new Map<string, WritableTorchValue>([
    ['epoch', 300],
    ['arch', 'vit_base'],
    ['state_dict', state],
  ])
}

/** mae_pretrain_vit_large.pth, whose norm REPA does not use. */
export const maeFile = (weights: Weights): Checkpoint =>
  new Map([
    [
      'model',
      stateDict(weights, (name) => name)
        .set('norm.weight', any)
        .set('norm.bias', any),
    ],
  ])

/** mae_visualize_vit_large.pth: with the decoder. */
export function maeWithDecoderFile(weights: Weights): Checkpoint {
  const state = stateDict(weights, (name) => name)
  for (const name of [
    'norm.weight',
    'mask_token',
    'decoder_pos_embed',
    'decoder_blocks.0.norm1.weight',
    'decoder_pred.bias',
  ]) {
    state.set(name, any)
  }
  return new Map([['model', state]])
}

/** IN1K-vit.h.14-300e.pth.tar: the context encoder beside the target encoder and the predictor. */
export function jepaFile(weights: Weights): Checkpoint {
  const target = stateDict(weights, (name) => `module.${name}`)
  for (const [name, { shape, data }] of target)
    target.set(name, { dtype: 'f32', shape, data: new Uint8Array(data.length) })
  return new Map<string, WritableTorchValue>([
    ['encoder', stateDict(weights, (name) => `module.${name}`)],
    ['predictor', new Map([['module.predictor_embed.weight', any]])],
    ['target_encoder', target],
    ['epoch', 300],
  ])
}

const OPENAI: readonly (readonly [RegExp, string])[] = [
  [/^cls_token$/, 'class_embedding'],
  [/^pos_embed$/, 'positional_embedding'],
  [/^patch_embed\.proj/, 'conv1'],
  [/^norm_pre/, 'ln_pre'],
  [/^blocks/, 'transformer.resblocks'],
  [/\.norm([12])\./, '.ln_$1.'],
  [/attn\.qkv\./, 'attn.in_proj_'],
  [/attn\.proj/, 'attn.out_proj'],
  [/mlp\.fc1/, 'mlp.c_fc'],
  [/mlp\.fc2/, 'mlp.c_proj'],
]

/** The state dict of OpenAI's model: image tower, text tower and their projections. */
export function openaiFile(weights: Weights): Checkpoint {
  const state = stateDict(
    withoutLeadingAxes(weights),
    (name) => `visual.${OPENAI.reduce((text, [from, to]) => text.replace(from, to), name)}`,
  )
  for (const name of [
    'visual.ln_post.weight',
    'visual.proj',
    'transformer.resblocks.0.attn.in_proj_weight',
    'token_embedding.weight',
    'positional_embedding',
    'text_projection',
    'logit_scale',
  ]) {
    state.set(name, any)
  }
  return state
}

/** The same tower as the Transformers library writes it. */
export const transformersFile = (weights: Weights): Checkpoint =>
  withOthers(transformersTower(weights, 'vision_model.'), [
    'vision_model.post_layernorm.weight',
    'text_model.final_layer_norm.weight',
  ])

/** model.safetensors of SigLIP: image tower with its pooling head, text tower, temperature and bias. */
export const siglipFile = (weights: Weights): Checkpoint =>
  withOthers(transformersTower(weights, 'vision_model.'), [
    'vision_model.head.probe',
    'vision_model.head.attention.in_proj_weight',
    'vision_model.head.layernorm.weight',
    'vision_model.head.mlp.fc1.weight',
    'text_model.embeddings.position_embedding.weight',
    'text_model.encoder.layers.0.layer_norm1.weight',
    'text_model.head.weight',
    'logit_scale',
    'logit_bias',
  ])

/** SigLIP's image tower by itself. */
export const siglipTowerFile = (weights: Weights): Checkpoint =>
  withOthers(transformersTower(weights, ''), ['head.probe', 'head.attention.in_proj_weight'])

/** open_clip_model.safetensors of SigLIP, whose image tower is timm's. */
export const openClipSiglipFile = (weights: Weights): Checkpoint =>
  withOthers(
    stateDict(weights, (name) => `visual.trunk.${name}`),
    [
      'visual.trunk.attn_pool.latent',
      'visual.trunk.attn_pool.norm.weight',
      'text.transformer.resblocks.0.ln_1.weight',
      'text.positional_embedding',
      'logit_scale',
    ],
  )

/** timm's image tower by itself. */
export const timmSiglipFile = (weights: Weights): Checkpoint =>
  withOthers(
    stateDict(weights, (name) => name),
    ['attn_pool.latent'],
  )

/** A file of a whole model with the embeddings of so many pieces of words, under its layout's name for them. */
export const withVocabulary = (file: Checkpoint, name: string, pieces: number): Checkpoint =>
  new Map<string, WritableTorchValue>([...file, [name, hostFloat32(new Float32Array(pieces), [pieces, 1])]])

function withOthers(state: Map<string, HostTensor>, names: readonly string[]): Map<string, HostTensor> {
  for (const name of names) state.set(name, any)
  return state
}

/** An image tower of CLIP's kind in the Transformers library's names, in which the projections of attention are three. */
function transformersTower(weights: Weights, prefix: string): Map<string, HostTensor> {
  const names: readonly (readonly [RegExp, string])[] = [
    [/^cls_token$/, 'embeddings.class_embedding'],
    [/^pos_embed$/, 'embeddings.position_embedding.weight'],
    [/^patch_embed\.proj/, 'embeddings.patch_embedding'],
    [/^norm_pre/, 'pre_layrnorm'],
    [/^blocks/, 'encoder.layers'],
    [/\.norm([12])\./, '.layer_norm$1.'],
    [/attn\.proj/, 'self_attn.out_proj'],
    [/^norm\./, 'post_layernorm.'],
  ]
  const state = new Map<string, HostTensor>()
  for (const [name, value] of withoutLeadingAxes(weights)) {
    const renamed = `${prefix}${names.reduce((text, [from, to]) => text.replace(from, to), name)}`
    if (!name.includes('attn.qkv')) {
      state.set(renamed, tensor(value))
      continue
    }
    const [rows, ...rest] = value.shape as [number, ...number[]]
    const size = value.data.length / 3
    for (const [i, part] of ['q', 'k', 'v'].entries()) {
      const third = { shape: [rows / 3, ...rest], data: value.data.slice(i * size, (i + 1) * size) }
      state.set(renamed.replace('attn.qkv', `self_attn.${part}_proj`), tensor(third as NdArray))
    }
  }
  return state
}

/** CLIP's class token is [D], its table [1 + T, D], SigLIP's [T, D]. */
function withoutLeadingAxes(weights: Weights): Weights {
  return new Map(
    [...weights].map(([name, value]) => {
      if (name === 'cls_token') return [name, { ...value, shape: value.shape.slice(2) }]
      return [name, name === 'pos_embed' ? { ...value, shape: value.shape.slice(1) } : value]
    }),
  )
}
