import type { Activation } from './activation.ts'
import { type NdArray, zeros } from './array.ts'
import { block, layersOf } from './vit.ts'

/** How CLIP's text transformer computes. Weights are under the names of src/models/clip-text.ts, as [out, in] matrices and [D] vectors. */
export interface ClipTextReference {
  readonly weights: ReadonlyMap<string, NdArray>
  readonly depth: number
  readonly heads: number
  readonly epsilon: number
  readonly activation: Activation
  /** Default true. */
  readonly causal?: boolean
  /** Default true. */
  readonly finalNorm?: boolean
}

/** The hidden states [B, T, D] of token ids, T of each caption. */
export function clipTextStates(ids: ArrayLike<number>, model: ClipTextReference): NdArray {
  const { causal = true, finalNorm = true } = model
  const { of, norm } = layersOf(model)
  const [words, positions] = [of('token_embedding.weight'), of('position_embedding.weight')]
  const [tokens, width] = positions.shape as [number, number]
  let x = zeros([ids.length / tokens, tokens, width])
  for (let i = 0; i < x.data.length; i++) {
    const [token, column] = [Math.floor(i / width), i % width]
    x.data[i] = words.data[ids[token]! * width + column]! + positions.data[(token % tokens) * width + column]!
  }
  for (let i = 0; i < model.depth; i++) x = block(x, `blocks.${i}`, { ...model, causal })
  return finalNorm ? norm(x, 'final_layer_norm') : x
}
