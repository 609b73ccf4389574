import type { HostTensor } from '../tensor/host-tensor.ts'

/**
 * What a pickle's Python objects become. Dictionaries are Maps, which keep their order and keys that are not strings;
 * tuples are arrays; integers past 2^53 are bigints; argparse.Namespace is the Map of its attributes; NumPy arrays are
 * HostTensors. `Extra` is what the reader of a particular format adds (torch's tensors).
 */
export type PickleValue<Extra = never> =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | HostTensor
  | PickleGlobal
  | InertObject
  | Extra
  | PickleValue<Extra>[]
  | Map<PickleValue<Extra>, PickleValue<Extra>>
  | Set<PickleValue<Extra>>

/**
 * A class or function that a pickle names. It stands for itself only: `call` is this reader's own reconstruction of what
 * the Python one would return, and nothing is ever looked up in, or run from, the file's world.
 */
export class PickleGlobal {
  /** With its module: `collections.OrderedDict`. */
  readonly name: string
  readonly call: (args: readonly unknown[]) => unknown

  constructor(name: string, call: (args: readonly unknown[]) => unknown) {
    this.name = name
    this.call = call
  }
}

/** An object of a class that the caller chose to keep as plain data (`inertGlobals`): what it was to be built from. */
export class InertObject {
  readonly className: string
  readonly args: readonly unknown[]
  readonly elements: unknown[] = []
  readonly entries = new Map<unknown, unknown>()
  state: unknown = null

  constructor(className: string, args: readonly unknown[]) {
    this.className = className
    this.args = args
  }
}

/**
 * What a message says of a value that is not what it should be. What a list holds is left out: lists that share their parts are short in a file
 * and longer than memory when they are written out, and the reader has not checked them yet.
 */
export function spoken(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : String(value)
}

/** Objects that a later BUILD instruction fills, and how. Kept apart, so that the objects themselves are plain. */
const builders = new WeakMap<object, (state: unknown) => void>()

/** Has `build` do for the object what Python's `__setstate__` does. Returns the object. */
export function withBuilder<T extends object>(object: T, build: (state: unknown) => void): T {
  builders.set(object, build)
  return object
}

export function builderOf(value: unknown): ((state: unknown) => void) | undefined {
  return typeof value === 'object' && value !== null ? builders.get(value) : undefined
}
