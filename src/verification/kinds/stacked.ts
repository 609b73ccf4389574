import { elementCount } from '../../tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'

/** Tensors of one shape as rows of one more leading axis, in float32. */
export function stacked(tensors: readonly HostTensor[]): HostTensor {
  const shape = tensors[0]?.shape ?? []
  const size = elementCount(shape)
  const all = new Float32Array(tensors.length * size)
  tensors.forEach((tensor, row) => {
    all.set(toFloat32(tensor), row * size)
  })
  return hostFloat32(all, [tensors.length, ...shape])
}

/** Row `index` of a tensor's leading axis. */
export function rowOf({ dtype, shape, data }: HostTensor, index: number): HostTensor {
  const [rows = 0, ...rest] = shape
  if (!(index < rows)) throw new RangeError(`A tensor of shape [${shape}] has no row ${index}.`)
  const bytes = data.byteLength / rows
  return { dtype, shape: rest, data: data.subarray(index * bytes, (index + 1) * bytes) }
}
