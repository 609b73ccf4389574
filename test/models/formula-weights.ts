import { readFileSync } from 'node:fs'
import * as z from 'zod'
import { type StateSource, stateSource } from '../../src/nn/state-dict.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'

const Table = z.object({
  formula: z.object({ name: z.literal('formula-v1') }),
  seed: z.int(),
  tensors: z.array(z.object({ name: z.string(), shape: z.array(z.int()), scale: z.number(), offset: z.number() })),
})

/** The state dict of full-size weights that follow formula-v1 (the golden manifest has its text), from its table. */
export function formulaWeights(path: string): StateSource {
  const { seed, tensors } = Table.parse(JSON.parse(readFileSync(path, 'utf8')))
  const values = tensors.map(({ name, shape, scale, offset }) => {
    const hash = fnv1a(`${name}#${seed}`)
    const data = new Float32Array(elementCount(shape))
    for (let i = 0; i < data.length; i++) data[i] = unit(i, hash) * scale + offset
    return [name, hostFloat32(data, shape)] as const
  })
  return stateSource(new Map(values), path)
}

/** In [−1, 1). */
function unit(index: number, hash: number): number {
  let x = (Math.imul(index, 0x9e3779b1) + hash) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  x ^= x >>> 16
  return (x >>> 8) / 8388608 - 1
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
