import { FileFormatError } from './errors.ts'
import { InertObject } from './pickle-values.ts'

/** Deeper nesting would overflow the stack of whoever walks the value by recursion. */
const MAX_DEPTH = 500

/**
 * Most values that a walk of the whole tree may meet. A pickle can share an object, so a few bytes may stand for a tree
 * of 2^1000 leaves ("billion laughs").
 */
const MAX_VALUES = 20_000_000

interface Visit {
  readonly node: object
  readonly children: Iterator<unknown>
  values: number
}

/**
 * Checks that anyone can walk the value without care: no cycles, no deep nesting, and not too many values even where
 * shared ones are counted each time. It takes time linear in the objects that are there.
 */
export function checkPickleTree(root: unknown, where: { readonly path: string; readonly part: string }): void {
  /** How many values a finished container holds; 0 while it is being walked. */
  const finished = new Map<object, number>()
  const open: Visit[] = []
  const enter = (value: unknown): number => {
    const children = childrenOf(value)
    if (children === undefined) return 1
    const known = finished.get(value as object)
    if (known === 0) throw new FileFormatError(where.path, `${where.part} holds a value that contains itself.`)
    if (known !== undefined) return known
    if (open.length >= MAX_DEPTH) {
      throw new FileFormatError(where.path, `${where.part} is nested more than ${MAX_DEPTH} levels deep.`)
    }
    finished.set(value as object, 0)
    open.push({ node: value as object, children, values: 1 })
    return 0
  }
  enter(root)
  for (let visit = open.at(-1); visit !== undefined; visit = open.at(-1)) {
    const { done, value } = visit.children.next()
    if (!done) {
      visit.values += enter(value)
      continue
    }
    if (visit.values > MAX_VALUES) {
      throw new FileFormatError(where.path, `${where.part} stands for more than ${MAX_VALUES} values.`)
    }
    finished.set(visit.node, visit.values)
    open.pop()
    const parent = open.at(-1)
    if (parent !== undefined) parent.values += visit.values
  }
}

function childrenOf(value: unknown): Iterator<unknown> | undefined {
  if (Array.isArray(value) || value instanceof Set) return value.values()
  if (value instanceof Map) return mapChildren(value)
  if (value instanceof InertObject) return inertChildren(value)
  return undefined
}

function* mapChildren(map: ReadonlyMap<unknown, unknown>): Generator<unknown> {
  for (const [key, value] of map) {
    yield key
    yield value
  }
}

function* inertChildren(object: InertObject): Generator<unknown> {
  yield* object.args
  yield* object.elements
  yield* mapChildren(object.entries)
  yield object.state
}
