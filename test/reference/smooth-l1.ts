import { map, type NdArray, zeros } from './array.ts'

/** Per sample the mean of smooth_l1_loss, [B, ...] → [B]. */
export function smoothL1(prediction: NdArray, target: NdArray, beta: number): NdArray {
  const [batch] = prediction.shape as [number]
  const size = prediction.data.length / batch
  const loss = zeros([batch])
  prediction.data.forEach((value, i) => {
    const d = Math.abs(value - target.data[i]!)
    loss.data[Math.floor(i / size)]! += (d < beta ? d ** 2 / (2 * beta) : d - beta / 2) / size
  })
  return loss
}

/** Gradient of the mean over everything, times dLoss. */
export function smoothL1Backward(dLoss: number, prediction: NdArray, target: NdArray, beta: number): NdArray {
  return map(prediction, (value, i) => {
    const d = value - target.data[i]!
    return (dLoss / prediction.data.length) * (Math.abs(d) < beta ? d / beta : Math.sign(d))
  })
}
