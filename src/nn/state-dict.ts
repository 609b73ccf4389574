import { synchronize } from '../tensor/device.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'
import type { ArenaRole, ParameterArena } from './parameter-arena.ts'
import type { StateEntry } from './parameter-list.ts'

/** Named tensors that are read one at a time, as a file gives them. */
export interface StateSource {
  /** For messages: the file's path, or what else it is. */
  readonly name: string
  readonly names: readonly string[]
  shapeOf(name: string): readonly number[]
  read(name: string): Promise<HostTensor>
}

/** A Map as a source. */
export function stateSource(tensors: ReadonlyMap<string, HostTensor>, name: string): StateSource {
  return {
    name,
    names: [...tensors.keys()],
    shapeOf: (tensor) => tensors.get(tensor)!.shape,
    read: async (tensor) => tensors.get(tensor)!,
  }
}

/**
 * What of a source does not fit the entries, in one clause: missing and surplus names, and shapes (with both); undefined: all of it does.
 * `ignore` tells which surplus names are known and not wanted.
 */
export function misfitsOf(
  entries: readonly StateEntry[],
  source: Pick<StateSource, 'names' | 'shapeOf'>,
  ignore: (name: string) => boolean = () => false,
): string | undefined {
  const wanted = new Map(entries.map((entry) => [entry.name, entry]))
  const present = new Set(source.names)
  const problems: string[] = []
  for (const { name, shape } of entries) {
    if (!present.has(name)) problems.push(`${name} [${shape}] is missing`)
    else if (String(source.shapeOf(name)) !== String(shape)) {
      problems.push(`${name} has shape [${source.shapeOf(name)}], the model's is [${shape}]`)
    }
  }
  for (const name of present) if (!wanted.has(name) && !ignore(name)) problems.push(`${name} is not in the model`)
  if (problems.length === 0) return undefined
  const shown = problems.slice(0, 8).join('; ')
  return problems.length > 8 ? `${shown}; and ${problems.length - 8} more` : shown
}

/** Throws one error that lists all misfits (see misfitsOf). */
export function requireFit(
  entries: readonly StateEntry[],
  source: Pick<StateSource, 'name' | 'names' | 'shapeOf'>,
  ignore?: (name: string) => boolean,
): void {
  const misfits = misfitsOf(entries, source, ignore)
  if (misfits !== undefined) throw new Error(`${source.name} does not fit the model: ${misfits}.`)
}

/** Loads every entry from the source; nothing is loaded unless everything fits (see requireFit). */
export async function loadState(
  entries: readonly StateEntry[],
  arena: ParameterArena,
  role: ArenaRole,
  source: StateSource,
  ignore?: (name: string) => boolean,
): Promise<void> {
  requireFit(entries, source, ignore)
  for (const entry of entries) {
    using view = arena.view(role, entry)
    view.write(toFloat32(await source.read(entry.name)))
    // A write waits in host memory for its turn: without this, a large file would pile up behind a busy device.
    await synchronize(arena.device)
  }
}
