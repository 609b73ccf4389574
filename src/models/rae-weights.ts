/** Files of representation autoencoders (RAE): which there are, and what the shapes of their tensors tell. */
import { basename } from 'node:path'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import type { LatentStatistics } from '../formats/latent-statistics.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { hostFloat32, toFloat32 } from '../tensor/host-tensor.ts'
import type { AutoencoderHalf } from './autoencoder-kl.ts'
import { transformersDinov2, withoutChunk } from './dinov2-names.ts'
import { type ChannelStatistics, IMAGENET } from './image-normalisation.ts'
import { loaded } from './model.ts'
import { RaeAutoencoder } from './rae-autoencoder.ts'
import { RaeDecoder, type RaeDecoderConfig } from './rae-decoder.ts'
import { type FileTensor, renamedState } from './renamed-state.ts'
import { countOf, shapesOf } from './state-shapes.ts'
import { VisionTransformer } from './vit.ts'
import { DINOV2_PRESETS } from './vit-presets.ts'
import { vitConfig } from './vit-weights.ts'
import { openWeights, type WeightsFile } from './weights-file.ts'

/** What a file holds of a RAE: all of it, as diffusers writes it, or one of its parts, as its authors publish them. */
export type RaePart = 'whole' | 'decoder' | 'encoder' | 'statistics'

/** What a file of these tensors holds of a RAE, if anything. An encoder by itself is told from no other use of it. */
function raePart(names: readonly string[]): RaePart | undefined {
  if (names.includes('decoder.trainable_cls_token')) return 'whole'
  if (names.includes('trainable_cls_token') && names.includes('decoder_embed.weight')) return 'decoder'
  if (names.includes('mean') && names.includes('var')) return 'statistics'
  if (names.some((name) => /(^|\.)register_tokens$/.test(name))) return 'encoder'
  return undefined
}

/** The files of a RAE: one of all of it, or those of its parts. */
export interface RaeFiles {
  readonly decoder: string
  readonly encoder: string | undefined
  readonly statistics: string | undefined
}

/**
 * Sorts files of weights by what they hold of a RAE; undefined where none holds a decoder. The decoder is that of the file `named`, where one
 * is, and others are left out.
 *
 * @throws {Error} where two hold the same part
 */
export async function raeFilesAmong(paths: readonly string[], named?: string): Promise<RaeFiles | undefined> {
  const found = new Map<RaePart, string>()
  for (const path of paths) {
    await using file = await openWeights(path, TRAINED_KEYS)
    const part = raePart(file.names)
    if (part === undefined) continue
    if (named !== undefined && path !== named && (part === 'whole' || part === 'decoder')) continue
    const other = found.get(part)
    if (other !== undefined) {
      throw new Error(
        `${other} and ${basename(path)} both hold ${part === 'whole' ? 'a RAE' : `a RAE's ${part}`}; leave one of them there.`,
      )
    }
    found.set(part, path)
  }
  const whole = found.get('whole')
  if (whole !== undefined) return { decoder: whole, encoder: whole, statistics: whole }
  const decoder = found.get('decoder')
  if (decoder === undefined) return undefined
  return { decoder, encoder: found.get('encoder'), statistics: found.get('statistics') }
}

/** Under which training writes the weights that are used. */
const TRAINED_KEYS = ['ema', 'model', 'state_dict']

/** Heads of its code's decoders, ViT-B, -L and -XL; no shape tells them. */
const HEADS: Readonly<Record<number, number>> = { 768: 12, 1024: 16, 1152: 16 }

/** What config.json of diffusers' AutoencoderRAE says that no tensor does. */
const diffusersSchema = z.object({
  encoder_type: z.string().default('dinov2'),
  decoder_num_attention_heads: z.int().positive().optional(),
  scaling_factor: z.number().default(1),
})

export interface LoadRaeOptions {
  readonly name: string
  readonly device: Device
  /** Default: both. */
  readonly half: AutoencoderHalf | undefined
  readonly tile: number | undefined
  /** The text of config.json beside the file, where there is one. */
  readonly config: { readonly path: string; readonly text: string } | undefined
}

/**
 * Loads a RAE of DINOv2: all of it as diffusers writes it, or the decoder and the statistics as its authors publish them
 * (`decoders/dinov2/wReg_base/ViTXL_n08/model.pt`, `stats/dinov2/wReg_base/imagenet1k/stat.pt`) beside a file of the encoder with
 * registers, its authors' (`dinov2_vitb14_reg4_pretrain.pth`) or the Transformers library's.
 *
 * @throws {Error} where a part is missing or does not fit the others
 */
