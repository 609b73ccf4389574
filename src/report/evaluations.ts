import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

const step = z.int().nonnegative()
const count = z.int().positive()
const layer = z.int().nonnegative()
const share = z.number().min(0).max(1)

/**
 * How good samples are (`repa evaluate fid`). With Inception's features the five numbers of the ADM suite; with an encoder's
 * the Fréchet distance, precision and recall.
 *
 * ```json
 * { "kind": "fid", "step": 400000, "features": "inception", "reference": "VIRTUAL_imagenet256_labeled.npz", "images": 50000,
 *   "fid": 7.9, "sfid": 5.06, "is": 122.6, "precision": 0.7, "recall": 0.65 }
 * ```
 */
const FidEvaluation = z.strictObject({
  kind: z.literal('fid'),
  /** Steps that the model had been trained for; without it the numbers stand in no curve. */
  step: step.optional(),
  /** `inception`, or the encoder's name as `--features` spells it. */
  features: z.string().min(1),
  /** What the samples were compared with, as it was named on the command line. */
  reference: z.string(),
  /** Samples that were compared. */
  images: count,
  fid: z.number(),
  sfid: z.number().optional(),
  is: z.number().optional(),
  precision: share.optional(),
  recall: share.optional(),
})

/**
 * How much of the classes a linear classifier reads from a layer's features (`repa evaluate probe`).
 *
 * ```json
 * { "kind": "probe", "step": 400000, "images": 10000, "points": [{ "layer": 8, "noise": 0, "accuracy": 0.703 }] }
 * ```
 */
const ProbeEvaluation = z.strictObject({
  kind: z.literal('probe'),
  step: step.optional(),
  /** Held-out images on which the accuracy was measured. */
  images: count,
  points: z.array(
    z.strictObject({
      /** Blocks that the features went through: 1 is the first block's output, 0 the embedded patches. */
      layer,
      /** Time of the path at which the images were noised: 0 is a clean image, 1 is noise. */
      noise: share,
      /** Share of images whose class was named first. */
      accuracy: share,
    }),
  ),
})

/**
 * How far a layer's features align with an encoder's (`repa evaluate cknna`).
 *
 * ```json
 * { "kind": "cknna", "step": 400000, "encoder": "dinov2-vit-g", "formula": "paper", "neighbours": 10, "images": 10000,
 *   "points": [{ "layer": 8, "noise": 0, "cknna": 0.53 }] }
 * ```
 */
const CknnaEvaluation = z.strictObject({
  kind: z.literal('cknna'),
  step: step.optional(),
  encoder: z.string().min(1),
  /** `paper`: equations 21 to 24 of REPA; `platonic`: the code of "The Platonic Representation Hypothesis". */
  formula: z.enum(['paper', 'platonic']),
  /** k: nearest neighbours that must be shared. */
  neighbours: count,
  images: count,
  points: z.array(z.strictObject({ layer, noise: share, cknna: z.number() })),
})

/** What a file `RUN/evaluation/NAME.json` holds, whatever its name: one evaluation of one checkpoint of the run. */
export const EvaluationSchema = z.discriminatedUnion('kind', [FidEvaluation, ProbeEvaluation, CknnaEvaluation])
export type Evaluation = z.output<typeof EvaluationSchema>
export type FidEvaluation = z.output<typeof FidEvaluation>
export type ProbeEvaluation = z.output<typeof ProbeEvaluation>
export type CknnaEvaluation = z.output<typeof CknnaEvaluation>

/**
 * Reads every `.json` of a run's folder `evaluation`, in the order of their names; no folder is none.
 *
 * @throws Error naming a file that is no JSON or not of the right form.
 */
export async function readEvaluations(directory: string): Promise<Evaluation[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const evaluations: Evaluation[] = []
  for (const name of names.filter((name) => name.endsWith('.json')).sort()) {
    const file = join(directory, name)
    evaluations.push(parseEvaluation(await readFile(file, 'utf8'), file))
  }
  return evaluations
}

function parseEvaluation(text: string, file: string): Evaluation {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new Error(`${file}: expected JSON: ${(error as Error).message}.`)
  }
  const checked = EvaluationSchema.safeParse(json)
  if (checked.success) return checked.data
  const { path, message } = checked.error.issues[0]!
  const field = path.length > 0 ? `'${path.join('.')}': ` : ''
  throw new Error(`${file}: ${field}${message}; expected what 'repa evaluate fid|probe|cknna --out' writes.`)
}
