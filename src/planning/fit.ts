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

/** So many are planned as they are; of more, so many and one less. */
const FEW_PASSES = 3

/** By how much a pass's share of the memory may differ from that of another, in bytes: some allocations, each rounded to its granule. */
const ROUNDING_OF_A_PASS = 2 ** 16

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

/** Whether a step fits that a trainer may refuse, for a loss of it is of several images at once; then it does not. */
function unlessRefused(fits: () => boolean): boolean {
  try {
    return fits()
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

/**
 * The most images, at most `most` and a multiple of `unit` as that is, of which a step fits: by halves, for its memory grows with its batch.
 * 0 where not even `unit` do.
 */
export function largestBatch(fits: (batch: number) => boolean, { most, unit }: { most: number; unit: number }): number {
  let [good, bad] = [0, most / unit]
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2)
    if (unlessRefused(() => fits(middle * unit))) good = middle
    else bad = middle
  }
  return good * unit
}

/** The fewest passes in which the batch fits, more than the configuration has; undefined where no number of them does. */
export function fewestPasses(options: Omit<PlannedStepOptions, 'recompute'>, room: number): number | undefined {
  const { batch, accumulate: now } = options.configuration
  const own = batch / (options.processes ?? 1)
  for (let accumulate = now + 1; accumulate <= own; accumulate++) {
    if (own % accumulate === 0 && isFit(accumulate)) return accumulate
  }
  return undefined

  function isFit(accumulate: number): boolean {
    const configuration = { ...options.configuration, accumulate }
    return unlessRefused(() => fitsByFewPasses(configuration) ?? fitStep({ ...options, configuration }, room).fits)
  }

  /**
   * A plan takes as long as it has passes. From the third on each adds its share of the batch, which is uploaded as one; so two short plans
   * tell what many passes take, but for how the allocator rounds. Undefined where that could decide, and of what is short itself.
   */
  function fitsByFewPasses(
    configuration: TrainingConfiguration & PlannedStepOptions['configuration'],
  ): boolean | undefined {
    const { accumulate } = configuration
    if (accumulate <= FEW_PASSES) return undefined
    const [less, more] = [FEW_PASSES - 1, FEW_PASSES].map((passes) => ({
      ...options,
      configuration: { ...configuration, accumulate: passes, batch: (batch / accumulate) * passes },
    })) as [typeof options, typeof options]
    const choices = configuration.recompute === 'auto' ? (['none', 'elementwise'] as const) : [configuration.recompute]
    const verdicts = choices.map((recompute) => {
      const bytes = planStep({ ...more, recompute }).takenBytes
      const share = bytes - planStep({ ...less, recompute }).takenBytes
      const excess = bytes + (accumulate - FEW_PASSES) * share - room
      return Math.abs(excess) <= accumulate * ROUNDING_OF_A_PASS ? undefined : excess < 0
    })
    if (verdicts.includes(true)) return true
    return verdicts.includes(undefined) ? undefined : false
  }
}

/**
 * For `train`: what `recompute: 'auto'` comes to on a device that is here. Says so where it is something.
 *
 * @throws {Error} where even that is too little: a machine that runs out of memory kills the process, maybe another's, in place of an error
 */
export async function chooseRecomputation({ onNotice, ...request }: FitRequest): Promise<Recomputation> {
  const { configuration, device, processes } = request
  const gpu = gpuOf(device)
  // Processes on a CPU share the machine's memory; a GPU is one process's.
  const room = gpu
    ? Math.max(0, memoryStats(device).limitBytes - RESERVED_BYTES)
    : memoryStats(device).limitBytes / processes
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
          : `\`accumulate: ${passes}\` makes the same batch in ${passes} passes that fit.`
      } \`recompute: 'elementwise'\` tries it all the same.`,
    )
  }
  onNotice(
    `${wanted}: activations, LayerNorms and every other state of the stream are computed again in the backward pass ` +
      `(\`recompute: 'elementwise'\`), which takes ${formatBytes(step.takenBytes)} and changes no bit of the results.`,
  )
  return recompute
}
