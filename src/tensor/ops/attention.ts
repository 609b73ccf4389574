import { type NativeTensor, type Norm, native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { biasGradient, type LinearWeights, layersBackward } from './linear.ts'
import type { RotaryTables } from './rope.ts'

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
 * Attention in which token i sees tokens 0 to i alone: qkv [B, T, 3·H·d] → [B, T, H·d]. What later tokens hold, if finite, changes no bit of
 * an earlier one's result. For frozen text encoders, so not differentiable: throws where a tape would record it.
 */
export function causalAttention(qkv: Tensor, heads: number): Tensor {
  if (recordingTape(qkv)) {
    throw new Error(
      `causalAttention: a gradient of qkv [${qkv.shape}] is wanted, and there is none: it is for encoders that stay as they are. ` +
        'Run the encoder outside of the tape, or with weights that want no gradient.',
    )
  }
  return new Tensor(native().causalAttention(qkv.handle, heads), qkv.device)
}

/**
 * The attention of queries, keys and values that a layer makes: qkv = x Wᵀ + b [B, T, 3·H·d], o = attention(qkv) [B, T, H·d]. One op for
 * both, because the gradient of b is the sums of dqkv's columns, which the kernel that makes dqkv has at hand. With `rope` queries and keys
 * are turned in between, in place, and b's gradient is a pass of its own behind the turn back. qkv is there to be looked at, as attention
 * reads it: no gradient flows through it.
 */
export function linearAttention(
  input: Tensor,
  layer: LinearWeights,
  heads: number,
  rope?: RotaryTables,
): { qkv: Tensor; o: Tensor } {
  const { weight, bias } = layer
  const dtype = computeDType(weight)
  const x = cast(input, dtype)
  const tape = recordingTape(x, weight, bias)
  const made = (handle: NativeTensor) => new Tensor(handle, x.device)
  const qkv = made(native().linear(x.handle, weight.handle, bias?.handle ?? null, 'none', false, dtype)[0])
  if (rope) native().rotate(qkv.handle, rope.cos.handle, rope.sin.handle, heads, false)
  const [oHandle, lseHandle] = native().attention(qkv.handle, heads, tape !== undefined)
  const o = made(oHandle)
  const lse = lseHandle ? made(lseHandle) : undefined
  tape?.push([o], [qkv, lse], (gradients) => {
    const dO = gradients.take(o)!
    const dBias = !rope && bias && gradients.wants(bias) ? gradients.into(bias) : undefined
    const dQkv = made(
      native().attentionBackward(
        dO.handle,
        qkv.handle,
        o.handle,
        lse!.handle,
        heads,
        dBias?.into.handle ?? null,
        dBias?.accumulate ?? false,
      ),
    )
    if (rope) {
      native().rotate(dQkv.handle, rope.cos.handle, rope.sin.handle, heads, true)
      biasGradient(gradients, layer, dQkv)
    }
    layersBackward(gradients, x, [], [layer], 'none', dQkv)
  })
  return { qkv, o }
}

/** Weights and biases [d] of qk-norm; an RMSNorm has no biases. */
export interface QkNormWeights {
  readonly qWeight: Tensor
  readonly qBias?: Tensor | undefined
  readonly kWeight: Tensor
  readonly kBias?: Tensor | undefined
}

/** What torch.nn.LayerNorm has by default, and LightningDiT's RMSNorm. */
const QK_NORM_EPSILON: Readonly<Record<Norm, number>> = { layerNorm: 1e-5, rmsNorm: 1e-6 }

/** A norm over head_dim of every query and every key of a packed qkv: LayerNorm with weight and bias (timm's qk_norm), or RMSNorm. */
export function qkNorm(
  qkv: Tensor,
  weights: QkNormWeights,
  heads: number,
  options: { readonly norm?: Norm; readonly epsilon?: number } = {},
): Tensor {
  const { qWeight, qBias, kWeight, kBias } = weights
  const { norm = 'layerNorm', epsilon = QK_NORM_EPSILON[norm] } = options
  const tape = recordingTape(qkv, qWeight, qBias, kWeight, kBias)
  const [handle, meanHandle, rstdHandle] = native().qkNorm(
    qkv.handle,
    qWeight.handle,
    qBias?.handle ?? null,
    kWeight.handle,
    kBias?.handle ?? null,
    heads,
    norm,
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
    const biases = qBias && kBias ? [qBias, kBias] : []
    const { into, accumulate } = gradients.intoAll(qWeight, kWeight, ...biases)
    const [dqWeight, dkWeight, dqBias, dkBias] = into.map(({ handle }) => handle)
    const dQkv = native().qkNormBackward(
      dNormed.handle,
      qkv.handle,
      qWeight.handle,
      kWeight.handle,
      mean.handle,
      rstd.handle,
      heads,
      norm,
      dqWeight!,
      dqBias ?? null,
      dkWeight!,
      dkBias ?? null,
      accumulate,
    )
    gradients.add(qkv, new Tensor(dQkv, qkv.device))
  })
  return normed
}
