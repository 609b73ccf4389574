/** The options of a preparation, checked before it makes anything: of a program without types, nothing but the set would show what is wrong. */
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { aWorld } from '../distributed/world-schema.ts'
import type { FeatureEncoder } from './feature-encoder.ts'
import type { LatentEncoder } from './latent-encoder.ts'
import type { PrepareOptions } from './prepare.ts'
import { TRANSFORMS } from './transforms.ts'

const positive = z.int().positive()
const path = z.string().min(1)

const schema = whenNeeded(() => {
  const encodes = { name: z.string(), batchSize: positive, encode: aFunction() }
  // What else an encoder has is its own.
  const latentEncoder = z.object({
    ...encodes,
    latentChannels: positive,
    downsampling: positive,
    weights: z.string().optional(),
    tile: positive.optional(),
    latentScale: z.number().positive().optional(),
    hasDeviations: z.boolean().optional(),
  } satisfies Record<keyof LatentEncoder, z.ZodType>)
  const featureEncoder = z.object(
    { ...encodes, weights: z.string().optional(), width: positive } satisfies Record<keyof FeatureEncoder, z.ZodType>,
    'expected an encoder, as openFeatureEncoder gives it',
  )
  return z.strictObject({
    source: z.union([path, z.array(path).min(1)]),
    out: path,
    size: positive.optional(),
    transform: z.enum(TRANSFORMS).optional(),
    wideHeight: positive.optional(),
    onCorrupt: z.enum(['skip', 'fail']).optional(),
    latents: z
      .custom(
        (value) => value === 'none' || latentEncoder.safeParse(value).success,
        'expected "none", or an autoencoder as loadAutoencoder gives it',
      )
      .optional(),
    features: z.array(featureEncoder).optional(),
    featurePatch: positive.optional(),
    flip: z.boolean().optional(),
    maxImages: positive.optional(),
    unlabelled: z.boolean().optional(),
    allowEmptyClasses: z.boolean().optional(),
    captions: path.optional(),
    captionColumn: path.optional(),
    allowMissingCaptions: z.boolean().optional(),
    imageColumn: path.optional(),
    labelColumn: path.optional(),
    world: aWorld('agree').optional(),
    signal: aSignal().optional(),
    onProgress: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof PrepareOptions, z.ZodType>)
})

/** @throws {ConfigurationError} naming every option that is wrong */
export function requirePrepareOptions(options: PrepareOptions): void {
  parseConfiguration(schema(), options, "the preparation's options")
}
