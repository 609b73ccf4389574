/** Where the experiment keeps what it makes, under its folder. */
import { join } from 'node:path'

export interface Places {
  /** What the numbers in this folder depend on. */
  readonly settings: string
  readonly seconds: string
  readonly result: string
  /** The training images, prepared; beside them the teacher's features. */
  readonly train: string
  /** Training images that no model is trained on: of the held-out loss. */
  readonly heldOut: string
  /** Test images: of the probes' accuracy. */
  readonly test: string
  readonly teacher: string
  readonly teacherProbe: string
  /** Of the training images' features, in the judge. */
  readonly statistics: string
  readonly floor: string
  run(seed: number, arm: Arm): string
  /** One measurement of a run: JSON, and beside it the picture of its first samples. */
  measurement(seed: number, arm: Arm, step: number): { readonly json: string; readonly picture: string }
}

/** The two runs of a seed. */
export const ARMS = ['vanilla', 'aligned'] as const
export type Arm = (typeof ARMS)[number]

export function placesIn(out: string): Places {
  const run = (seed: number, arm: Arm): string => join(out, 'runs', `seed-${seed}-${arm}`)
  return {
    settings: join(out, 'settings.json'),
    seconds: join(out, 'seconds.json'),
    result: join(out, 'result.json'),
    train: join(out, 'data', 'train'),
    heldOut: join(out, 'data', 'held-out'),
    test: join(out, 'data', 'test'),
    teacher: join(out, 'teacher'),
    teacherProbe: join(out, 'teacher-probe.json'),
    statistics: join(out, 'statistics.safetensors'),
    floor: join(out, 'floor.json'),
    run,
    measurement: (seed, arm, step) => {
      const name = join(run(seed, arm), 'measurements', String(step).padStart(7, '0'))
      return { json: `${name}.json`, picture: `${name}.png` }
    },
  }
}
