import type { Reference } from './chart-data.ts'
import type { Curve } from './curve.ts'
import type { Across } from './plot.ts'
import { formatCount, formatSignificant } from './quantity.ts'

/** A line by its name, as it is drawn. */
interface NamedCurve {
  readonly name: string
  readonly curve: Curve
}

/** What a chart shows, for those who hear the page. */
export function spokenChart(
  title: string,
  across: Across,
  lines: readonly NamedCurve[],
  references: readonly Reference[],
): string {
  const where = across === 'noise' ? 'noise level' : across
  const sentences = lines.flatMap(({ name, curve: { smooth } }) => {
    const { x, y } = smooth
    if (x.length === 0) return []
    const [first, last] = [y[0]!, y.at(-1)!].map((value) => formatSignificant(value, 3))
    return `${name}: from ${first} at ${where} ${formatCount(x[0]!)} to ${last} at ${where} ${formatCount(x.at(-1)!)}`
  })
  const compared = references.map(({ name, value }) => `${name}: ${formatSignificant(value, 3)}`)
  return `${title}. ${[...sentences, ...compared].join('; ')}.`
}
