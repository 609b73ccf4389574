import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { configBeside } from '../formats/config-beside.ts'
import { openaiBlocks } from '../models/clip-openai-names.ts'
import { ACTIVATIONS, towerSchema } from '../models/clip-text-weights.ts'
import { transformersBlocks } from '../models/clip-transformers-names.ts'
import { CLIP } from '../models/image-normalisation.ts'
import { type FileTensor, present, renamedState } from '../models/renamed-state.ts'
import { listed } from '../models/state-shapes.ts'
import type { VisionTransformerOptions } from '../models/vit-config.ts'
import { CLIP_PRESETS, CLIP_TRAITS } from '../models/vit-presets.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { EncoderFamily } from './encoder-family.ts'

/**
 * The image tower of OpenAI's CLIP (arXiv 2103.00020): the patch tokens as they leave the last block, before ln_post and the
 * projection. Read are the file that OpenAI publishes, a TorchScript archive whose parameters are f16 (its code is not run); the
 * state dict of the model, or of `visual` alone, in OpenAI's names, which open_clip has too; and in those of the Transformers
 * library. No file tells its activation, which is OpenAI's QuickGELU; other weights under these names (LAION's) were trained with the
 * exact GELU, which the Transformers library's config.json beside them states.
 */
export const clip: EncoderFamily = {
  title: 'CLIP',
  presets: CLIP_PRESETS,
  others: {
    'CLIP ViT-B/32': { ...CLIP_TRAITS, hidden: 768, depth: 12, heads: 12, patch: 32 },
    'CLIP ViT-B/16': { ...CLIP_TRAITS, hidden: 768, depth: 12, heads: 12, patch: 16 },
    'CLIP ViT-L/14 of 336 pixels': { ...CLIP_TRAITS, hidden: 1024, depth: 24, heads: 16, imageSize: 336 },
  },
  traits: CLIP_TRAITS,
  statistics: CLIP,
  publishedFile: () =>
    'https://openaipublic.azureedge.net/clip/models/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt',
  stateKeys: ['state_dict', 'model_state_dict', 'model'],
  state: (file) => clipImageState(file),
  traitsBeside: async (weights) => towerTraits(await statedBeside(weights)),
}

const CLIP_MODELS: readonly unknown[] = [undefined, 'clip', 'clip_vision_model']

/** config.json of CLIPModel, which says all of its image tower under a key. That of CLIPVisionModel is the tower's itself. */
const statedSchema = z.object({ model_type: z.string().optional(), vision_config: towerSchema.optional() })

/** What a config.json of the Transformers library states of CLIP's image tower. */
export type StatedClipImage = z.output<typeof towerSchema>

/**
 * What a config.json says; `what` names it in messages.
 *
 * @throws {ConfigurationError} where it is of an activation that is not computed here
 */
export function statedClipImage(json: unknown, what: string): StatedClipImage {
  const { model_type: type, vision_config: tower } = parseConfiguration(statedSchema, json, what)
  return tower ?? (type === 'clip_vision_model' ? parseConfiguration(towerSchema, json, what) : {})
}

/** What the config.json beside a file of weights says, if it is CLIP's: another may lie there for another file. */
async function statedBeside(weights: string): Promise<StatedClipImage> {
  const beside = await configBeside(weights)
  if (!beside) return {}
  const json = parseJson(beside.text, beside.path)
  const { data } = z.object({ model_type: z.unknown() }).safeParse(json)
  return CLIP_MODELS.includes(data?.model_type) ? statedClipImage(json, beside.path) : {}
}

/** The traits that a config.json states. */
export function towerTraits({
  hidden_act: activation,
  layer_norm_eps: epsilon,
}: StatedClipImage): Partial<VisionTransformerOptions> {
  return {
    ...(activation !== undefined && { activation: ACTIVATIONS[activation] }),
    ...(epsilon !== undefined && { epsilon }),
  }
}

/**
 * The image tower's tensors in a file, under the names of models/vit.ts; with `finalNorm` ln_post among them.
 *
 * @throws {Error} where the file holds no such tower
 */
export function clipImageState(file: StateSource, { finalNorm = false }: { finalNorm?: boolean } = {}): StateSource {
  const { names } = file
  const state = (tensors: Map<string, FileTensor>, norm: string) => {
    if (finalNorm) for (const kind of ['weight', 'bias']) tensors.set(`norm.${kind}`, { from: `${norm}.${kind}` })
    return renamedState(file, present(tensors, file))
  }
  for (const prefix of ['visual.', '', 'model.visual.']) {
    if (names.includes(`${prefix}class_embedding`)) return state(openaiTensors(file, prefix), `${prefix}ln_post`)
  }
  for (const prefix of ['vision_model.', '']) {
    if (names.includes(`${prefix}embeddings.class_embedding`)) {
      return state(transformersTensors(file, prefix), `${prefix}post_layernorm`)
    }
  }
  throw new Error(
    `${file.name} holds no CLIP weights: it has no visual.class_embedding, nor the Transformers library's ` +
      `vision_model.embeddings.class_embedding. ${listed(names)}`,
  )
}

function openaiTensors(file: StateSource, prefix: string): Map<string, FileTensor> {
  return new Map<string, FileTensor>([
    ['cls_token', { from: `${prefix}class_embedding`, leadingAxes: 2 }],
    ['pos_embed', { from: `${prefix}positional_embedding`, leadingAxes: 1 }],
    ['patch_embed.proj.weight', { from: `${prefix}conv1.weight` }],
    ['norm_pre.weight', { from: `${prefix}ln_pre.weight` }],
    ['norm_pre.bias', { from: `${prefix}ln_pre.bias` }],
    ...openaiBlocks(file, prefix),
  ])
}

function transformersTensors(file: StateSource, prefix: string): Map<string, FileTensor> {
  return new Map<string, FileTensor>([
    ['cls_token', { from: `${prefix}embeddings.class_embedding`, leadingAxes: 2 }],
    ['pos_embed', { from: `${prefix}embeddings.position_embedding.weight`, leadingAxes: 1 }],
    ['patch_embed.proj.weight', { from: `${prefix}embeddings.patch_embedding.weight` }],
    // The library's own spelling.
    ['norm_pre.weight', { from: `${prefix}pre_layrnorm.weight` }],
    ['norm_pre.bias', { from: `${prefix}pre_layrnorm.bias` }],
    ...transformersBlocks(file, prefix),
  ])
}
