import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { ifThere } from '../formats/if-there.ts'
import { JsonObjectSchema } from './json.ts'

const count = z.int().positive()
const layer = z.int().nonnegative()
const share = z.number().min(0).max(1)

/** What was evaluated. The step is that of the checkpoint's name (`…/checkpoints/0400000`) where it is not given. */
const evaluated = {
  /** Steps that the model had been trained for; where neither this nor the checkpoint says it, the numbers are in no curve by step. */
  step: z.int().nonnegative().optional(),
  checkpoint: z.string().optional(),
}

/**
 * How good samples are (`repa evaluate fid`). With Inception's features the five numbers of the ADM suite; with an encoder's
 * the Fréchet distance, precision and recall. Null is what could not be measured.
 *
 * ```json
 * { "kind": "fid", "step": 400000, "network": "inception", "reference": "VIRTUAL_imagenet256_labeled.npz", "samples": "samples.npz",
 *   "sampling": { "mode": "sde", "steps": 250, "guidanceScale": 1.8, "guidanceLow": 0, "guidanceHigh": 0.7 }, "features": 2048, "referenceImages": 10000, "sampleImages": 50000,
 *   "fid": 7.9, "sfid": 5.06, "is": 122.6, "precision": 0.7, "recall": 0.65 }
 * ```
 */
const FidEvaluation = z.strictObject({
  kind: z.literal('fid'),
  ...evaluated,
  /** `inception`, or the encoder's name as `--features` spells it. */
  network: z.string().min(1),
  /** What the samples were compared with, and the samples, as they were named on the command line. */
  reference: z.string(),
  samples: z.string().optional(),
  /** How the samples were made, setting by setting, as `repa sample` noted it beside them; not there where nobody did. */
  sampling: JsonObjectSchema.optional(),
  /** Width of the features. */
  features: count.optional(),
  /** Images of each side; null where stored statistics do not say. */
  referenceImages: count.nullable().optional(),
  sampleImages: count.nullable(),
  fid: z.number().nullable(),
  sfid: z.number().nullable().optional(),
  is: z.number().nullable().optional(),
  precision: share.nullable().optional(),
  recall: share.nullable().optional(),
})

/**
 * How well samples, or a data set's images, fit their captions (`repa evaluate clip`).
 *
 * ```json
 * { "kind": "clip", "step": 150000, "network": "ViT-L/14", "clip": "clip-vit-large-patch14", "samples": "samples",
 *   "sampling": { "mode": "ode", "steps": 50, "guidanceScale": 2 }, "images": 40192, "withoutCaption": 0, "cosine": 0.253, "standardError": 0.0002 }
 * ```
 */
const ClipEvaluation = z.strictObject({
  kind: z.literal('clip'),
  ...evaluated,
  /** As OpenAI calls it. */
  network: z.string().min(1),
  /** Its weights, as they were named on the command line, and their SHA-256. */
  clip: z.string().optional(),
  sha256: z.string().optional(),
  /** What was scored: samples, with the file of their captions where it was named, or a data set's images. */
  samples: z.string().optional(),
  captions: z.string().optional(),
  data: z.string().optional(),
  sampling: JsonObjectSchema.optional(),
  images: count,
  /** Images that were left out, for they have no caption. */
  withoutCaption: z.int().nonnegative().optional(),
  /** The mean cosine of the features of an image and its caption. */
  cosine: z.number().min(-1).max(1),
  standardError: z.number().nonnegative().nullable().optional(),
})

/** The grid of what was measured, which the points say as well. */
const grid = { layers: z.array(layer).optional(), noise: z.array(share).optional() }
const place = {
  /** Block whose output it is, from 1. */
  layer,
  /** Time of the path at which the images were noised: 0 is a clean image, 1 is noise. */
  noise: share,
}

/**
 * How much of the classes a linear classifier reads from a layer's features (`repa evaluate probe`).
 *
 * ```json
 * { "kind": "probe", "checkpoint": "runs/xl/checkpoints/0400000", "data": "data/imagenet256", "classes": 1000, "trainImages": 40000, "testImages": 10000,
 *   "points": [{ "layer": 8, "noise": 0, "accuracy": 0.703, "trainAccuracy": 0.81 }] }
 * ```
 */
