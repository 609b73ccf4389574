/** Points of a curve, in the order of x. */
export interface Points {
  readonly x: Float64Array
  readonly y: Float64Array
}

/** A curve as it is drawn: everything that was logged, and its trend. */
export interface Curve {
  /** Every value, or the lowest and highest of each slice of a long run, so that no spike is lost. */
  readonly raw: Points
  readonly smooth: Points
  /** The range that holds all logged values but for the lowest and the highest hundredth. */
  readonly bulk: readonly [low: number, high: number]
}

/** A chart is some hundreds of pixels wide: more slices than this could hardly be seen. */
const SLICES = 480

/** The trend's kernel has this share of the range of x as its standard deviation. */
const BANDWIDTH = 0.015

/** Four of the trend's points to a standard deviation: lines between them stray from it by (1/4)²/8, a 128th, of what bends in one. */
const TREND_SLICES = Math.round(4 / BANDWIDTH)

/** Below this many values there is no noise to speak of: the trend is the values themselves. */
const FEWEST_TO_SMOOTH = 24

/**
 * Reduces points to what can be seen in so many slices, and finds their trend. `exact` is for what carries no noise (a
 * schedule): its trend is the values themselves. All values must be finite.
 */
export function curveOf(points: Points, kind: 'noisy' | 'exact' = 'noisy', slices = SLICES): Curve {
  const bulk = bulkOf(points.y)
  if (points.x.length < FEWEST_TO_SMOOTH) return { raw: points, smooth: points, bulk }
  if (kind === 'exact') {
    const reduced = extremes(points, slices)
    return { raw: reduced, smooth: reduced, bulk }
  }
  const means = sliceMeans(points, Math.min(slices, TREND_SLICES))
  // From the first point to the last, which lie half a slice beyond the means.
  const at = means.x.slice()
  at[0] = points.x[0]!
  at[at.length - 1] = points.x.at(-1)!
  const raw = extremes(points, slices)
  return { raw, smooth: localLinearFit(means, BANDWIDTH, at, rangeOf(raw.y)), bulk }
}

/** The points of finite value. */
export function finitePoints(x: Float64Array, y: Float64Array): Points {
  // A plain loop: `repa watch` does this each second for a million steps of every column.
  let count = 0
  for (const value of y) if (Number.isFinite(value)) count++
  if (count === y.length) return { x, y }
  const kept = { x: new Float64Array(count), y: new Float64Array(count) }
  for (let from = 0, to = 0; to < count; from++) {
    if (!Number.isFinite(y[from]!)) continue
    kept.x[to] = x[from]!
    kept.y[to++] = y[from]!
  }
  return kept
}

/** The points from `low` to `high`, and the next one on either side, so that a line runs on to the edge. */
export function pointsWithin({ x, y }: Points, low: number, high: number): Points {
  const begin = Math.max(0, firstAtLeast(x, low) - 1)
  let end = firstAtLeast(x, high)
  end = Math.min(x.length, end + (x[end] === high ? 2 : 1))
  return { x: x.subarray(begin, end), y: y.subarray(begin, end) }
}

/** Index of the first of rising values that is not below `value`; their count where all are. */
export function firstAtLeast(sorted: Float64Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}

/** Index of the one of rising values that lies nearest to `value`. */
export function nearest(sorted: Float64Array, value: number): number {
  const above = Math.min(firstAtLeast(sorted, value), sorted.length - 1)
  return above > 0 && value - sorted[above - 1]! < sorted[above]! - value ? above - 1 : above
}

/**
 * The lowest and the highest point of each of `slices` equally wide slices of x, in the order in which they came; all points
 * where there are no more than two per slice.
 */
export function extremes(points: Points, slices: number): Points {
  const { x, y } = points
  if (x.length <= 2 * slices) return points
  const ends = sliceEnds(x, slices)
  const kept = { x: new Float64Array(2 * ends.length), y: new Float64Array(2 * ends.length) }
  let count = 0
  let begin = 0
  for (const end of ends) {
    let low = begin
    let high = begin
    let lowest = y[begin]!
    let highest = lowest
    for (let i = begin + 1; i < end; i++) {
      const value = y[i]!
      if (value < lowest) {
        lowest = value
        low = i
      } else if (value > highest) {
        highest = value
        high = i
      }
    }
    begin = end
    const [first, second] = low < high ? [low, high] : [high, low]
    kept.x[count] = x[first]!
    kept.y[count++] = y[first]!
    if (first === second) continue
    kept.x[count] = x[second]!
    kept.y[count++] = y[second]!
  }
  return { x: kept.x.subarray(0, count), y: kept.y.subarray(0, count) }
}

