import { type Axis, positionOn } from '../../src/report/axis.ts'
import { curveOf as curveOfPoints, type Points } from '../../src/report/curve.ts'
import { type Html, html, trusted } from '../../src/report/html.ts'
import { type Plot, plotOf, UNITS } from '../../src/report/plot.ts'
import { formatCount, formatShare } from '../../src/report/quantity.ts'
import { type CurvePoints, MEASURES, type Measure, reach } from './analysis.ts'
import { ARMS, type Arm } from './places.ts'
import { curveOf, meanCurveOf, type Result, seedsOf } from './result.ts'
import { MEASURE_NAMES } from './tables.ts'

/** Readable on white and on GitHub's dark page alike: at least 3.5 : 1 on both. */
const COLOURS: Readonly<Record<Arm, string>> = { vanilla: '#768390', aligned: '#d0632a' }
const INK = '#768390'
const GRID = '#76839040'

const PANEL = { width: 250, height: 210, left: 48, top: 46, gap: 62 } as const
const BOTTOM = 44
const RIGHT = 14

/**
 * The three measures by step, side by side, as an SVG picture on no ground of its own: every seed faint, the means strong, and from the vanilla
 * runs' last value a dashed line to where the aligned runs reach it.
 */
export function curvesFigure(result: Result): string {
  const { width, gap, left, height, top } = PANEL
  const across = left + MEASURE_NAMES.length * width + (MEASURE_NAMES.length - 1) * gap + RIGHT
  const panels = MEASURE_NAMES.map((measure, i) => panel(result, measure, left + i * (width + gap)))
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${across} ${top + height + BOTTOM}" width="${across}" height="${top + height + BOTTOM}" font-family="system-ui, sans-serif" font-size="11" fill="${INK}">
<title>${ARMS.join(' and ')} runs by step: ${MEASURE_NAMES.map((measure) => MEASURES[measure].title).join(', ')}</title>
${panels}
</svg>
`.markup
}

function panel(result: Result, measure: Measure, x: number): Html {
  const { width, height, top } = PANEL
  const lines = ARMS.flatMap((arm) => [
    ...seedsOf(result).map((seed) => ({ arm, curve: curveOf(result, seed, arm, measure), kind: 'seed' as const })),
    { arm, curve: meanCurveOf(result, arm, measure), kind: 'mean' as const },
  ])
  const curves = lines.map(({ curve }) => curveOfPoints(pointsOf(curve), 'exact'))
  const last = lines[0]!.curve.at(-1)!.step
  const plot = plotOf(curves, {
    across: 'step',
    drawing: 'measured',
    first: 0,
    last,
    scale: measure === 'distance' ? 'log' : 'linear',
    fromZero: false,
    ticks: 4,
  })
  const level = (axis: Axis, value: number): number => (1 - positionOn(axis, value)) * height
  return html`<g transform="translate(${x} ${top})">
<text x="0" y="-26" font-size="13" font-weight="600">${MEASURES[measure].title}</text>
${legend()}
<svg width="${width}" height="${height}" viewBox="0 0 ${UNITS} ${UNITS}" preserveAspectRatio="none" fill="none" stroke-linecap="round">
<path d="${trusted(plot.grid)}" stroke="${GRID}" vector-effect="non-scaling-stroke"/>
${lines.map(({ arm, kind }, i) => {
  const mean = kind === 'mean'
  const stroke = html`<path d="${trusted(plot.trend[i]!)}" stroke="${COLOURS[arm]}" stroke-opacity="${mean ? 1 : 0.35}" stroke-width="${mean ? 2 : 1}" vector-effect="non-scaling-stroke"/>`
  if (!mean) return stroke
  return html`${stroke}<path d="${trusted(plot.raw[i]!)}" stroke="${COLOURS[arm]}" stroke-width="5" vector-effect="non-scaling-stroke"/>`
})}
</svg>
${target(
  result,
  measure,
  lines.map(({ curve }) => curve),
  plot,
)}
${plot.y.ticks.map(
  ({ value, label }) =>
    html`<text x="-6" y="${(level(plot.y, value) + 4).toFixed(1)}" text-anchor="end">${measure === 'accuracy' ? `${formatShare(value)} %` : label}</text>`,
)}
${plot.x.ticks.map(
  ({ value, label }) =>
    html`<text x="${(positionOn(plot.x, value) * width).toFixed(1)}" y="${height + 16}" text-anchor="middle">${label}</text>`,
)}
<text x="${width / 2}" y="${height + 34}" text-anchor="middle">Training step</text>
</g>`
}

/** From the vanilla runs' last mean to where the aligned runs' mean reaches it. */
function target(result: Result, measure: Measure, curves: readonly CurvePoints[], { x, y }: Plot): Html {
  const { width, height } = PANEL
  const vanilla = meanCurveOf(result, 'vanilla', measure).at(-1)!
  const found = reach(meanCurveOf(result, 'aligned', measure), vanilla.value, MEASURES[measure].better)
  if (found.kind !== 'reached') return html``
  const across = (step: number): number => positionOn(x, step) * width
  const level = (value: number): number => (1 - positionOn(y, value)) * height
  const drawn = curves.map((curve) => curve.map(({ step, value }) => [across(step), level(value)] as const))
  const label = formatCount(Math.round(found.step))
  const { left, baseline } = labelPlace(across(found.step), label.length * CHARACTER, drawn)
  return html`<path d="M${across(vanilla.step).toFixed(1)} ${level(vanilla.value).toFixed(1)}H${across(found.step).toFixed(1)}V${height}" fill="none" stroke="${INK}" stroke-dasharray="4 3"/><text x="${left.toFixed(1)}" y="${baseline.toFixed(1)}">${label}</text>`
}

/** A digit's width and height in the figure's font, in pixels, and the air around a label. */
const CHARACTER = 6.5
const DIGIT_HEIGHT = 9
const AIR = 5

/**
 * Where the label of a line that meets the axis at `at` crosses no curve: to the line's right where the panel has room for it, else to
 * its left; at the axis if every curve passes above, else above all of them.
 */
function labelPlace(
  at: number,
  length: number,
  curves: readonly (readonly (readonly [x: number, y: number])[])[],
): { readonly left: number; readonly baseline: number } {
  const left = at + AIR + length <= PANEL.width ? at + AIR : at - AIR - length
  const right = left + length
  const levels = curves.flatMap((curve) =>
    curve.slice(1).flatMap(([toX, toY], i) => {
      const [fromX, fromY] = curve[i]!
      if (toX < left || fromX > right) return []
      const levelAt = (x: number): number => fromY + ((toY - fromY) * (x - fromX)) / (toX - fromX)
      return [levelAt(Math.max(left, fromX)), levelAt(Math.min(right, toX))]
    }),
  )
  const atAxis = PANEL.height - AIR
  const isFree = levels.every((level) => level < atAxis - DIGIT_HEIGHT - AIR / 2)
  return { left, baseline: isFree ? atAxis : Math.min(...levels) - AIR }
}

function legend(): Html {
  return html`${ARMS.map(
    (arm, i) =>
      html`<path d="M${i * 74} -13h16" stroke="${COLOURS[arm]}" stroke-width="2.5"/><text x="${i * 74 + 21}" y="-9">${arm}</text>`,
  )}`
}

function pointsOf(curve: CurvePoints): Points {
  return {
    x: Float64Array.from(curve, ({ step }) => step),
    y: Float64Array.from(curve, ({ value }) => value),
  }
}
