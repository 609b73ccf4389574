import type { StepBaseline } from '../benchmark/beside-python.ts'
import { formatDuration } from '../report/quantity.ts'

/** How PyTorch trained: "tuned", or "tuned, compiled block by block (default, in a first step of 1 min 12 s)". */
export function baselineSetting({
  variant = 'tuned',
  compile,
  regions,
  warmup,
}: Pick<StepBaseline, 'variant' | 'compile' | 'regions'> & { readonly warmup: readonly number[] }): string {
  if (!compile) return variant
  const how = regions === 'blocks' ? ' block by block' : ''
  return `${variant}, compiled${how} (${compile}, in a first step of ${formatDuration(warmup[0]!)})`
}
