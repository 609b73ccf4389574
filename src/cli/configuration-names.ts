import type { TrainingOptions } from '../training/configuration.ts'

/** Settings by their options, where those are called otherwise. */
export const CONFIGURATION_NAMES: Readonly<Record<string, keyof TrainingOptions>> = {
  lr: 'learningRate',
  lrWarmup: 'learningRateWarmup',
  lrDecay: 'learningRateDecay',
  lrDecayFrom: 'learningRateDecayFrom',
  lrDecayUntil: 'learningRateDecayUntil',
  lrFinal: 'learningRateFinal',
}
