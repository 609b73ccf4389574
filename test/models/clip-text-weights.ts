import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import type { NdArray } from '../reference/array.ts'
import { DrawnWeights } from '../reference/drawn-weights.ts'

export interface TextSizes {
  readonly vocabulary: number
  readonly tokens: number
  readonly hidden: number
  readonly depth: number
  readonly heads: number
  readonly ffnWidth: number
}

/**
 * Random weights under the names of src/models/clip-text.ts. What enters the first block is small, so that the LayerNorms' epsilon is seen:
 * variances are of the order of 1e-3.
 */
export function clipTextWeights({ vocabulary, tokens, hidden, depth, ffnWidth }: Omit<TextSizes, 'heads'>, seed = 100) {
  const drawn = new DrawnWeights(seed)
  drawn.add('token_embedding.weight', [vocabulary, hidden], 0.03)
  drawn.add('position_embedding.weight', [tokens, hidden], 0.02)
  for (let i = 0; i < depth; i++) {
    drawn.norm(`blocks.${i}.norm1`, hidden)
    drawn.dense(`blocks.${i}.attn.qkv`, 3 * hidden, hidden)
    drawn.dense(`blocks.${i}.attn.proj`, hidden, hidden, 0.1)
    drawn.norm(`blocks.${i}.norm2`, hidden)
    drawn.dense(`blocks.${i}.mlp.fc1`, ffnWidth, hidden)
    drawn.dense(`blocks.${i}.mlp.fc2`, hidden, ffnWidth, 0.1)
  }
  drawn.norm('final_layer_norm', hidden)
  return drawn.weights
}

/** Values as a file holds them. */
export const asFileTensor = ({ shape, data }: NdArray): HostTensor => hostFloat32(Float32Array.from(data), shape)
