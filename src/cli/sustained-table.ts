/** What a benchmark prints of a run of many seconds. */
import type { SustainedRate } from '../benchmark/sustained.ts'
import { formatCount, formatSignificant } from '../report/quantity.ts'
import type { Output } from './output.ts'

export function showSustained(
  { seconds, steps, imagesPerSecond, shareOfShort, intervals }: SustainedRate,
  out: Output,
): void {
  const withClocks = intervals.some(({ clocks }) => clocks !== undefined)
  const headings = ['seconds', 'steps', 'images/s', ...(withClocks ? ['SM clock', 'power', 'temperature'] : [])]
  out.table(
    headings.map((heading) => ({ heading, align: 'right' })),
    intervals.map((part) => [
      `${Math.round(part.start)} to ${Math.round(part.start + part.seconds)}`,
      formatCount(part.steps),
      formatSignificant(part.imagesPerSecond, 4),
      ...(part.clocks ? [`${part.clocks.sm} MHz`, `${part.clocks.power} W`, `${part.clocks.temperature} °C`] : []),
    ]),
  )
  const rate = `${formatSignificant(imagesPerSecond, 4)} images/s`
  const share = `${formatSignificant(100 * shareOfShort, 4)} % of the rate of the steps measured before`
  out.line(`${formatCount(steps)} steps in ${formatSignificant(seconds, 3)} s: ${rate}, ${share}`)
}
