import { type NativeTensor, native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { type LinearWeights, layersBackward } from './linear.ts'

/** softmax(q kᵀ / √d) v for every head: qkv [B, T, 3·H·d], q | k | v each split by head → [B, T, H·d]. */
export function attention(qkv: Tensor, heads: number): Tensor {
  const tape = recordingTape(qkv)
  const [oHandle, lseHandle] = native().attention(qkv.handle, heads, tape !== undefined)
  const o = new Tensor(oHandle, qkv.device)
  const lse = lseHandle ? new Tensor(lseHandle, qkv.device) : undefined
  tape?.push([o], [lse], (gradients) => {
    const dO = gradients.take(o)!
    const dQkv = native().attentionBackward(dO.handle, qkv.handle, o.handle, lse!.handle, heads, null, false)
    gradients.add(qkv, new Tensor(dQkv, qkv.device))
  })
  return o
}

/**
 * The attention of queries, keys and values that a layer makes: qkv = x Wᵀ + b [B, T, 3·H·d], o = attention(qkv) [B, T, H·d]. One op for
 * both, because the gradient of b is the sums of dqkv's columns, which the kernel that makes dqkv has at hand. qkv is there to be looked
 * at: no gradient flows through it.
 */
export function linearAttention(input: Tensor, layer: LinearWeights, heads: number): { qkv: Tensor; o: Tensor } {
  const { weight, bias } = layer
  const dtype = computeDType(weight)
  const x = cast(input, dtype)
  const tape = recordingTape(x, weight, bias)
  const made = (handle: NativeTensor) => new Tensor(handle, x.device)
  const qkv = made(native().linear(x.handle, weight.handle, bias?.handle ?? null, 'none', false, dtype)[0])
  const [oHandle, lseHandle] = native().attention(qkv.handle, heads, tape !== undefined)
  const o = made(oHandle)
  const lse = lseHandle ? made(lseHandle) : undefined
  tape?.push([o], [qkv, lse], (gradients) => {
    const dO = gradients.take(o)!
    const dBias = bias && gradients.wants(bias) ? gradients.into(bias) : undefined
    const dQkv = native().attentionBackward(
      dO.handle,
      qkv.handle,
      o.handle,
      lse!.handle,
      heads,
      dBias?.into.handle ?? null,
      dBias?.accumulate ?? false,
    )
    layersBackward(gradients, x, [], [layer], 'none', made(dQkv))
  })
  return { qkv, o }
}

/** Weights and biases [d] of qk-norm. */
export interface QkNormWeights {
  readonly qWeight: Tensor
  readonly qBias: Tensor
  readonly kWeight: Tensor
  readonly kBias: Tensor
}

/** LayerNorm over head_dim, with weight and bias, of every query and every key of a packed qkv (timm's qk_norm). */
export function qkNorm(qkv: Tensor, weights: QkNormWeights, heads: number, epsilon = 1e-5): Tensor {
  const { qWeight, qBias, kWeight, kBias } = weights
  const tape = recordingTape(qkv, qWeight, qBias, kWeight, kBias)
  const [handle, meanHandle, rstdHandle] = native().qkNorm(
    qkv.handle,
    qWeight.handle,
    qBias.handle,
    kWeight.handle,
    kBias.handle,
    heads,
    epsilon,
  )
  const normed = new Tensor(handle, qkv.device)
  const mean = new Tensor(meanHandle, qkv.device)
  const rstd = new Tensor(rstdHandle, qkv.device)
  if (!tape) {
    mean.dispose()
    rstd.dispose()
  }
  tape?.push([normed], [mean, rstd], (gradients) => {
    const dNormed = gradients.take(normed)!
    const { into, accumulate } = gradients.intoAll(qWeight, qBias, kWeight, kBias)
    const [dqWeight, dqBias, dkWeight, dkBias] = into.map(({ handle }) => handle)
    const dQkv = native().qkNormBackward(
      dNormed.handle,
      qkv.handle,
      qWeight.handle,
      kWeight.handle,
      mean.handle,
      rstd.handle,
      heads,
      dqWeight!,
      dqBias!,
      dkWeight!,
      dkBias!,
      accumulate,
    )
    gradients.add(qkv, new Tensor(dQkv, qkv.device))
  })
  return normed
}
