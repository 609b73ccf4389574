import { basename, dirname, extname } from 'node:path'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { configBeside } from '../formats/config-beside.ts'
import { type LatentStatistics, statisticsFileIn, statisticsIn } from '../formats/latent-statistics.ts'
import type { Device } from '../tensor/device.ts'
import type { Autoencoder } from './autoencoder.ts'
import { DIFFUSERS_NAME, filesOf, raeFilesOf } from './autoencoder-files.ts'
import { type AutoencoderHalf, AutoencoderKL, type AutoencoderKLConfig } from './autoencoder-kl.ts'
import {
  autoencoderKLConfig,
  autoencoderKLState,
  type DiffusersConfig,
  diffusersConfigSchema,
  isAutoencoderKL,
} from './autoencoder-kl-weights.ts'
import { loaded } from './model.ts'
import { loadRae } from './rae-weights.ts'
import { StableDiffusionAutoencoder } from './stable-diffusion-autoencoder.ts'
import { TaesdDecoder, TaesdEncoder, taesdConfig, taesdHalf } from './taesd.ts'
import { TaesdAutoencoder } from './taesd-autoencoder.ts'
import { openWeights, type WeightsFile } from './weights-file.ts'

export interface LoadAutoencoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** What it is wanted for: the other half is then neither loaded nor missed. Default: both halves. */
  readonly half?: AutoencoderHalf
  /** See `AutoencoderOptions`. */
  readonly tile?: number | undefined
  /**
   * For an autoencoder whose latents have no scale yet, to measure one: nothing is asked for that says it, and what says it is refused.
   * Default: false.
   */
  readonly unscaled?: boolean
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    device: z.string().optional(),
    half: z.enum(['encoder', 'decoder']).optional(),
    // Checked where the autoencoder is made.
    tile: z.unknown().optional(),
    unscaled: z.boolean().optional(),
  } satisfies Record<keyof LoadAutoencoderOptions, z.ZodType>),
)

/**
 * An autoencoder from files, whose kind its tensors tell:
 *
 * - the Stable Diffusion VAE as diffusers writes it: the folder with config.json, or the file of weights alone (`.safetensors`,
 *   `.bin`, `.pt`), with config.json read where it lies beside; or as latent-diffusion writes it, and VA-VAE with it (`.pt`, `.ckpt`).
 *   Statistics of its latents (latents_stats.pt) are read where they lie beside;
 * - TAESD: the folder with both files, or one of them, to which the other is found by its name (`encoder` for `decoder`);
 * - a representation autoencoder (RAE) of DINOv2: diffusers' folder or file, or a folder with the files of its parts, which is also meant by
 *   the decoder's (rae-weights.ts).
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no such file; {Error} where it is of another
 *   model, or blocks are missing; what the file readers throw
 */
export async function loadAutoencoder(path: string, options: LoadAutoencoderOptions = {}): Promise<Autoencoder> {
  parseConfiguration(optionsSchema(), options, "the autoencoder's options")
  const { device = 'cpu', half, tile, unscaled = false } = options
  const rae = await raeFilesOf(path)
  if (rae && unscaled) {
    throw new Error(`${rae.decoder} is a RAE's: its latents are standardised already, and are used as they are.`)
  }
  if (rae) {
    const name = basename(dirname(rae.decoder))
    return await loadRae(rae, { name, device, half, tile, config: await configBeside(rae.decoder) })
  }
  const files = await filesOf(path)
  await using first = await openWeights(files[0]!)
  const { names } = first
  if (isAutoencoderKL(names)) return await loadKL(first, { device, half, tile, unscaled })
  if (taesdHalf(names) !== undefined && unscaled) {
    throw new Error(`${files[0]} is TAESD's: its latents are at a model's scale already, and are used as they are.`)
  }
  if (taesdHalf(names) !== undefined) return await loadTaesd(files, { device, half, tile })
  const shown = names.slice(0, 4).join(', ')
  throw new Error(
    `${files[0]} holds no autoencoder that is known here, which are AutoencoderKL, diffusers' or latent-diffusion's, TAESD and RAE. ` +
      `It has ${shown}${names.length > 4 ? `, … (${names.length} tensors)` : ''}.`,
  )
}

