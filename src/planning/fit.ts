/** Whether a training's step fits into a device's memory, and what makes it fit. */
import { statedModels } from '../alignment/stated-encoder.ts'
import { formatBytes } from '../report/quantity.ts'
import { gpuOf, memoryStats } from '../tensor/device.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import type { TrainingConfiguration } from '../training/configuration.ts'
import type { FitRequest } from '../training/run.ts'
import { machineOf } from './machine.ts'
import { type PlannedStep, type PlannedStepOptions, planStep } from './planned-step.ts'

/** What the driver, the kernels and the graph of a step take of a GPU besides tensors: an allowance. */
export const RESERVED_BYTES = 2 ** 30

export interface FittedStep {
  readonly step: PlannedStep
  readonly recompute: Recomputation
  readonly fits: boolean
  /** What the allocator would have taken had nothing been computed again. */
  readonly plainBytes: number
}

/**
 * The step with what the configuration says of recomputation; with `auto`, that of nothing where it fits into `room` bytes, else that
 * of everything that single passes give back.
 */
export function fitStep(options: Omit<PlannedStepOptions, 'recompute'>, room: number): FittedStep {
  const { recompute } = options.configuration
  const planned = (choice: Recomputation, plainBytes?: number): FittedStep => {
    const step = planStep({ ...options, recompute: choice })
    return { step, recompute: choice, fits: step.takenBytes <= room, plainBytes: plainBytes ?? step.takenBytes }
  }
  if (recompute === 'none') return planned('none')
  const plain = planned('none')
  if (recompute === 'auto' && plain.fits) return plain
  return planned('elementwise', plain.plainBytes)
}

/** The fewest passes in which the batch fits, more than the configuration has; undefined where no number of them does. */
export function fewestPasses(options: Omit<PlannedStepOptions, 'recompute'>, room: number): number | undefined {
  const { batch, accumulate: now } = options.configuration
  const own = batch / (options.processes ?? 1)
  for (let accumulate = now + 1; accumulate <= own; accumulate++) {
    if (own % accumulate === 0 && isFit({ ...options.configuration, accumulate })) return accumulate
  }
  return undefined

  function isFit(configuration: TrainingConfiguration & PlannedStepOptions['configuration']): boolean {
    try {
      return fitStep({ ...options, configuration }, room).fits
    } catch (error) {
      // A loss that sees the whole batch at once: a trainer refuses these passes.
      if (error instanceof RangeError) return false
      throw error
    }
  }
}

/**
 * For `train`: what `recompute: 'auto'` comes to on a device that is here. Says so where it is something.
 *
 * @throws {Error} where even that is too little: a machine that runs out of memory kills the process, maybe another's, in place of an error
 */
export async function chooseRecomputation({ notice, ...request }: FitRequest): Promise<Recomputation> {
  const { configuration, device, processes } = request
  const gpu = gpuOf(device)
  // Processes on a CPU share the machine's memory; a GPU is one process's.
  const room = gpu ? memoryStats(device).limitBytes - RESERVED_BYTES : memoryStats(device).limitBytes / processes
  const options = { ...request, statedModels: await statedModels(configuration.encoders), machine: machineOf(device) }
  const { recompute, fits, step, plainBytes } = fitStep(options, room)
  if (recompute === 'none') return recompute
  const wanted = `A step would take ${formatBytes(plainBytes)}, and ${gpu?.name ?? 'this machine'} has ${formatBytes(room)}${gpu || processes === 1 ? '' : ' for each process'}`
  if (!fits) {
    const passes = fewestPasses(options, room)
    throw new Error(
      `${wanted}. What can be computed again would leave ${formatBytes(step.takenBytes)}: ${
        passes === undefined
          ? 'take a smaller batch or model.'
          : `--accumulate ${passes} makes the same batch in ${passes} passes that fit.`
      } --recompute elementwise tries it all the same.`,
    )
  }
  notice(
    `${wanted}: activations, LayerNorms and every other state of the stream are computed again in the backward pass ` +
      `(--recompute elementwise), which takes ${formatBytes(step.takenBytes)} and changes no bit of the results.`,
  )
  return recompute
}