const ProbeEvaluation = z.strictObject({
  kind: z.literal('probe'),
  ...evaluated,
  ...grid,
  data: z.string().optional(),
  /** Classes to choose from. */
  classes: count.optional(),
  trainImages: count.optional(),
  /** Held-out images on which the accuracy was measured. */
  testImages: count,
  schedule: JsonObjectSchema.optional(),
  /** Shares of images whose class was named first. */
  points: z.array(z.strictObject({ ...place, accuracy: share, trainAccuracy: share.optional() })),
})

/**
 * How much of the classes a linear classifier reads from an encoder's features of clean images (`repa evaluate probe --encoder`).
 *
 * ```json
 * { "kind": "encoder-probe", "encoder": "vit", "file": "runs/encoder/encoder.safetensors", "data": "data/mine", "grid": [8, 8],
 *   "trainImages": 40000, "testImages": 10000, "accuracy": 0.52, "trainAccuracy": 0.53 }
 * ```
 */
const EncoderProbeEvaluation = z.strictObject({
  kind: z.literal('encoder-probe'),
  step: z.int().nonnegative().optional(),
  checkpoint: z.undefined().optional(),
  encoder: z.string().min(1),
  /** Its weights, as they were named on the command line. */
  file: z.string().optional(),
  data: z.string().optional(),
  classes: count.optional(),
  /** Rows and columns of features over the image. */
  grid: z.tuple([count, count]).optional(),
  trainImages: count.optional(),
  testImages: count,
  schedule: JsonObjectSchema.optional(),
  accuracy: share,
  trainAccuracy: share.optional(),
})

/**
 * How far a layer's features align with an encoder's (`repa evaluate cknna`).
 *
 * ```json
 * { "kind": "cknna", "checkpoint": "runs/xl/checkpoints/0400000", "encoder": "dinov2-vit-g", "images": 10000, "neighbours": 10,
 *   "points": [{ "layer": 8, "noise": 0, "cknna": 0.53, "platonicCknna": 0.31, "mutualKnn": 0.2 }] }
 * ```
 */
const CknnaEvaluation = z.strictObject({
  kind: z.literal('cknna'),
  ...evaluated,
  ...grid,
  data: z.string().optional(),
  encoder: z.string().min(1),
  images: count,
  /** k: nearest neighbours among which mutual ones are looked for. */
  neighbours: count,
  points: z.array(
    z.strictObject({
      ...place,
      /** Equations 21 to 24 of REPA's paper. */
      cknna: z.number(),
      /** By the code of "The Platonic Representation Hypothesis". */
      platonicCknna: z.number().optional(),
      /** Mean share of neighbours that are mutual. */
      mutualKnn: share.optional(),
    }),
  ),
})

/**
 * What a file `RUN/evaluation/NAME.json` holds, whatever its name: one evaluation of one checkpoint of the run, or of an encoder
 * that the run is to be compared with.
 */
export const EvaluationSchema = z.discriminatedUnion('kind', [
  FidEvaluation,
  ClipEvaluation,
  ProbeEvaluation,
  EncoderProbeEvaluation,
  CknnaEvaluation,
])
export type Evaluation = z.output<typeof EvaluationSchema>
export type FidEvaluation = z.output<typeof FidEvaluation>

/**
 * Reads every `.json` of a run's folder `evaluation`, in the order of their names; no folder is none.
 *
 * @throws Error naming a file that is no JSON or not of the right form.
 */
export async function readEvaluations(directory: string): Promise<Evaluation[]> {
  const names = (await ifThere(readdir(directory))) ?? []
  const evaluations: Evaluation[] = []
  for (const name of names.filter((name) => name.endsWith('.json')).sort()) {
    const file = join(directory, name)
    evaluations.push(parseEvaluation(await readFile(file, 'utf8'), file))
  }
  return evaluations
}

function parseEvaluation(text: string, file: string): Evaluation {
  const checked = EvaluationSchema.safeParse(parseJson(text, file))
  if (checked.success) return withStep(checked.data)
  const { path, message } = checked.error.issues[0]!
  const field = path.length > 0 ? `'${path.join('.')}': ` : ''
  throw new Error(`${file}: ${field}${message}; expected what 'repa evaluate fid|clip|probe|cknna --out' writes.`)
}

/** A checkpoint's folder is named by its step. */
function withStep(evaluation: Evaluation): Evaluation {
  if (evaluation.kind === 'encoder-probe') return evaluation
  const [, digits] = evaluation.checkpoint?.match(/(?:^|[\\/])(\d{7,})[\\/]*$/) ?? []
  return evaluation.step !== undefined || digits === undefined ? evaluation : { ...evaluation, step: Number(digits) }
}
