/** What lies where in a run's folder. */
export const RUN_LAYOUT = {
  configuration: 'config.json',
  /** A line of JSON for every step. */
  metrics: 'metrics.jsonl',
  /** A folder for each checkpoint: `checkpointName`. */
  checkpoints: 'checkpoints',
  /** The grids of images: `gridName`. */
  samples: 'samples',
  /** What `repa evaluate --out` is given to write for a report. */
  evaluation: 'evaluation',
} as const

/** Of a step: in at least seven digits, so that names sort as steps do. */
export const checkpointName = (step: number) => String(step).padStart(7, '0')

export const gridName = (step: number) => `${checkpointName(step)}.png`
