import type { TrainerOptions } from './trainer-options.ts'

/** Gives a model the parts that its alignment takes, and takes those that it does not, where it has others. */
export function alignModel({ model, align, selfAlign, classToken, seed = 0 }: TrainerOptions): void {
  const { config } = model
  const widths = (align ? [align.encoder].flat() : []).map((encoder) => encoder.width)
  const depth = align?.depth ?? Math.min(config.alignDepth, config.depth)
  const projector = align?.projector ?? config.projector
  const selfAlignment = selfAlign !== undefined
  // A SiT's alone.
  const token = config.kind === 'SiT' ? { classTokenWidth: classToken && widths[0]! } : {}
  const parts = { alignWidths: widths, alignDepth: depth, projector, selfAlignment, ...token }
  const has = (key: string, value: unknown) => String(value) === String(config[key as keyof typeof config])
  if (Object.entries(parts).every(([key, value]) => has(key, value))) return
  model.align({ widths, depth, projector, selfAlignment, ...token, seed })
}