export async function loadRae(files: RaeFiles, options: LoadRaeOptions): Promise<RaeAutoencoder> {
  const { half, device, name, tile } = options
  await using decoderFile = await openWeights(files.decoder, TRAINED_KEYS)
  const isWhole = raePart(decoderFile.names) === 'whole'
  const stated = isWhole ? statedBy(options) : diffusersSchema.parse({})
  if (stated.encoder_type !== 'dinov2' || stated.scaling_factor !== 1) {
    throw new Error(
      `${files.decoder} is a RAE of the encoder ${stated.encoder_type}, its latents scaled by ${stated.scaling_factor}; ` +
        'those of dinov2 with a scale of 1 are known here.',
    )
  }
  const state = decoderState(decoderFile, isWhole ? 'decoder.' : '')
  const sizes = decoderConfig(state, stated.decoder_num_attention_heads)
  const statistics = await statisticsOf(files, sizes)
  const pixels = isWhole ? await pixelStatistics(decoderFile) : IMAGENET
  const made: { dispose(): void }[] = []
  try {
    let encoder: VisionTransformer | undefined
    if (half !== 'decoder') {
      encoder = await encoderOf(files, sizes, device)
      made.push(encoder)
    }
    let decoder: RaeDecoder | undefined
    if (half !== 'encoder') {
      // Of the sizes that a decoder can have by its tensors, heads alone may be wrong, and config.json may say them.
      const stating = stated.decoder_num_attention_heads === undefined ? undefined : options.config
      decoder = await loaded(new RaeDecoder(sizes, device, stating?.path ?? state.name), state)
      made.push(decoder)
    }
    return new RaeAutoencoder({ encoder, decoder, sizes, statistics, pixels }, { name, device, tile })
  } catch (error) {
    for (const part of made) part.dispose()
    throw error
  }
}

function statedBy({ config }: LoadRaeOptions): z.output<typeof diffusersSchema> {
  if (!config) return diffusersSchema.parse({})
  return parseConfiguration(diffusersSchema, parseJson(config.text, config.path), config.path)
}

/** The Transformers library's names of a block's layers, which diffusers' attention has otherwise. */
const LAYERS: Readonly<Record<string, string>> = {
  layernorm_before: 'norm1',
  layernorm_after: 'norm2',
  'attention.output.dense': 'attn.proj',
  'attention.to_out.0': 'attn.proj',
  'intermediate.dense': 'mlp.fc1',
  'output.dense': 'mlp.fc2',
}
const PROJECTIONS = [
  ['attention.attention.query', 'attention.attention.key', 'attention.attention.value'],
  ['attention.to_q', 'attention.to_k', 'attention.to_v'],
] as const

