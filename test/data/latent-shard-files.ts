import { join } from 'node:path'
import { type SafetensorsSource, writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { numberToFloat16 } from '../../src/tensor/float16.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** Of these types eighths up to a few tens are exact. */
const BITS = {
  f32: (values: Float32Array) => values,
  bf16: (values: Float32Array) => Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16),
  f16: (values: Float32Array) => Uint16Array.from(values, numberToFloat16),
  f64: (values: Float32Array) => new Float64Array(values),
} as const

export function stored(
  name: string,
  values: Float32Array,
  shape: readonly number[],
  dtype: keyof typeof BITS,
): SafetensorsSource {
  return { name, dtype, shape, data: new Uint8Array(BITS[dtype](values).buffer) }
}

export function storedLabels(labels: readonly number[]): SafetensorsSource {
  const data = BigInt64Array.from(labels, BigInt)
  return { name: 'labels', dtype: 'i64', shape: [labels.length], data: new Uint8Array(data.buffer) }
}

/** Two shards of latents that can be told apart: number i of the set has this at its place j, its mirror image 16 more. */
export const latentAt = (i: number, j: number): number => i + j / 8

export interface ShardFiles {
  readonly counts?: readonly number[]
  readonly shape?: readonly [number, number, number]
  readonly dtype?: keyof typeof BITS
  readonly flip?: boolean
}

/** The label of sample i is i mod 3. */
export async function latentShardFiles({
  counts = [3, 2],
  shape = [2, 2, 2],
  dtype = 'f32',
  flip = true,
}: ShardFiles = {}): Promise<string> {
  const folder = temporaryFolder()
  const size = shape[0] * shape[1] * shape[2]
  let begin = 0
  for (const [number, count] of counts.entries()) {
    const from = begin
    const values = (more: number) =>
      Float32Array.from({ length: count * size }, (_, k) => latentAt(from + Math.floor(k / size), k % size) + more)
    await writeSafetensors(join(folder, `latents_rank00_shard${String(number).padStart(3, '0')}.safetensors`), [
      stored('latents', values(0), [count, ...shape], dtype),
      ...(flip ? [stored('latents_flip', values(16), [count, ...shape], dtype)] : []),
      storedLabels(Array.from({ length: count }, (_, i) => (from + i) % 3)),
    ])
    begin += count
  }
  return folder
}
