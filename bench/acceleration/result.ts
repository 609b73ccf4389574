import * as z from 'zod'
import { type CurvePoints, type Measure, meanCurve } from './analysis.ts'
import { measurementSchema } from './measurement.ts'
import { ARMS, type Arm } from './places.ts'

/** What a run of the experiment found: `result.json`. */
export const resultSchema = z.strictObject({
  format: z.literal('repa-native-acceleration-1'),
  date: z.iso.date(),
  size: z.string(),
  /** As the table of sizes had it. */
  settings: z.json(),
  machine: z.strictObject({ device: z.string(), processor: z.string(), threads: z.int().positive() }),
  teacher: z.strictObject({
    name: z.string(),
    /** SHA-256 of its file of weights; undefined for the built-in encoder. */
    weights: z.string().optional(),
    /** A linear probe on its features, on the images of the runs' probes. */
    accuracy: z.number(),
  }),
  /** Of held-out photographs from the training images, as many as are generated: what a perfect generator would be measured at. */
  floor: z.number(),
  images: z.strictObject({ train: z.int(), heldOut: z.int(), test: z.int() }),
  /** By part. */
  seconds: z.record(z.string(), z.number()),
  runs: z
    .array(z.strictObject({ seed: z.int(), arm: z.enum(ARMS), points: z.array(measurementSchema).nonempty() }))
    .nonempty(),
})

export type Result = z.output<typeof resultSchema>

export function seedsOf({ runs }: Result): readonly number[] {
  return [...new Set(runs.map(({ seed }) => seed))]
}

/** One measure of one run, by step. */
export function curveOf({ runs }: Result, seed: number, arm: Arm, measure: Measure): CurvePoints {
  const run = runs.find((run) => run.seed === seed && run.arm === arm)
  if (!run) throw new RangeError(`The result has no ${arm} run of seed ${seed}.`)
  return run.points.map((point) => ({ step: point.step, value: point[measure] }))
}

export function meanCurveOf(result: Result, arm: Arm, measure: Measure): CurvePoints {
  return meanCurve(seedsOf(result).map((seed) => curveOf(result, seed, arm, measure)))
}