function sliceMeans(points: Points, slices: number): Points {
  const { x, y } = points
  if (x.length <= slices) return points
  const ends = sliceEnds(x, slices)
  const means = { x: new Float64Array(ends.length), y: new Float64Array(ends.length) }
  let begin = 0
  for (const [slice, end] of ends.entries()) {
    let sumX = 0
    let sumY = 0
    for (let i = begin; i < end; i++) {
      sumX += x[i]!
      sumY += y[i]!
    }
    means.x[slice] = sumX / (end - begin)
    means.y[slice] = sumY / (end - begin)
    begin = end
  }
  return means
}

/** Where each slice that holds points ends: the index behind its last one. */
function sliceEnds(x: Float64Array, slices: number): Uint32Array {
  const first = x[0]!
  const width = (x.at(-1)! - first) / slices
  const ends = new Uint32Array(slices)
  let count = 0
  let begin = 0
  for (let slice = 1; slice <= slices; slice++) {
    const end = slice === slices ? x.length : firstAtLeast(x, first + slice * width)
    if (end > begin) ends[count++] = end
    begin = end
  }
  return ends.subarray(0, count)
}

/**
 * Local linear regression with a Gaussian kernel whose standard deviation is `bandwidth` times the range of x. Unlike a
 * moving average it does not lag behind a falling loss, nor flatten its ends. The trend is found at the rising places `at` and
 * stays within `range`.
 */
export function localLinearFit(points: Points, bandwidth: number, at = points.x, range = rangeOf(points.y)): Points {
  const { x, y } = points
  const count = x.length
  const sigma = (x[count - 1]! - x[0]!) * bandwidth
  if (!(sigma > 0)) return points
  const [lowest, highest] = range
  const fitted = new Float64Array(at.length)
  let begin = 0
  for (const [i, place] of at.entries()) {
    while (place - x[begin]! > 3 * sigma) begin++
    let weight = 0
    let sumX = 0
    let sumY = 0
    let sumXX = 0
    let sumXY = 0
    for (let j = begin; j < count && x[j]! - place <= 3 * sigma; j++) {
      const offset = (x[j]! - place) / sigma
      const w = Math.exp(-0.5 * offset * offset)
      weight += w
      sumX += w * offset
      sumY += w * y[j]!
      sumXX += w * offset * offset
      sumXY += w * offset * y[j]!
    }
    const determinant = weight * sumXX - sumX * sumX
    // Too few neighbours for a slope: their mean.
    const value = determinant > 1e-9 * weight * weight ? (sumXX * sumY - sumX * sumXY) / determinant : sumY / weight
    fitted[i] = Math.min(highest, Math.max(lowest, value))
  }
  return { x: at, y: fitted }
}

/** The value at `x` of a line through points; at its ends' and beyond, theirs. */
export function valueAt({ x: xs, y: ys }: Points, x: number): number {
  const after = firstAtLeast(xs, x)
  if (after === 0) return ys[0]!
  if (after === xs.length) return ys.at(-1)!
  const share = (x - xs[after - 1]!) / (xs[after]! - xs[after - 1]!)
  return ys[after - 1]! + share * (ys[after]! - ys[after - 1]!)
}

/** Lowest and highest value; `[Infinity, -Infinity]` of none. */
export function rangeOf(values: Float64Array): [lowest: number, highest: number] {
  let lowest = Number.POSITIVE_INFINITY
  let highest = Number.NEGATIVE_INFINITY
  for (const value of values) {
    if (value < lowest) lowest = value
    if (value > highest) highest = value
  }
  return [lowest, highest]
}

/** The middle value, of very many that of evenly spread ones; NaN of none. What is not finite is left out. */
export function median(values: Float64Array): number {
  return quantile(sortedSample(finitePoints(values, values).y), 0.5)
}

function bulkOf(values: Float64Array): [low: number, high: number] {
  const sorted = sortedSample(values)
  return [quantile(sorted, 0.01), quantile(sorted, 0.99)]
}

/** Of more values than this, evenly spread ones stand for all: sorting all would take longer than drawing them. */
const MOST_TO_SORT = 8192

function sortedSample(values: Float64Array): Float64Array {
  const every = Math.max(1, Math.ceil(values.length / MOST_TO_SORT))
  const sample = new Float64Array(Math.ceil(values.length / every))
  for (let i = 0; i < sample.length; i++) sample[i] = values[i * every]!
  return sample.sort()
}

/** The value that a share `q` of the sorted values does not exceed (nearest rank). */
function quantile(sorted: Float64Array, q: number): number {
  return sorted.length === 0 ? Number.NaN : sorted[Math.round(q * (sorted.length - 1))]!
}