/** The decoder's tensors by the names of rae-decoder.ts. */
function decoderState(file: StateSource, prefix: string): StateSource {
  const tensors = new Map<string, FileTensor>()
  for (const from of file.names) {
    if (!from.startsWith(prefix)) continue
    const name = from.slice(prefix.length)
    const [, block, layer, kind] = /^(decoder_layers\.\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? []
    if (layer === undefined) {
      if (/^(decoder_|trainable_cls_token$)/.test(name)) tensors.set(name, { from })
      continue
    }
    const projections = PROJECTIONS.find((names) => (names as readonly string[]).includes(layer))
    if (projections) {
      const parts = projections.map((part) => `${prefix}${block}.${part}.${kind}`)
      if (parts.every((part) => file.names.includes(part))) tensors.set(`${block}.attn.qkv.${kind}`, { from: parts })
    } else {
      tensors.set(`${block}.${Object.hasOwn(LAYERS, layer) ? LAYERS[layer] : layer}.${kind}`, { from })
    }
  }
  return renamedState(file, tensors)
}

function decoderConfig(state: StateSource, heads: number | undefined): RaeDecoderConfig {
  const shapeOf = shapesOf(state, "RAE's decoder")
  const [hidden, latentChannels] = shapeOf('decoder_embed.weight', 2) as [number, number]
  const [, entries] = shapeOf('decoder_pos_embed', 3) as [number, number, number]
  const [pixels] = shapeOf('decoder_pred.weight', 2) as [number, number]
  const [ffnWidth] = shapeOf('decoder_layers.0.mlp.fc1.weight', 2) as [number, number]
  const config: RaeDecoderConfig = {
    latentChannels,
    hidden,
    ffnWidth,
    depth: countOf('decoder_layers', state.names),
    heads: heads ?? HEADS[hidden] ?? hidden / 64,
    grid: Math.sqrt(entries - 1),
    patch: Math.sqrt(pixels / 3),
  }
  for (const key of ['heads', 'grid', 'patch'] as const) {
    if (Number.isInteger(config[key])) continue
    throw new Error(
      `${state.name}: its decoder's ${key} cannot be told: a width of ${hidden}, ${entries} positions and ${pixels} numbers a token ` +
        `make ${config[key]}.`,
    )
  }
  return config
}

async function pixelStatistics(file: WeightsFile): Promise<ChannelStatistics> {
  const of = async (name: string, otherwise: readonly number[]) =>
    file.names.includes(name) ? [...toFloat32(await file.read(name))] : otherwise
  return { mean: await of('encoder_mean', IMAGENET.mean), std: await of('encoder_std', IMAGENET.std) }
}

/** What is added so that nothing is divided by 0: by its authors' code to the variance, by diffusers' to the deviation. */
const EPSILON = 1e-5

async function statisticsOf(files: RaeFiles, sizes: RaeDecoderConfig): Promise<LatentStatistics> {
  if (files.statistics === undefined) {
    throw new Error(
      `${files.decoder} has no statistics of its latents beside it, by which models are trained on them: put stat.pt there, which its ` +
        'authors publish.',
    )
  }
  await using file = await openWeights(files.statistics, TRAINED_KEYS)
  const isWhole = raePart(file.names) === 'whole'
  const [centre, spread] = isWhole ? ['_latents_mean', '_latents_std'] : ['mean', 'var']
  const mean = await everywhere(file, centre!, sizes)
  const values = await everywhere(file, spread!, sizes)
  return { mean, std: values.map((value) => (isWhole ? value + EPSILON : Math.sqrt(value + EPSILON))) }
}

/** A statistic of every channel and place, which files have of these, of the channels, or of all together. */
async function everywhere(
  file: WeightsFile,
  name: string,
  { latentChannels, grid }: RaeDecoderConfig,
): Promise<Float32Array> {
  if (!file.names.includes(name)) throw new Error(`${file.name} has no ${name} of a RAE's latents.`)
  const values = toFloat32(await file.read(name))
  const places = grid ** 2
  const length = latentChannels * places
  const share = length / values.length
  if (![1, places, length].includes(share)) {
    throw new Error(
      `${file.name}: ${name} has shape [${file.shapeOf(name)}]; expected [${latentChannels}, ${grid}, ${grid}], as the decoder's latents ` +
        'are, or one number for a channel, or for all.',
    )
  }
  return Float32Array.from({ length }, (_, i) => values[Math.floor(i / share)]!)
}

async function encoderOf(
  files: RaeFiles,
  { latentChannels }: RaeDecoderConfig,
  device: Device,
): Promise<VisionTransformer> {
  if (files.encoder === undefined) {
    throw new Error(
      `${files.decoder} has no file of its encoder beside it: put dinov2_vitb14_reg4_pretrain.pth there, or the model.safetensors of ` +
        'facebook/dinov2-with-registers-base.',
    )
  }
  await using file = await openWeights(files.encoder, [])
  const state = withPlainNorm(encoderState(file), latentChannels)
  const config = vitConfig(state, { family: 'DINOv2', known: Object.values(DINOV2_PRESETS) })
  if (config.hidden !== latentChannels) {
    throw new Error(
      `${files.encoder} holds an encoder of ${config.hidden} features, and the decoder ${basename(files.decoder)} reads ${latentChannels}.`,
    )
  }
  return await loaded(VisionTransformer.fromConfig(config, device), state)
}

function encoderState(file: StateSource): StateSource {
  return (
    transformersDinov2(file, ['encoder.model.', '', 'model.']) ??
    renamedState(file, new Map(file.names.map((from) => [withoutChunk(from), { from }])))
  )
}

/** The final norm's weight and bias are taken off: standardising would undo the one and the other. */
function withPlainNorm(state: StateSource, hidden: number): StateSource {
  const plain = new Map([
    ['norm.weight', 1],
    ['norm.bias', 0],
  ])
  return {
    name: state.name,
    names: [...new Set([...state.names, ...plain.keys()])],
    shapeOf: (name) => (plain.has(name) ? [hidden] : state.shapeOf(name)),
    read: async (name) =>
      plain.has(name) ? hostFloat32(new Float32Array(hidden).fill(plain.get(name)!), [hidden]) : state.read(name),
  }
}
