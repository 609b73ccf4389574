/** What the names and shapes of a state dict's tensors tell of the model that it is of. */
import type { StateSource } from '../nn/state-dict.ts'

/** The shape of a tensor that a model of its kind has, of so many axes. */
type ReadShape = (name: string, rank: number) => readonly number[]

/**
 * Reads shapes of a state dict that should be `what` (`DINOv2 weights`).
 *
 * @throws {Error} (the reader) where there is no such tensor, or it is of another number of axes
 */
export function shapesOf(state: StateSource, what: string): ReadShape {
  const names = new Set(state.names)
  return (name, rank) => {
    const shape = names.has(name) ? state.shapeOf(name) : undefined
    if (shape?.length === rank) return shape
    const found = shape ? `its shape [${shape}] is not of ${rank} axes` : `it is missing. ${listed(state.names)}`
    throw new Error(`${state.name} holds no ${what}: ${name} was looked for, and ${found}`)
  }
}

/** Numbered modules under a name, `blocks.0` … `blocks.11`: one more than the largest number; 0 where there is none. */
export function countOf(module: string, names: Iterable<string>): number {
  const prefix = `${module}.`
  let count = 0
  for (const name of names) {
    const index = name.startsWith(prefix) ? /^\d+(?=\.)/.exec(name.slice(prefix.length))?.[0] : undefined
    if (index !== undefined) count = Math.max(count, Number(index) + 1)
  }
  return count
}

/** What a message says of a file that holds something else. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ')
  return `It has ${shown}${names.length > 5 ? `, … (${names.length} tensors)` : ''}.`
}
