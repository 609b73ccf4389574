import type { ResolvedTrainerOptions } from './resolved-options.ts'

/** Gives a model the parts that its alignment takes, and takes those that it does not, where it has others. */
export function alignModel(options: ResolvedTrainerOptions): void {
  const { model, encoders, alignDepth, projector, selfAlign, classToken, seed } = options
  const { config } = model
  const widths = encoders.map(({ width }) => width)
  const selfAlignment = selfAlign !== undefined
  // A SiT's alone.
  const token = config.kind === 'SiT' ? { classTokenWidth: classToken && widths[0]! } : {}
  const parts = { alignWidths: widths, alignDepth, projector, selfAlignment, ...token }
  const has = (key: string, value: unknown) => String(value) === String(config[key as keyof typeof config])
  if (Object.entries(parts).every(([key, value]) => has(key, value))) return
  model.align({ widths, depth: alignDepth, projector, selfAlignment, ...token, seed })
}
