import { type NdArray, sum, zeros } from './array.ts'
import { gatherTokens } from './gather-tokens.ts'
import { normalizeRows } from './layer-norm.ts'
import { block, layersOf } from './vit.ts'

export interface MaskedAutoencoderReference {
  /** Under MAE's names; the patch embedding [D, C·p·p], positions [1 + T, D]. */
  readonly weights: ReadonlyMap<string, NdArray>
  readonly depth: number
  readonly heads: number
  readonly decoderDepth: number
  readonly decoderHeads: number
}

const EPSILON = 1e-6

/** MAE's loss (arXiv 2111.06377, models_mae.py) of patches [B, T, C·p·p], in each sample the `visible` ones seen, [B, V] by their places. */
export function maskedAutoencoderLoss(
  patches: NdArray,
  visible: readonly (readonly number[])[],
  model: MaskedAutoencoderReference,
): number {
  const layers = { weights: model.weights, epsilon: EPSILON, activation: 'gelu-erf' } as const
  const { of, norm, dense } = layersOf(layers)
  const [batch, tokens, elements] = patches.shape
  const embedded = dense(gatherTokens(patches, visible.flat()), 'patch_embed.proj')
  const hidden = embedded.shape[2]

  // Class token first, whose position is zero.
  let x = zeros([batch, 1 + visible[0].length, hidden])
  for (let b = 0; b < batch; b++) {
    const row = (n: number) => (b * x.shape[1] + n) * hidden
    x.data.set(sumOf(of('cls_token'), of('pos_embed'), 0), row(0))
    visible[b].forEach((place, v) => {
      const token = embedded.data.subarray(
        (b * visible[b].length + v) * hidden,
        (b * visible[b].length + v + 1) * hidden,
      )
      x.data.set(sumOf({ shape: [hidden], data: token }, of('pos_embed'), 1 + place), row(1 + v))
    })
  }
  for (let i = 0; i < model.depth; i++) x = block(x, `blocks.${i}`, { ...layers, heads: model.heads })

  const restored = Array.from({ length: batch }, (_, b) => [
    0,
    ...Array.from({ length: tokens }, (_, place) => {
      const index = visible[b].indexOf(place)
      return index < 0 ? -1 : 1 + index
    }),
  ]).flat()
  let y = gatherTokens(dense(norm(x, 'norm'), 'decoder_embed'), restored, of('mask_token'))
  const positions = of('decoder_pos_embed')
  const repeated = zeros(y.shape)
  for (let i = 0; i < repeated.data.length; i++) repeated.data[i] = positions.data[i % positions.data.length]
  y = sum(y, repeated)
  for (let i = 0; i < model.decoderDepth; i++) {
    y = block(y, `decoder_blocks.${i}`, { ...layers, heads: model.decoderHeads })
  }
  const prediction = dense(norm(y, 'decoder_norm'), 'decoder_pred')

  // Pixels normalised by patch; the variance is the unbiased one.
  const shrink = (elements - 1) / elements
  const target = normalizeRows(patches, EPSILON * shrink)
  let [total, count] = [0, 0]
  for (let b = 0; b < batch; b++) {
    for (let place = 0; place < tokens; place++) {
      if (visible[b].includes(place)) continue
      for (let i = 0; i < elements; i++) {
        const wanted = target.data[(b * tokens + place) * elements + i] * Math.sqrt(shrink)
        total += (prediction.data[(b * (1 + tokens) + 1 + place) * elements + i] - wanted) ** 2
        count++
      }
    }
  }
  return total / count
}

/** a + row `row` of a table. */
function sumOf(a: NdArray, table: NdArray, row: number): Float64Array {
  const width = a.data.length
  return a.data.map((value, i) => value + table.data[row * width + i])
}
