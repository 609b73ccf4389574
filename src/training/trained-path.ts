import type { InterpolantPath } from '../native.ts'

/** The path that a checkpoint was trained along, where what it has of its run's configuration says so. */
export function trainedPath({ configuration }: { readonly configuration: unknown }): InterpolantPath | undefined {
  const training = (configuration as { readonly training?: { readonly path?: unknown } } | null)?.training
  return training?.path === 'linear' || training?.path === 'cosine' ? training.path : undefined
}
