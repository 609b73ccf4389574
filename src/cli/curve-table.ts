import type { Output } from './output.ts'

/** Values by layer (down) and noise level (across). */
export function curveTable<P extends { readonly layer: number; readonly noise: number }>(
  out: Output,
  curve: { readonly layers: readonly number[]; readonly noise: readonly number[]; readonly points: readonly P[] },
  show: (point: P) => string,
): void {
  const cell = (layer: number, noise: number) => {
    const point = curve.points.find((candidate) => candidate.layer === layer && candidate.noise === noise)
    return point ? show(point) : ''
  }
  out.table(
    [
      { heading: 'layer', align: 'right' },
      ...curve.noise.map((noise) => ({ heading: `t = ${noise}`, align: 'right' as const })),
    ],
    curve.layers.map((layer) => [String(layer), ...curve.noise.map((noise) => cell(layer, noise))]),
  )
}
