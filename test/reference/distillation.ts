import { type NdArray, zeros } from './array.ts'

export interface Distillation {
  readonly temperature: number
  readonly firstView: number
}

/** DINO's cross entropies of student [V, B, K] and targets [G, B, K], added over the targets of all views but the row's own: [V, B]. */
export function distillationLoss(student: NdArray, targets: NdArray, options: Distillation): NdArray {
  const [views, batch] = student.shape as [number, number, number]
  const loss = zeros([views, batch])
  for (const { row, logSoftmax, target } of rows(student, targets, options)) {
    loss.data[row] = -logSoftmax.reduce((sum, value, k) => sum + value * target[k]!, 0)
  }
  return loss
}

/** Gradient of Σ dLoss · distillationLoss with regard to the student's logits. */
export function distillationLossBackward(
  dLoss: NdArray,
  student: NdArray,
  targets: NdArray,
  options: Distillation,
): NdArray {
  const d = zeros(student.shape)
  for (const { row, logSoftmax, target } of rows(student, targets, options)) {
    const mass = target.reduce((sum, value) => sum + value, 0)
    logSoftmax.forEach((value, k) => {
      const slope = (Math.exp(value) * mass - target[k]!) / options.temperature
      d.data[row * logSoftmax.length + k] = dLoss.data[row]! * slope
    })
  }
  return d
}

function* rows(
  student: NdArray,
  targets: NdArray,
  { temperature, firstView }: Distillation,
): Generator<{ row: number; logSoftmax: number[]; target: number[] }> {
  const [views, batch, width] = student.shape as [number, number, number]
  for (let row = 0; row < views * batch; row++) {
    const z = Array.from(student.data.subarray(row * width, (row + 1) * width), (value) => value / temperature)
    const largest = Math.max(...z)
    const logSum = largest + Math.log(z.reduce((sum, value) => sum + Math.exp(value - largest), 0))
    const target = new Array<number>(width).fill(0)
    for (let view = 0; view < targets.shape[0]!; view++) {
      if (view === firstView + Math.floor(row / batch)) continue
      const begin = (view * batch + (row % batch)) * width
      for (let k = 0; k < width; k++) target[k]! += targets.data[begin + k]!
    }
    yield { row, logSoftmax: z.map((value) => value - logSum), target }
  }
}

/** −Σ p log p over the last axis. */
export function entropy(p: NdArray): NdArray {
  const width = p.shape.at(-1)!
  const out = zeros(p.shape.slice(0, -1))
  p.data.forEach((value, i) => {
    if (value > 0) out.data[Math.floor(i / width)]! -= value * Math.log(value)
  })
  return out
}
