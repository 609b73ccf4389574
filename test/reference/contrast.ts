import { type NdArray, zeros } from './array.ts'

/** Per row −log softmax(logits / temperature) at the row's own column, [N, N] → [N]. */
export function crossEntropy(logits: NdArray, temperature: number): NdArray {
  const [rows] = logits.shape as [number]
  const loss = zeros([rows])
  for (let n = 0; n < rows; n++) {
    const row = Array.from(logits.data.subarray(n * rows, (n + 1) * rows), (value) => value / temperature)
    const largest = Math.max(...row)
    loss.data[n] = largest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0)) - row[n]!
  }
  return loss
}

/** Gradient of Σ dLoss · crossEntropy with regard to the logits. */
export function crossEntropyBackward(dLoss: NdArray, logits: NdArray, temperature: number): NdArray {
  const [rows] = logits.shape as [number]
  const d = zeros(logits.shape)
  for (let n = 0; n < rows; n++) {
    const row = Array.from(logits.data.subarray(n * rows, (n + 1) * rows), (value) => value / temperature)
    const largest = Math.max(...row)
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0)
    row.forEach((value, i) => {
      d.data[n * rows + i] = (dLoss.data[n]! / temperature) * (Math.exp(value - largest) / sum - (i === n ? 1 : 0))
    })
  }
  return d
}

/** x / max(|x|, 1e-12) by rows. */
export function l2Normalize(x: NdArray): NdArray {
  const width = x.shape.at(-1)!
  const unit = zeros(x.shape)
  for (let row = 0; row < x.data.length / width; row++) {
    const norm = Math.max(Math.hypot(...x.data.subarray(row * width, (row + 1) * width)), 1e-12)
    for (let i = row * width; i < (row + 1) * width; i++) unit.data[i] = x.data[i]! / norm
  }
  return unit
}

/** dX from d(unit): (dUnit − unit (unit · dUnit)) / |x|, for rows of more than 1e-12. */
export function l2NormalizeBackward(dUnit: NdArray, x: NdArray): NdArray {
  const width = x.shape.at(-1)!
  const unit = l2Normalize(x)
  const d = zeros(x.shape)
  for (let row = 0; row < x.data.length / width; row++) {
    const norm = Math.hypot(...x.data.subarray(row * width, (row + 1) * width))
    let along = 0
    for (let i = row * width; i < (row + 1) * width; i++) along += dUnit.data[i]! * unit.data[i]!
    for (let i = row * width; i < (row + 1) * width; i++) d.data[i] = (dUnit.data[i]! - along * unit.data[i]!) / norm
  }
  return d
}

/** NT-Xent of rows against the targets of their group, [N, D] each → [N]. */
export function matchingLoss(projection: NdArray, target: NdArray, group: number, temperature: number): NdArray {
  const [rows, width] = projection.shape as [number, number]
  const loss = zeros([rows])
  for (const [begin, logits] of groups(l2Normalize(projection), l2Normalize(target), group)) {
    loss.data.set(crossEntropy(logits, temperature).data, begin)
  }
  if (loss.data.length !== rows || width === 0) throw new RangeError('nothing to match')
  return loss
}

/** Gradient of the mean of `matchingLoss`, times dLoss, with regard to the projection. */
export function matchingLossBackward(
  dLoss: number,
  projection: NdArray,
  target: NdArray,
  group: number,
  temperature: number,
): NdArray {
  const [rows, width] = projection.shape as [number, number]
  const targets = l2Normalize(target)
  const dUnit = zeros(projection.shape)
  for (const [begin, logits] of groups(l2Normalize(projection), targets, group)) {
    const [count] = logits.shape as [number]
    const each = zeros([count])
    each.data.fill(dLoss / rows)
    const dLogits = crossEntropyBackward(each, logits, temperature)
    for (let n = 0; n < count; n++) {
      for (let m = 0; m < count; m++) {
        for (let d = 0; d < width; d++) {
          dUnit.data[(begin + n) * width + d]! += dLogits.data[n * count + m]! * targets.data[(begin + m) * width + d]!
        }
      }
    }
  }
  return l2NormalizeBackward(dUnit, projection)
}

function* groups(unit: NdArray, targets: NdArray, group: number): Generator<[begin: number, logits: NdArray]> {
  const [rows, width] = unit.shape as [number, number]
  for (let begin = 0; begin < rows; begin += group) {
    const count = Math.min(group, rows - begin)
    const logits = zeros([count, count])
    for (let n = 0; n < count; n++) {
      for (let m = 0; m < count; m++) {
        for (let d = 0; d < width; d++) {
          logits.data[n * count + m]! += unit.data[(begin + n) * width + d]! * targets.data[(begin + m) * width + d]!
        }
      }
    }
    yield [begin, logits]
  }
}

/** log mean over all pairs of exp(−|x_i − x_j|² / (temperature F)) for x [B, F]. */
export function dispersion(x: NdArray, temperature: number): number {
  const [batch] = x.shape as [number]
  let sum = 0
  for (let i = 0; i < batch; i++) for (let j = 0; j < batch; j++) sum += similarity(x, i, j, temperature)
  return Math.log(sum / batch ** 2)
}

/** Gradient of `dispersion`, times dLoss. */
export function dispersionBackward(dLoss: number, x: NdArray, temperature: number): NdArray {
  const [batch] = x.shape as [number]
  const size = x.data.length / batch
  let sum = 0
  for (let i = 0; i < batch; i++) for (let j = 0; j < batch; j++) sum += similarity(x, i, j, temperature)
  const d = zeros(x.shape)
  for (let i = 0; i < batch; i++) {
    for (let j = 0; j < batch; j++) {
      const share = (dLoss * similarity(x, i, j, temperature)) / sum
      for (let k = 0; k < size; k++) {
        const slope = (-2 * (x.data[i * size + k]! - x.data[j * size + k]!)) / (temperature * size)
        d.data[i * size + k]! += share * slope
        d.data[j * size + k]! -= share * slope
      }
    }
  }
  return d
}

function similarity(x: NdArray, i: number, j: number, temperature: number): number {
  const size = x.data.length / x.shape[0]!
  let distance = 0
  for (let k = 0; k < size; k++) distance += (x.data[i * size + k]! - x.data[j * size + k]!) ** 2
  return Math.exp(-distance / (temperature * size))
}
