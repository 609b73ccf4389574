/** The options of a training in a folder, checked before anything is read or written; its configuration is checked by its own schema. */
import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { aFunction, aSignal } from '../diffusion/sampler-options.ts'
import type { TrainOptions } from './run.ts'

const schema = whenNeeded(() => {
  /** An option that is checked where it is used. */
  const elsewhere = z.unknown().optional()
  return z.strictObject({
    data: z.string(),
    out: z.string(),
    configuration: elsewhere,
    resume: z.boolean().optional(),
    device: z.string(),
    world: elsewhere,
    fit: aFunction(),
    signal: aSignal(),
    onStart: aFunction(),
    onStep: aFunction(),
    onNotice: aFunction(),
  } satisfies Record<keyof TrainOptions, z.ZodType>)
})

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireTrainOptions(options: TrainOptions): void {
  parseConfiguration(schema(), options, 'the options of train')
}
