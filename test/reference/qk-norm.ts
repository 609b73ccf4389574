import { map, type NdArray, zeros } from './array.ts'
import { layerNorm, layerNormBackward } from './layer-norm.ts'
import { rmsNormalize, rmsNormalizeBackward } from './rms-norm.ts'

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

/** RMSNorm with a weight of every head's q and k over head_dim; v passes through. */
export function qkRmsNorm(
  qkv: NdArray,
  { qWeight, kWeight }: Pick<QkNormParameters, 'qWeight' | 'kWeight'>,
  eps = 1e-6,
): NdArray {
  const [q, k, v] = unpack(qkv)
  return pack(qkv.shape, timesRow(rmsNormalize(q, eps), qWeight), timesRow(rmsNormalize(k, eps), kWeight), v)
}

export function qkRmsNormBackward(
  dy: NdArray,
  qkv: NdArray,
  { qWeight, kWeight }: Pick<QkNormParameters, 'qWeight' | 'kWeight'>,
  eps = 1e-6,
): { dQkv: NdArray; dqWeight: NdArray; dkWeight: NdArray } {
  const [q, k] = unpack(qkv)
  const [dyQ, dyK, dV] = unpack(dy)
  const part = (d: NdArray, x: NdArray, weight: NdArray) => ({
    dx: rmsNormalizeBackward(timesRow(d, weight), x, eps),
    dWeight: columnSums(d, rmsNormalize(x, eps)),
  })
  const [dq, dk] = [part(dyQ, q, qWeight), part(dyK, k, kWeight)]
  return { dQkv: pack(qkv.shape, dq.dx, dk.dx, dV), dqWeight: dq.dWeight, dkWeight: dk.dWeight }
}

/** Every row of the last axis times a vector. */
function timesRow(x: NdArray, vector: NdArray): NdArray {
  return map(x, (value, i) => value * vector.data[i % vector.data.length])
}

/** Sums of a ⊙ b over all axes but the last. */
function columnSums(a: NdArray, b: NdArray): NdArray {
  const sums = zeros([a.shape.at(-1)!])
  for (const [i, value] of a.data.entries()) sums.data[i % sums.data.length] += value * b.data[i]
  return sums
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
