/**
 * What a training is where nothing else is said, by the settings' names: as REPA's train.py has it, and without what that has not. The
 * schema of a run, a Trainer's options and AdamW's have these values from here.
 */
export const REFERENCE_DEFAULTS = {
  accumulate: 1,
  learningRate: 1e-4,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  emaDecay: 0.9999,
  cudaGraph: false,
  /** `--proj-coeff`. */
  alignWeight: 0.5,
  alignLoss: 'cosine',
  /** Of NT-Xent; the paper does not say it. */
  alignTemperature: 0.1,
  path: 'linear',
  weighting: 'uniform',
  timeShift: 1,
  velocityCosineWeight: 0,
  seed: 0,
} as const
