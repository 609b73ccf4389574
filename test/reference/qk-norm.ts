import { type NdArray, zeros } from './array.ts'
import { layerNorm, layerNormBackward } from './layer-norm.ts'

/** LayerNorm parameters over head_dim, [d] each, one pair for queries and one for keys. */
export interface QkNormParameters {
  readonly qWeight: NdArray
  readonly qBias: NdArray
  readonly kWeight: NdArray
  readonly kBias: NdArray
}

/** Normalises every head's q and k over head_dim with an affine LayerNorm; v passes through. qkv [B, T, 3, H, d]. */
export function qkNorm(qkv: NdArray, parameters: QkNormParameters, eps = 1e-5): NdArray {
  const [q, k, v] = unpack(qkv)
  return pack(
    qkv.shape,
    layerNorm(q, parameters.qWeight, parameters.qBias, eps),
    layerNorm(k, parameters.kWeight, parameters.kBias, eps),
    v,
  )
}

export function qkNormBackward(
  dy: NdArray,
  qkv: NdArray,
  parameters: QkNormParameters,
  eps = 1e-5,
): { dQkv: NdArray; dqWeight: NdArray; dqBias: NdArray; dkWeight: NdArray; dkBias: NdArray } {
  const [q, k] = unpack(qkv)
  const [dyQ, dyK, dV] = unpack(dy)
  const dq = layerNormBackward(dyQ, q, parameters.qWeight, eps)
  const dk = layerNormBackward(dyK, k, parameters.kWeight, eps)
  return {
    dQkv: pack(qkv.shape, dq.dx, dk.dx, dV),
    dqWeight: dq.dWeight,
    dqBias: dq.dBias,
    dkWeight: dk.dWeight,
    dkBias: dk.dBias,
  }
}

// [B, T, 3, H, d] -> three of [B, T, H, d].
function unpack(qkv: NdArray): [NdArray, NdArray, NdArray] {
  const [batch, tokens, , heads, width] = qkv.shape
  const part = (index: number) => {
    const out = zeros([batch, tokens, heads, width])
    const row = heads * width
    for (let i = 0; i < out.data.length; i++) {
      out.data[i] = qkv.data[(Math.floor(i / row) * 3 + index) * row + (i % row)]
    }
    return out
  }
  return [part(0), part(1), part(2)]
}

function pack(shape: readonly number[], q: NdArray, k: NdArray, v: NdArray): NdArray {
  const row = shape[3] * shape[4]
  const out = zeros(shape)
  for (let i = 0; i < q.data.length; i++) {
    for (const [index, part] of [q, k, v].entries()) {
      out.data[(Math.floor(i / row) * 3 + index) * row + (i % row)] = part.data[i]
    }
  }
  return out
}
