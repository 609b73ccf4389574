/** How images were sampled, noted beside them: what is measured of them then says of what. */
import { createHash } from 'node:crypto'
import { readFile, rm, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { ifThere } from '../formats/if-there.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { guidedChannels, isGuided } from './guidance.ts'
import { type BatchOptions, makesLatents, type Prompts, type SamplingOptions } from './sample-images.ts'

const count = z.int().positive()

/** Everything that the images depend on but the weights. What does nothing is left out: the solver of an SDE, the times of no guidance. */
const samplingSchema = z.strictObject({
  mode: z.enum(['ode', 'sde', 'ddpm', 'ddim']),
  solver: z.enum(['euler', 'heun', 'dopri5']).optional(),
  /** Or a respacing, as text; dopri5 chooses its own. */
  steps: z.union([count, z.string()]).optional(),
  /** Left out: 1, even steps. */
  timeShift: z.number().optional(),
  path: z.enum(['linear', 'cosine']).optional(),
  eta: z.number().optional(),
  clip: z.boolean().optional(),
  /** 1: none. */
  guidanceScale: z.number(),
  guidanceLow: z.number().optional(),
  guidanceHigh: z.number().optional(),
  guidedChannels: count.optional(),
  /** The model that guided in the null class's place; null: one that nobody named. */
  guide: z.string().nullable().optional(),
  /** Steps that it had been trained for. */
  guideStep: z.int().nonnegative().optional(),
  /** Of the class token that was sampled along (REG). */
  classTokenGuidanceScale: z.number().optional(),
  nullLabel: z.int().optional(),
  seed: z.int(),
  /** In turn; null: drawn for each image, or captions in their place. */
  classes: z.array(z.int()).nullable(),
  /** How many captions there were in turn, of a model of text; the image's own stands in prompts.txt. */
  prompts: count.optional(),
  /** SHA-256 of them. */
  promptsDigest: z.hash('sha256').optional(),
  /** What encoded them. */
  captionEncoder: z.string().optional(),
  /** What decoded the latents of a model of latents; null: nothing, the images are a linear preview. */
  autoencoder: z.string().nullable().optional(),
  /** Latent elements of its tiles; null: the whole image at once. */
  autoencoderTile: count.nullable().optional(),
  /** Of a training checkpoint. */
  weights: z.enum(['ema', 'model']).optional(),
  precision: z.string().optional(),
})

const recordSchema = z.strictObject({
  checkpoint: z.string().optional(),
  /** Steps that the model had been trained for. */
  step: z.int().nonnegative().optional(),
  sampling: samplingSchema,
})

export type SamplingRecord = z.output<typeof recordSchema>

/** What the model cannot say of itself. */
export interface SamplingOrigin extends Pick<SamplingRecord, 'checkpoint'> {
  readonly step?: number | undefined
  readonly weights?: 'ema' | 'model'
  /** What the model computes in. */
  readonly precision?: string
  /** Of the guide, where there is one. */
  readonly guide?: { readonly checkpoint: string; readonly step?: number | undefined } | undefined
}

export type RecordedOptions = SamplingOptions &
  Pick<BatchOptions, 'seed' | 'autoencoder'> & {
    readonly classes?: readonly number[] | undefined
    readonly prompts?: Prompts | undefined
    readonly origin?: SamplingOrigin | undefined
  }

/** The record of images that a model makes with these options. */
export function samplingRecord(model: AnyTransformer, options: RecordedOptions): SamplingRecord {
  const { guidance, seed, classes, prompts, autoencoder, origin = {} } = options
  const { checkpoint, step, weights, precision } = origin
  const isLatent = makesLatents(model, autoencoder)
  return {
    ...(checkpoint !== undefined && { checkpoint }),
    ...(step !== undefined && { step }),
    sampling: {
      ...samplerSettings(options),
      ...(isGuided(guidance)
        ? {
            guidanceScale: guidance.scale,
            guidanceLow: guidance.low,
            guidanceHigh: guidance.high,
            guidedChannels: guidedChannels(model, guidance),
            ...(guidance.guide && {
              guide: origin.guide?.checkpoint ?? null,
              ...(origin.guide?.step !== undefined && { guideStep: origin.guide.step }),
            }),
            ...(model.classTokenWidth !== undefined && {
              classTokenGuidanceScale: guidance.classTokenScale ?? guidance.scale,
            }),
            ...(guidance.nullLabel !== undefined && { nullLabel: guidance.nullLabel }),
          }
        : { guidanceScale: 1 }),
      seed,
      classes: classes ? [...classes] : null,
      ...(prompts && {
        prompts: prompts.captions.length,
        promptsDigest: digestOf(prompts.captions),
        captionEncoder: prompts.encoder.name,
      }),
      ...(isLatent && { autoencoder: autoencoder?.name ?? null }),
      ...(isLatent && autoencoder && { autoencoderTile: autoencoder.tile ?? null }),
      ...(weights !== undefined && { weights }),
      ...(precision !== undefined && { precision }),
    },
  }
}

/** SHA-256 of what JSON holds. */
export const digestOf = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex')

function samplerSettings(options: SamplingOptions) {
  switch (options.mode) {
    case 'ode': {
      const { mode, solver = 'euler', steps, timeShift = 1, path = 'linear' } = options
      return { mode, solver, ...(solver !== 'dopri5' && { steps }), ...(timeShift !== 1 && { timeShift }), path }
    }
    case 'sde': {
      const { mode, steps, path = 'linear' } = options
      return { mode, steps, path }
    }
    case 'ddpm':
    case 'ddim': {
      const { mode, steps, eta = 0, clip } = options
      return { mode, steps, ...(mode === 'ddim' && { eta }), ...(clip && { clip }) }
    }
  }
}

/** Of a folder of images `sampling.json` in it; of `NAME.npz` and its like `NAME.sampling.json` beside it. */
export type Sampled = { readonly folder: string } | { readonly file: string }

export function recordPath(sampled: Sampled): string {
  if ('folder' in sampled) return join(sampled.folder, 'sampling.json')
  return `${sampled.file.slice(0, sampled.file.length - extname(sampled.file).length)}.sampling.json`
}

export function writeSamplingRecord(sampled: Sampled, record: SamplingRecord): Promise<void> {
  return writeWhole(recordPath(sampled), `${JSON.stringify(record, null, 2)}\n`)
}

/** What a folder's image of a number, from 0, is called. */
export const sampleName = (number: number) => `${String(number).padStart(6, '0')}.png`

/** Where the captions of a folder's images stand, a line each, in the images' order. */
export const promptsPath = (folder: string) => join(folder, 'prompts.txt')

export function writePrompts(folder: string, captions: readonly string[]): Promise<void> {
  return writeWhole(promptsPath(folder), captions.map((caption) => `${caption.replace(/\s+/g, ' ')}\n`).join(''))
}

/**
 * Before other images take the place of those that it is of; of a folder their captions too. These first, for without a record they would be
 * somebody else's.
 */
export async function removeSamplingRecord(sampled: Sampled): Promise<void> {
  if ('folder' in sampled) await rm(promptsPath(sampled.folder), { force: true })
  await rm(recordPath(sampled), { force: true })
}

/**
 * How the images of a folder or file were sampled; undefined where nobody noted it.
 *
 * @throws {ConfigurationError} naming a record that is not of its form
 */
export async function readSamplingRecord(images: string): Promise<SamplingRecord | undefined> {
  const info = await ifThere(stat(images))
  if (info === undefined) return undefined
  const path = recordPath(info.isDirectory() ? { folder: images } : { file: images })
  const text = await ifThere(readFile(path, 'utf8'))
  if (text === undefined) return undefined
  return parseConfiguration(recordSchema, parseJson(text, path), `${path}, which repa sample writes beside its images`)
}
