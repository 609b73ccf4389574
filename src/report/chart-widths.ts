import type { Chart } from './chart.ts'

/** Widths of so many charts that fill their rows: as many rows of three as can be, the others of two; one alone is as wide as the page. */
export function chartWidths(count: number): Chart['width'][] {
  if (count === 1) return ['full']
  const thirds = count - [0, 4, 2][count % 3]!
  return Array.from({ length: count }, (_, i) => (i < thirds ? 'third' : 'half'))
}
