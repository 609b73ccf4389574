import {
  LIGHTNINGDIT_PRESETS,
  type LightningDiTPreset,
  MMDIT_PRESETS,
  type MMDiTPreset,
  SIT_PRESETS,
  type SiTPreset,
} from '../models/presets.ts'
import { PRECISIONS } from '../training/precision.ts'

/** Options of the benchmarks that PyTorch can be measured beside. */
export const BESIDE_OPTIONS = {
  threads: {
    type: 'integer',
    min: 1,
    max: 1024,
    description: 'threads of either side; by default the cores that may be used',
  },
  against: { type: 'enum', values: ['python'], description: 'the baseline to alternate with: PyTorch under python3' },
} as const

type BenchmarkedModel = SiTPreset | LightningDiTPreset | MMDiTPreset

/** LightningDiT's models of patch 1 are for other latents than those that are timed. */
const MODELS = [
  ...Object.keys(SIT_PRESETS),
  ...Object.keys(LIGHTNINGDIT_PRESETS).filter((name) => !name.endsWith('/1')),
  ...Object.keys(MMDIT_PRESETS),
]

/** Options of the benchmarks of a SiT. */
export const SIT_OPTIONS = {
  model: {
    type: 'enum',
    values: MODELS as [BenchmarkedModel, ...BenchmarkedModel[]],
    default: 'SiT-S/2',
    description: 'the model: SiT-{S,B,L,XL}/{2,4,8}, LightningDiT-{B,L,XL,1p0B,1p6B}/2 or MMDiT-{d12,d24}/2',
    placeholder: 'MODEL',
  },
  size: {
    type: 'integer',
    min: 8,
    default: 256,
    description: "side of the images in pixels, of which 8 make one of the latents'",
  },
  precision: {
    type: 'enum',
    values: PRECISIONS,
    description: 'what the model computes in [bf16 on a GPU, fp32 on a CPU, which has no other]',
  },
  probeSide: {
    type: 'integer',
    min: 16,
    description: 'on a GPU: side of the large product whose rate is the limit [8192]',
  },
} as const

/** Before the addon is loaded, which reads it then. */
export function setThreads(threads: number | undefined): void {
  if (threads !== undefined) process.env.REPA_THREADS = String(threads)
}
