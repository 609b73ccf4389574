/** What is trained and how it is measured, by size: everything that two runs of one seed share. */
import type { PretrainingOptions } from '../../src/pretraining/configuration.ts'
import type { TrainingOptions } from '../../src/training/configuration.ts'

export interface Size {
  /** For whom it is made. */
  readonly summary: string
  readonly model: {
    readonly kind: 'SiT'
    readonly depth: number
    readonly hidden: number
    readonly heads: number
    readonly patch: number
  }
  /** The settings of both runs of a seed, alignment aside. */
  readonly training: Required<Pick<TrainingOptions, 'batch' | 'learningRate' | 'emaDecay' | 'steps'>> & TrainingOptions
  /** Of the teacher, where it is trained here; its patches are the model's. */
  readonly teacher: Required<Pick<PretrainingOptions, 'method' | 'steps' | 'batch'>> & Omit<PretrainingOptions, 'patch'>
  /** Of the aligned run. */
  readonly alignment: Required<Pick<TrainingOptions, 'alignDepth' | 'alignWeight' | 'projectorWidth'>>
  /** Steps between two measurements. */
  readonly measureEvery: number
  /** Of the pairs of runs, where none are named. */
  readonly seeds: readonly number[]
  /**
   * Whether the teacher's features of the training images are kept on the disk, so that each is computed once and not once an epoch
   * and run: a CPU reads them faster than it computes them, a GPU does not.
   */
  readonly keepFeatures: boolean
  readonly measures: Measures
}

export interface Measures {
  /** Images, noises and times of the held-out loss. */
  readonly heldOut: number
  /** Generated images of the Fréchet distance. */
  readonly samples: number
  /** Heun steps of the probability-flow ODE that make one. */
  readonly samplerSteps: number
  readonly probe: {
    /** Training images that the probe learns from. */
    readonly images: number
    /** The middle block, from 1. */
    readonly layer: number
    /** Noise level t that the images are shown at. */
    readonly noise: number
    readonly epochs: number
    readonly batch: number
    readonly learningRate: number
  }
  /** Images that pass through the model at a time. */
  readonly batch: number
}

export const SIZES = {
  small: {
    summary: 'two CPU cores',
    model: { kind: 'SiT', depth: 6, hidden: 192, heads: 3, patch: 4 },
    training: { steps: 2000, batch: 32, learningRate: 2e-3, emaDecay: 0.995 },
    teacher: { method: 'mae', steps: 2200, batch: 128, learningRate: 1e-3 },
    alignment: { alignDepth: 2, alignWeight: 0.5, projectorWidth: 512 },
    measureEvery: 400,
    seeds: [0, 1, 2],
    keepFeatures: true,
    measures: {
      heldOut: 1000,
      samples: 1000,
      samplerSteps: 6,
      probe: { images: 5000, layer: 3, noise: 0.2, epochs: 30, batch: 1000, learningRate: 3e-3 },
      batch: 100,
    },
  },
  gpu: {
    summary: 'one data-centre GPU',
    model: { kind: 'SiT', depth: 12, hidden: 384, heads: 6, patch: 2 },
    training: { steps: 3000, batch: 256, learningRate: 4e-4, emaDecay: 0.999 },
    teacher: { method: 'mae', steps: 20_000, batch: 256 },
    alignment: { alignDepth: 4, alignWeight: 0.5, projectorWidth: 2048 },
    measureEvery: 500,
    seeds: [0],
    keepFeatures: false,
    measures: {
      heldOut: 5000,
      samples: 2000,
      samplerSteps: 12,
      probe: { images: 5000, layer: 6, noise: 0.2, epochs: 30, batch: 1000, learningRate: 3e-3 },
      batch: 500,
    },
  },
} as const satisfies Readonly<Record<string, Size>>

export type SizeName = keyof typeof SIZES

/** The same parts at a length that says nothing but that they work: two steps, each of them measured. */
export function rehearsal(size: Size): Size {
  const { measures } = size
  return {
    ...size,
    training: { ...size.training, steps: 2, batch: 4 },
    teacher: { ...size.teacher, steps: 2, batch: 4 },
    measureEvery: 1,
    measures: {
      ...measures,
      heldOut: 8,
      samples: 16,
      samplerSteps: 2,
      probe: { ...measures.probe, images: 32, epochs: 2, batch: 16 },
      batch: 8,
    },
  }
}
