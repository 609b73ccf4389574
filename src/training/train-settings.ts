/** The options of a training in a folder, checked before anything is read or written; its configuration is checked by its own schema. */
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { TrainOptions } from './run.ts'

const schema = whenNeeded(() => {
  /** An option that is checked where it is used. */
  const elsewhere = z.unknown().optional()
  /** That are checked together. */
  const settings = z.looseObject({})
  return z.strictObject({
    data: z.string(),
    out: z.string(),
    configuration: settings,
    shared: settings.optional(),
    resume: z.boolean().optional(),
    device: z.string(),
    world: elsewhere,
    fit: aFunction().optional(),
    signal: aSignal().optional(),
    onStart: aFunction().optional(),
    onStep: aFunction().optional(),
    onSampling: aFunction().optional(),
    onSampled: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof TrainOptions, z.ZodType>)
})

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireTrainOptions(options: TrainOptions): void {
  parseConfiguration(schema(), options, 'the options of train')
}
