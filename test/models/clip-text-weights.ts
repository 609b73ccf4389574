import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { map, type NdArray, random } from '../reference/array.ts'

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
  const weights = new Map<string, NdArray>()
  const add = (name: string, shape: readonly number[], scale: number, offset = 0) =>
    weights.set(
      name,
      map(random(shape, seed++, scale), (value) => Math.fround(value + offset)),
    )
  const norm = (name: string) => {
    add(`${name}.weight`, [hidden], 0.3, 1)
    add(`${name}.bias`, [hidden], 0.1)
  }
  const dense = (name: string, output: number, input: number, scale: number) => {
    add(`${name}.weight`, [output, input], scale / Math.sqrt(input))
    add(`${name}.bias`, [output], 0.02)
  }
  add('token_embedding.weight', [vocabulary, hidden], 0.03)
  add('position_embedding.weight', [tokens, hidden], 0.02)
  for (let i = 0; i < depth; i++) {
    norm(`blocks.${i}.norm1`)
    dense(`blocks.${i}.attn.qkv`, 3 * hidden, hidden, 1.5)
    dense(`blocks.${i}.attn.proj`, hidden, hidden, 0.1)
    norm(`blocks.${i}.norm2`)
    dense(`blocks.${i}.mlp.fc1`, ffnWidth, hidden, 1.5)
    dense(`blocks.${i}.mlp.fc2`, hidden, ffnWidth, 0.1)
  }
  norm('final_layer_norm')
  return weights
}

/** Values as a file holds them. */
export const asFileTensor = ({ shape, data }: NdArray): HostTensor => hostFloat32(Float32Array.from(data), shape)
