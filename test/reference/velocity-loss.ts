import { type NdArray, zeros } from './array.ts'

/** Per sample the mean of (prediction - target)^2 over all but the batch axis, [B]; `loss` is its mean over B. */
export function velocityLoss(prediction: NdArray, target: NdArray): { perSample: NdArray; loss: number } {
  const [batch] = prediction.shape
  const size = prediction.data.length / batch
  const perSample = zeros([batch])
  for (let i = 0; i < prediction.data.length; i++) {
    perSample.data[Math.floor(i / size)] += (prediction.data[i] - target.data[i]) ** 2 / size
  }
  return { perSample, loss: perSample.data.reduce((a, c) => a + c, 0) / batch }
}

/** Gradient of `loss` with regard to the prediction, times dLoss: 2 (prediction - target) / elements. */
export function velocityLossBackward(prediction: NdArray, target: NdArray, dLoss = 1): NdArray {
  const d = zeros(prediction.shape)
  for (let i = 0; i < d.data.length; i++) {
    d.data[i] = (dLoss * 2 * (prediction.data[i] - target.data[i])) / d.data.length
  }
  return d
}
