/** Files of CLIP's text transformer: which of their tensors are the model's, and what their shapes and a config.json beside them tell of it. */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { openaiBlocks } from './clip-openai-names.ts'
import { type ClipTextConfig, clipTextConfigSchema } from './clip-text.ts'
import { transformersBlocks } from './clip-transformers-names.ts'
import { type FileTensor, present, renamedState } from './renamed-state.ts'
import { countOf, listed, shapesOf } from './state-shapes.ts'

/** The Transformers library's names of activations (ACT2FN), of those that a block computes. */
export const ACTIVATIONS = {
  quick_gelu: 'quick-gelu',
  gelu: 'gelu-erf',
  gelu_new: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
} as const satisfies Readonly<Record<string, ClipTextConfig['activation']>>

/**
 * Of what CLIPTextConfig, or CLIPVisionConfig, states, that which no tensor's shape tells. What is left out is the library's default, which
 * is OpenAI's.
 */
export const towerSchema = z.object({
  hidden_act: z.enum(Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[]).optional(),
  num_attention_heads: z.int().positive().optional(),
  layer_norm_eps: z.number().positive().optional(),
})

/** config.json of CLIPModel, which says all of its text tower under a key, or of CLIPTextModel. */
const statedSchema = towerSchema
  .extend({ model_type: z.enum(['clip', 'clip_text_model']).optional(), text_config: towerSchema.optional() })
  .transform(({ text_config, ...tower }) => text_config ?? tower)

/** What a config.json of the Transformers library states of CLIP's text tower. */
export type StatedClipText = z.output<typeof towerSchema>

/**
 * What a config.json says; `what` names it in messages.
 *
 * @throws {ConfigurationError} where it is of another model, or of an activation that is not computed here
 */
export function statedClipText(json: unknown, what: string): StatedClipText {
  return parseConfiguration(statedSchema, json, what)
}

/**
 * The text tower's tensors in a file, under the names of models/clip-text.ts: of OpenAI's model in its own names, which open_clip has
 * too, or of CLIPModel or CLIPTextModel in the Transformers library's. An image tower beside it is left alone.
 *
 * @throws {Error} where the file holds no such tower
 */
export function clipTextState(file: StateSource): StateSource {
  const { names } = file
  for (const prefix of ['text_model.', '']) {
    if (!names.includes(`${prefix}embeddings.token_embedding.weight`)) continue
    if (names.includes(`${prefix}head.weight`)) {
      throw new Error(
        `${file.name} holds SigLIP's text tower: it has ${prefix}head.weight, which CLIP's has not. Hidden states are taken from CLIP's.`,
      )
    }
    return renamedState(file, transformersTensors(file, prefix))
  }
  if (names.includes('token_embedding.weight')) return renamedState(file, openaiTensors(file))
  throw new Error(
    `${file.name} holds no text tower of CLIP: it has neither token_embedding.weight, as OpenAI calls it, nor the Transformers ` +
      `library's text_model.embeddings.token_embedding.weight. ${listed(names)}`,
  )
}

function transformersTensors(file: StateSource, prefix: string): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>([
    ['token_embedding.weight', { from: `${prefix}embeddings.token_embedding.weight` }],
    ['position_embedding.weight', { from: `${prefix}embeddings.position_embedding.weight` }],
    ...transformersBlocks(file, prefix),
    ['final_layer_norm.weight', { from: `${prefix}final_layer_norm.weight` }],
    ['final_layer_norm.bias', { from: `${prefix}final_layer_norm.bias` }],
  ])
  return present(tensors, file)
}

function openaiTensors(file: StateSource): Map<string, FileTensor> {
  const tensors = new Map<string, FileTensor>([
    ['token_embedding.weight', { from: 'token_embedding.weight' }],
    ['position_embedding.weight', { from: 'positional_embedding' }],
    ...openaiBlocks(file, ''),
    ['final_layer_norm.weight', { from: 'ln_final.weight' }],
    ['final_layer_norm.bias', { from: 'ln_final.bias' }],
  ])
  return present(tensors, file)
}

/**
 * The configuration that a text tower's shapes tell (`clipTextState`), with what is stated of it: heads are of 64 columns and the
 * activation is QuickGELU where nothing is.
 *
 * @throws {Error} where a tensor that tells it is missing or misshapen; {ConfigurationError} where the shapes are no transformer's
 */
export function clipTextConfig(state: StateSource, stated: StatedClipText = {}): ClipTextConfig {
  const shape = shapesOf(state, 'whole text tower of CLIP')
  const axis = (name: string, index: number): number => shape(name, 2)[index]!
  return parseConfiguration(
    clipTextConfigSchema,
    {
      vocabulary: axis('token_embedding.weight', 0),
      tokens: axis('position_embedding.weight', 0),
      hidden: axis('token_embedding.weight', 1),
      depth: countOf('blocks', state.names),
      heads: stated.num_attention_heads,
      ffnWidth: axis('blocks.0.mlp.fc1.weight', 0),
      activation: ACTIVATIONS[stated.hidden_act ?? 'quick_gelu'],
      epsilon: stated.layer_norm_eps,
    },
    state.name,
  )
}
