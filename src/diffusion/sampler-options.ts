/**
 * What a sampler is asked for, checked before its first evaluation: of a program without types, nothing but the images would show what is
 * wrong.
 */
import * as z from 'zod'
import { aFunction, anObjectWith, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { aWorld } from '../distributed/world-schema.ts'
import { Model } from '../models/model.ts'
import type { AnyTransformer, TransformerKind } from '../models/transformer-kinds.ts'
import { aTensor } from '../tensor/tensor-schema.ts'
import type { Guidance } from './guidance.ts'
import type { SamplingOrigin } from './sampling-record.ts'

/** Of a grid of times. */
export const pointsOfTime = () => z.int().min(2, 'expected 2 at least, the ends').optional()

const aPath = () => z.enum(['linear', 'cosine'])

const ofEveryKind = () => ({
  guidance: z
    .strictObject({
      scale: z.number().min(1, 'expected 1, which is no guidance, or more'),
      low: z.number(),
      high: z.number(),
      channels: z.int().positive().optional(),
      classTokenScale: z.number().min(0).optional(),
      nullLabel: z.int().min(0).optional(),
      guide: z.custom((value) => value instanceof Model, 'expected a SiT or a DiT').optional(),
      guidePath: aPath().optional(),
      latentStatistics: z.strictObject({ model: z.string().optional(), guide: z.string().optional() }).optional(),
    } satisfies Record<keyof Guidance, z.ZodType>)
    .refine(({ scale, low, high }) => scale === 1 || low <= high, {
      path: ['low'],
      error: 'is above high, so that guidance would never be active; a scale of 1 turns it off',
    })
    .optional(),
  signal: aSignal().optional(),
  noise: aFunction().optional(),
  onStep: aFunction().optional(),
  observe: aFunction().optional(),
})

/** `SamplerOptions` */
export const samplerSchema = whenNeeded(() =>
  z
    .strictObject({
      ...ofEveryKind(),
      mode: z.enum(['ode', 'sde']),
      solver: z.enum(['euler', 'heun', 'dopri5']).optional(),
      steps: z.int().positive(),
      timeShift: z.number().positive().optional(),
      path: aPath().optional(),
      classToken: z
        .strictObject({
          start: aTensor(),
          noise: aFunction().optional(),
        })
        .optional(),
    })
    .refine(({ mode, solver = 'euler' }) => mode === 'ode' || solver === 'euler', {
      path: ['solver'],
      error: 'is of the ODE; steps of the SDE are of Euler and Maruyama',
    })
    .refine(({ mode, solver, timeShift }) => timeShift === undefined || (mode === 'ode' && solver !== 'dopri5'), {
      path: ['timeShift'],
      error: 'shifts the steps of euler and heun; the SDE has times of its own, and dopri5 chooses them',
    }),
)

/** `DiffusionSamplerOptions` */
export const diffusionSamplerSchema = whenNeeded(() =>
  z
    .strictObject({
      ...ofEveryKind(),
      mode: z.enum(['ddpm', 'ddim']),
      // respacing.ts says what of them is wrong.
      steps: z.unknown().optional(),
      eta: z.number().min(0).max(1).optional(),
      clip: z.boolean().optional(),
      observeInput: aFunction().optional(),
    })
    .refine(({ mode, eta = 0 }) => mode === 'ddim' || eta === 0, {
      path: ['eta'],
      error: "is of DDIM, and DDPM's noise is all of it",
    }),
)

/** What samples images gives its sampler these itself: they are of one batch. */
const imageSamplerSchema = whenNeeded(() => {
  const own = (words: string) =>
    z.undefined(`${words}; \`sampleFlow\` and \`sampleDiffusion\` take one's own`).optional()
  const seeded = own('is drawn for each image from the seed')
  const observed = own('sees one batch')
  return z.looseObject({
    noise: seeded,
    classToken: seeded,
    observe: observed,
    observeInput: observed,
    onStep: own('is of one batch, and `onProgress` of all'),
  })
})

const ofBatches = () => ({
  prompts: z
    .strictObject({
      captions: z.array(z.string()),
      encoder: anObjectWith('tokenize', 'a caption encoder, as loadCaptionEncoder gives it'),
    })
    .optional(),
  seed: z.int().min(0),
  batch: z.int().positive(),
  autoencoder: anObjectWith('decode', 'an autoencoder, as loadAutoencoder gives it').optional(),
  onProgress: aFunction().optional(),
})

const batchSchema = whenNeeded(() =>
  z
    .strictObject({
      ...ofBatches(),
      labels: z.custom((value) => value instanceof Int32Array, 'expected Int32Array').optional(),
      firstImage: z.int().min(0),
    })
    .refine(({ labels, prompts }) => (labels === undefined) !== (prompts === undefined), {
      path: ['labels'],
      error: 'expected an Int32Array of classes, or `prompts` of a model of text in their place',
    }),
)

const folderSchema = whenNeeded(() => {
  const count = z.int().positive()
  const file = z.string().optional()
  const step = z.int().min(0).optional()
  return z.strictObject({
    ...ofBatches(),
    folder: z.string(),
    count,
    // Which of them the model has, sample-to-folder.ts says.
    classes: z.array(z.int()).optional(),
    npz: file,
    latents: z.boolean().optional(),
    grid: file,
    gridCount: count.optional(),
    columns: count.optional(),
    world: aWorld('meet').optional(),
    origin: z
      .strictObject({
        checkpoint: z.string().optional(),
        step,
        weights: z.enum(['ema', 'model']).optional(),
        precision: z.string().optional(),
        guide: z.strictObject({ checkpoint: z.string(), step }).optional(),
      } satisfies Record<keyof SamplingOrigin, z.ZodType>)
      .optional(),
    onContinue: aFunction().optional(),
    onNotice: aFunction().optional(),
  })
})

/** @throws {TypeError} where a sampler is given a model of another kind, which it would ask for times that the model does not know */
export function requireKind(model: AnyTransformer, kind: TransformerKind): void {
  if (model?.config?.kind === kind) return
  const other = model?.config?.kind
  throw new TypeError(
    `${SAMPLERS[kind]} samples a ${kind}; got ${other ? `a ${other}, of which ${SAMPLERS[other]} is` : 'no model'}.`,
  )
}

const SAMPLERS: Readonly<Record<TransformerKind, string>> = { SiT: 'sampleFlow', DiT: 'sampleDiffusion' }

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireOptions(schema: () => z.ZodType, options: unknown): void {
  parseConfiguration(schema(), options, "the sampler's options")
}

/** Of the sampler that makes images. */
export function requireImageSampler(schema: () => z.ZodType, options: unknown): void {
  requireOptions(imageSamplerSchema, options)
  requireOptions(schema, options)
}

/** Of `sampleImages`, apart from its sampler's. */
export function requireBatches(options: unknown): void {
  requireOptions(batchSchema, options)
}

/** Of `sampleToFolder`, apart from its sampler's. */
export function requireFolder(options: unknown): void {
  requireOptions(folderSchema, options)
}
