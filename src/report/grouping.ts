import type { Points } from './curve.ts'

/** Points by rising x; of several at one x the last. */
export function pointsOf(pairs: readonly (readonly [x: number, y: number] | readonly number[])[]): Points {
  const sorted = [...new Map(pairs.map(([x, y]) => [x!, y!]))].sort(([a], [b]) => a - b)
  return { x: Float64Array.from(sorted, ([x]) => x), y: Float64Array.from(sorted, ([, y]) => y) }
}

/** The values that there are, rising. */
export function distinct(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b)
}

/** The items of each key, in the order in which the keys came. */
export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return [...groups.values()]
}
