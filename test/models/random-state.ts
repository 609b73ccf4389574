import type { StateEntry } from '../../src/nn/parameter-list.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { random } from '../reference/array.ts'

/** Random weights under a model's names, in the files' layout. Takes the model over. */
export function randomState(
  model: Disposable & { readonly entries: readonly Pick<StateEntry, 'name' | 'shape'>[] },
): Map<string, HostTensor> {
  using made = model
  return new Map(
    made.entries.map(({ name, shape }, i) => {
      const fanIn = shape.slice(1).reduce((product, size) => product * size, 1)
      const { data } = random(shape, i + 1, shape.length > 1 ? Math.sqrt(3 / fanIn) : 0.5)
      return [name, hostFloat32(Float32Array.from(data), shape)] as const
    }),
  )
}
