/** Schemas of the options that benchmarks have in common. */
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { SIT_PRESETS, type SiTPreset } from '../models/presets.ts'

/** Of every benchmark; `roundsOf` checks the rounds. */
export const measuringOptions = () => ({ rounds: z.unknown().optional(), signal: aSignal().optional() })

/** Of those that work from one seed and tell of each round. */
export const roundOptions = () => ({ seed: z.int().min(0).optional(), onRound: aFunction().optional() })

/** Sides that latents or patches do not divide are refused where it is known what does. */
export const imageOptions = () => ({ size: aCount().optional(), batch: aCount().optional() })

/** Of those of a model's steps. */
export const modelOptions = () => ({
  ...measuringOptions(),
  ...roundOptions(),
  ...imageOptions(),
  model: aModel().optional(),
})

/** How PyTorch trains beside us: `StepBaseline`. */
export const stepBaselineOptions = () => ({
  variant: z.enum(['tuned', 'as-written']).optional(),
  compile: z.enum(['default', 'max-autotune', 'max-autotune-no-cudagraphs']).optional(),
  regions: z.enum(['whole', 'blocks']).optional(),
  command: aCommand().optional(),
  onLog: aFunction().optional(),
})

/** Of those that PyTorch's worker may be beside. */
export const baselineOptions = () => ({ against: z.literal('python').optional(), command: aCommand().optional() })

export const aCount = () => z.int().positive()

/** A preset's name or sizes, of which SiT.create checks the rest. */
const aModel = () => z.union([z.string(), z.record(z.string(), z.unknown())])

export const aSiTPreset = () => z.enum(Object.keys(SIT_PRESETS) as SiTPreset[])

/** How PyTorch's worker is started. */
export const aCommand = () => z.tuple([z.string()], z.string())

/** Of TREAD's route. */
export const aShareOfTokens = () => z.number().min(0).lt(1)
