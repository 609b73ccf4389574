import * as z from 'zod'
import { PRECISIONS } from '../training/precision.ts'
import { METHOD_NAMES } from './method.ts'

const positive = z.int().positive()

/** How an encoder is trained: one schema for the command line, the library and a run's config.json. */
export const pretrainingSchema = z.strictObject({
  method: z.enum(METHOD_NAMES).default('mae'),
  /** Side of a patch in pixels. Default: 8 patches to a side of an image, 16 from 128 pixels on. */
  patch: positive.optional(),
  hidden: positive.default(192),
  depth: positive.default(6),
  heads: positive.default(3),
  /** In all: the schedules of learning rate and weight decay end with the last. */
  steps: positive.default(20_000),
  batch: positive.default(256),
  /** At its highest. Default: the method's, by the batch. */
  learningRate: z.number().positive().optional(),
  /** Default: what the device is for, bf16 on a GPU and fp32 on the CPU; a run's config.json says which it was. */
  precision: z.enum(PRECISIONS).optional(),
  seed: z.int().min(0).default(0),
  checkpointEvery: positive.default(5_000),
})

export type PretrainingConfiguration = z.output<typeof pretrainingSchema>
export type PretrainingOptions = z.input<typeof pretrainingSchema>