interface LoadOptions {
  readonly device: Device
  readonly half: AutoencoderHalf | undefined
  readonly tile: number | undefined
}

async function loadKL(
  file: WeightsFile,
  { device, half, tile, unscaled }: LoadOptions & { readonly unscaled: boolean },
): Promise<Autoencoder> {
  const state = autoencoderKLState(file)
  const stated = await statedConfig(file)
  const config = autoencoderKLConfig(state, stated)
  if (unscaled) await requireNoScale(file.name, config, stated)
  const statistics = unscaled ? undefined : await statisticsIn(dirname(file.name), config.latentChannels)
  if (!unscaled) requireScale(file.name, config, stated, statistics)
  const model = AutoencoderKL.fromConfig(config, device, half)
  try {
    await model.load(state)
    const stem = basename(file.name, extname(file.name))
    const name = stem === DIFFUSERS_NAME ? basename(dirname(file.name)) : stem
    return new StableDiffusionAutoencoder(model, { name, device, tile, statistics })
  } catch (error) {
    model.dispose()
    throw error
  }
}

/** Throws where nothing says at which scale a model is to see the latents, or two things do. */
function requireScale(
  path: string,
  { latentChannels }: AutoencoderKLConfig,
  { scaling_factor: factor }: DiffusersConfig,
  statistics: LatentStatistics | undefined,
): void {
  if (statistics && factor !== undefined && factor !== 1) {
    throw new Error(
      `${path} has statistics of its latents beside it and a scaling_factor of ${factor}; leave one of the two out.`,
    )
  }
  if (statistics || factor !== undefined || latentChannels === 4) return
  throw new Error(
    `${path} does not say at which scale its latents of ${latentChannels} channels are trained on; put beside it their statistics ` +
      "(latents_stats.pt, or what 'repa latent-statistics' measures), or a config.json with the scaling_factor.",
  )
}

/** Throws where a scale is known of the latents: measuring another would leave two, or change what trained models see. */
async function requireNoScale(
  path: string,
  { latentChannels, scalingFactor }: AutoencoderKLConfig,
  { scaling_factor: factor }: DiffusersConfig,
): Promise<void> {
  const there = await statisticsFileIn(dirname(path))
  if (there !== undefined) {
    throw new Error(`${there} has the statistics of these latents; remove it to measure them anew.`)
  }
  if (factor === 1 || (factor === undefined && latentChannels !== 4)) return
  const source = factor === undefined ? ", Stable Diffusion's, where no config.json says another" : ''
  throw new Error(
    `The latents of ${path} have a scaling_factor already, ${scalingFactor}${source}; ` +
      'for statistics in its place let its config.json say 1.',
  )
}

/** What config.json beside the file says, else the file's metadata. */
async function statedConfig(file: WeightsFile): Promise<DiffusersConfig> {
  const beside = await configBeside(file.name)
  const [source, json] = beside ? [beside.path, beside.text] : [`${file.name}, metadata "config"`, file.metadata.config]
  if (json === undefined) return {}
  return parseConfiguration(diffusersConfigSchema, parseJson(json, source), source)
}

async function loadTaesd(files: readonly string[], { device, half, tile }: LoadOptions): Promise<Autoencoder> {
  let encoder: TaesdEncoder | undefined
  let decoder: TaesdDecoder | undefined
  try {
    for (const path of files) {
      await using source = await openWeights(path)
      const found = taesdHalf(source.names)
      if (found === undefined || (half !== undefined && found !== half)) continue
      const config = taesdConfig(source, found)
      if (found === 'encoder') encoder = await loaded(new TaesdEncoder(config, device), source)
      else decoder = await loaded(new TaesdDecoder(config, device), source)
    }
    if (half !== undefined && !encoder && !decoder) {
      const other = half === 'encoder' ? 'decoder' : 'encoder'
      throw new Error(
        `${files[0]} is TAESD's ${other} alone, and its ${half} is wanted: put that beside it, under the same name with "${half}" for "${other}".`,
      )
    }
    return new TaesdAutoencoder(encoder, decoder, { name: 'taesd', device, tile })
  } catch (error) {
    encoder?.dispose()
    decoder?.dispose()
    throw error
  }
}
