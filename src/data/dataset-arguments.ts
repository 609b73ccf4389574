/** What a Dataset is asked for, checked where no type has been: buffers of another length, and names that it does not know, are silent else. */
import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { LatentMaker, SampleTarget } from './dataset.ts'
import type { OpenDatasetOptions } from './dataset-listing.ts'

const openSchema = whenNeeded(() =>
  z.strictObject({ captions: z.boolean().optional() } satisfies Record<keyof OpenDatasetOptions, z.ZodType>),
)

const wantedSchema = whenNeeded(() => z.strictObject({ image: z.boolean(), latent: z.boolean() }))

const targetSchema = whenNeeded(() =>
  z.strictObject({
    image: z.custom((value) => value instanceof Uint8Array, 'expected Uint8Array').optional(),
    latent: z.custom((value) => value instanceof Float32Array, 'expected Float32Array').optional(),
    flipped: z.boolean().optional(),
  } satisfies Record<keyof SampleTarget, z.ZodType>),
)

// An autoencoder has more.
const makerSchema = whenNeeded(() =>
  z.looseObject({
    name: z.string(),
    latentChannels: z.int().positive(),
    downsampling: z.int().positive(),
    latentScale: z.number(),
    hasDeviations: z.boolean(),
  } satisfies Record<keyof LatentMaker, z.ZodType>),
)

/** @throws {ConfigurationError} for options of `Dataset.open` that are none */
export function requireOpenOptions(options: OpenDatasetOptions): void {
  parseConfiguration(openSchema(), options, 'the options of Dataset.open')
}

/** @throws {ConfigurationError} where it does not say what of a sample is wanted */
export function requireWanted(wanted: { image: boolean; latent: boolean }): void {
  parseConfiguration(wantedSchema(), wanted, 'what of a sample is wanted')
}

/**
 * @throws {ConfigurationError} for a target that is none
 * @throws {RangeError} for a buffer of another length than a sample's: what is too long would keep its end
 */
export function requireTarget(
  target: SampleTarget,
  lengths: { readonly image: number | undefined; readonly latent: number },
): void {
  parseConfiguration(targetSchema(), target, 'the target of readInto')
  for (const part of ['image', 'latent'] as const) {
    const length = target[part]?.length
    if (length === undefined || lengths[part] === undefined || length === lengths[part]) continue
    throw new RangeError(`readInto: the ${part} has room for ${length} numbers, and a sample's has ${lengths[part]}.`)
  }
}

/** @throws {ConfigurationError} for what makes no latents */
export function requireMaker(maker: LatentMaker): void {
  parseConfiguration(makerSchema(), maker, 'what makes the latents')
}
