/**
 * The loss scale of a run in fp16 as torch.amp.GradScaler's state_dict() has it. Torch checkpoints keep that under "scaler", as a rule; REPA's
 * scripts neither write it nor look at it.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import type { TorchValue } from '../formats/torch-checkpoint.ts'
import type { WritableTorchValue } from '../formats/torch-checkpoint-writer.ts'
import type { CheckpointState } from '../training/checkpoint.ts'

type LossScaling = NonNullable<CheckpointState['lossScaling']>

/** Of the dictionary that is the file. */
export const GRAD_SCALER_KEY = 'scaler'

/** torch's defaults, and the optimizer's constants (native/core/step_state.h). */
const CONSTANTS = { growth_factor: 2, backoff_factor: 0.5, growth_interval: 2000 }

/** Of a scaler that is enabled; else the dictionary is empty. */
const stateSchema = z.object({ scale: z.number().positive(), _growth_tracker: z.int().nonnegative() })

export function gradScalerOf({ scale, steps }: LossScaling): WritableTorchValue {
  return { scale, ...CONSTANTS, _growth_tracker: steps }
}

/**
 * Undefined where the file has no scaler, or one that is not enabled.
 *
 * @throws {ConfigurationError} where it has something else in its place
 */
export function lossScalingIn(file: ReadonlyMap<TorchValue, TorchValue>, path: string): LossScaling | undefined {
  const value = file.get(GRAD_SCALER_KEY)
  if (value == null || (value instanceof Map && value.size === 0)) return undefined
  const state = value instanceof Map ? Object.fromEntries(value) : value
  const { scale, _growth_tracker: steps } = parseConfiguration(stateSchema, state, `${path}: ${GRAD_SCALER_KEY}`)
  return { scale, steps }
}
