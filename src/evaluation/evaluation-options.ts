/**
 * What an evaluation of layers or of captions is asked for, checked before its first image: of a program without types, nothing but the
 * numbers would show what is wrong.
 */
import * as z from 'zod'
import { aFunction, anObjectWith, aSignal } from '../configuration/callbacks.ts'
import { ConfigurationError, parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { Dataset } from '../data/dataset.ts'
import { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import type { EvaluateCknnaOptions } from './cknna.ts'
import type { EvaluateClipScoreOptions } from './clip-score.ts'
import type { EvaluateEncoderProbeOptions } from './encoder-probe.ts'
import type { EvaluateProbeOptions } from './probe.ts'

const positive = () => z.int().positive()

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

const clipScoreSchema = whenNeeded(() =>
  z.strictObject({
    samples: z.string().optional(),
    captions: z.string().optional(),
    data: aDataset().optional(),
    clip: z.string(),
    device: z.string(),
    batch: positive(),
    signal: aSignal().optional(),
    onProgress: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof EvaluateClipScoreOptions, z.ZodType>),
)

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireClipScoreOptions(options: EvaluateClipScoreOptions): void {
  const what = "the CLIP score's options"
  const { samples, captions, data } = parseConfiguration(clipScoreSchema(), options, what)
  if ((samples === undefined) === (data === undefined)) {
    throw new ConfigurationError(
      `${what}: expected samples or data, ${samples === undefined ? 'got neither' : 'got both'}.`,
    )
  }
  if (data !== undefined && captions !== undefined) {
    throw new ConfigurationError(`${what}: data has its captions; expected no others, got ${JSON.stringify(captions)}.`)
  }
}

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
