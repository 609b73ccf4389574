import type { StateSource } from '../nn/state-dict.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'

/** Where a tensor of a model lies in a file: one tensor there, or several that are stacked along their first axis. */
export interface FileTensor {
  readonly from: string | readonly string[]
  /** In front of the file's axes: a class token [D] is [1, 1, D] in the model's state dict. */
  readonly leadingAxes?: number
}

/** A file's tensors under a model's names; those that the map leaves out are not there. */
export function renamedState(file: StateSource, tensors: ReadonlyMap<string, FileTensor>): StateSource {
  const partsOf = (name: string) => [tensors.get(name)!.from].flat()
  const shapeOf = (name: string): readonly number[] => {
    const [first, ...others] = partsOf(name).map((part) => file.shapeOf(part))
    const stacked =
      others.length === 0 ? first! : [others.reduce((sum, [rows = 0]) => sum + rows, first![0]!), ...first!.slice(1)]
    return [...new Array<number>(tensors.get(name)!.leadingAxes ?? 0).fill(1), ...stacked]
  }
  return {
    name: file.name,
    names: [...tensors.keys()],
    shapeOf,
    async read(name): Promise<HostTensor> {
      const parts: HostTensor[] = []
      for (const part of partsOf(name)) parts.push(await file.read(part))
      const data = parts.length === 1 ? parts[0]!.data : new Uint8Array(Buffer.concat(parts.map((part) => part.data)))
      return { dtype: parts[0]!.dtype, shape: shapeOf(name), data }
    },
  }
}

/** Leaves out what the file lacks, so that it is reported under the model's name. */
export function present(tensors: ReadonlyMap<string, FileTensor>, file: StateSource): Map<string, FileTensor> {
  const names = new Set(file.names)
  return new Map([...tensors].filter(([, { from }]) => [from].flat().every((part) => names.has(part))))
}
