import { join } from 'node:path'
import type { Device } from '../../src/tensor/device.ts'
import type { TrainingOptions } from '../../src/training/configuration.ts'
import { train } from '../../src/training/run.ts'
import { checkpointName, RUN_LAYOUT } from '../../src/training/run-layout.ts'
import type { Terminal } from './data-sets.ts'
import { isThere } from './json-file.ts'
import type { Arm } from './places.ts'
import type { Size } from './sizes.ts'
import type { Teacher } from './teacher.ts'

export interface TrainingRunOptions {
  readonly size: Size
  readonly seed: number
  readonly arm: Arm
  readonly teacher: Teacher
  /** The prepared training images. */
  readonly data: string
  readonly out: string
  readonly device: Device
  readonly terminal: Terminal
}

/** The settings of a run: those of the two runs of a seed differ in the alignment alone. */
export function configurationOf(size: Size, seed: number, arm: Arm, teacher: Teacher): TrainingOptions {
  const { name, file } = teacher
  return {
    ...size.training,
    model: size.model,
    seed,
    checkpointEvery: size.measureEvery,
    // The pictures are made with the measurements.
    sampleEvery: size.training.steps,
    samples: { count: 1, steps: 1, guidanceScale: 1 },
    ...(arm === 'aligned' && { ...size.alignment, encoders: [{ name, ...(file !== undefined && { file }) }] }),
  }
}

export const checkpointOf = (run: string, step: number): string =>
  join(run, RUN_LAYOUT.checkpoints, checkpointName(step))

/** Trains one run to its end, from where an earlier call left it. */
export async function trainRun(options: TrainingRunOptions): Promise<void> {
  const { size, seed, arm, teacher, data, out, device, terminal } = options
  const { steps } = size.training
  if (await isThere(checkpointOf(out, steps))) return
  let bar: ReturnType<Terminal['progress']> | undefined
  try {
    await train({
      data,
      out,
      device,
      signal: terminal.signal,
      configuration: configurationOf(size, seed, arm, teacher),
      resume: await isThere(join(out, RUN_LAYOUT.configuration)),
      onStart: ({ step }) => {
        bar = terminal.progress({ label: `seed ${seed}, ${arm}`, unit: 'steps', total: steps, initial: step })
      },
      onStep: ({ index, denoising, alignment, imagesPerSecond }) =>
        bar?.update(index, { denoising, ...(alignment !== undefined && { alignment }), 'images/s': imagesPerSecond }),
      onNotice: (sentence) => terminal.out.line(sentence),
    })
  } finally {
    bar?.end()
  }
  terminal.signal.throwIfAborted()
}
