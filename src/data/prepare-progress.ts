/** The reference tool's `convert` and `encode`, and the caching of features. */
export type PrepareStep = 'images' | 'latents' | 'features'

export interface PrepareProgress {
  readonly step: PrepareStep
  /** Whose features. */
  readonly encoder?: string
  /** Images that are done, skipped ones included; of all processes. */
  readonly done: number
  readonly total: number
  readonly skipped: number
}
