/**
 * What an evaluation of layers is asked for, checked before its first image: of a program without types, nothing but the curve would show what
 * is wrong.
 */
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { Dataset } from '../data/dataset.ts'
import { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import type { EvaluateCknnaOptions } from './cknna.ts'
import type { EvaluateEncoderProbeOptions } from './encoder-probe.ts'
import type { EvaluateProbeOptions } from './probe.ts'

const positive = () => z.int().positive()

const anObjectWith = (key: string, what: string) =>
  z.custom((value) => typeof value === 'object' && value !== null && key in value, `expected ${what}`)

const anEncoder = () => anObjectWith('features', 'an encoder, as loadEncoder gives it')

const aDataset = () => z.custom((value) => value instanceof Dataset, 'expected a Dataset, as Dataset.open gives it')

const ofEveryKind = () => ({
  data: aDataset(),
  images: positive().optional(),
  seed: z.int().min(0),
  batch: positive(),
  signal: aSignal().optional(),
  onProgress: aFunction().optional(),
})

const ofAModel = () => ({
  model: z.custom((value) => value instanceof DiffusionTransformer, 'expected a SiT or a DiT'),
  autoencoder: anObjectWith('encodeImages', 'an autoencoder, as loadAutoencoder gives it').optional(),
  classTokenEncoder: anEncoder().optional(),
  captionEncoder: anObjectWith('tokenize', 'a caption encoder, as loadCaptionEncoder gives it').optional(),
  // Which of them the model has, block-features.ts says.
  layers: z.array(z.int()).min(1).optional(),
  noise: z.array(z.number().min(0).max(1)).min(1).optional(),
  path: z.enum(['linear', 'cosine']),
})

const ofAProbe = () => ({
  test: aDataset().optional(),
  schedule: z
    .strictObject({
      epochs: positive().optional(),
      batch: positive().optional(),
      learningRate: z.number().min(0).optional(),
    })
    .optional(),
})

const probeSchema = whenNeeded(() =>
  z.strictObject({ ...ofEveryKind(), ...ofAModel(), ...ofAProbe() } satisfies Record<
    keyof EvaluateProbeOptions,
    z.ZodType
  >),
)

const encoderProbeSchema = whenNeeded(() =>
  z.strictObject({ ...ofEveryKind(), ...ofAProbe(), encoder: anEncoder(), device: z.string() } satisfies Record<
    keyof EvaluateEncoderProbeOptions,
    z.ZodType
  >),
)

const cknnaSchema = whenNeeded(() =>
  z.strictObject({
    ...ofEveryKind(),
    ...ofAModel(),
    encoder: anEncoder(),
    neighbours: positive().optional(),
  } satisfies Record<keyof EvaluateCknnaOptions, z.ZodType>),
)

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireProbeOptions(options: EvaluateProbeOptions): void {
  parseConfiguration(probeSchema(), options, "the probe's options")
}

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireEncoderProbeOptions(options: EvaluateEncoderProbeOptions): void {
  parseConfiguration(encoderProbeSchema(), options, "the probe's options")
}

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireCknnaOptions(options: EvaluateCknnaOptions): void {
  parseConfiguration(cknnaSchema(), options, "the comparison's options")
}
