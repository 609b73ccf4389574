import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { native } from '../native.ts'
import { ParameterArena } from '../nn/parameter-arena.ts'
import type { ParameterList, StateEntry } from '../nn/parameter-list.ts'
import { loadState, type StateSource, stateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { COMPUTE_DTYPES, type ComputeDType, elementCount } from '../tensor/dtype.ts'
import { fnv1a } from '../tensor/fnv1a.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'

const seedSchema = whenNeeded(() => z.strictObject({ seed: z.int().min(0) }))

/**
 * Before a model takes memory.
 *
 * @throws {ConfigurationError} for a seed that is no whole number from 0 to 2^53 − 1
 */
export function requireSeed(seed: number): void {
  parseConfiguration(seedSchema(), { seed }, "the model's options")
}

const dtypeSchema = whenNeeded(() => z.enum(COMPUTE_DTYPES))

/** What every model has: parameters in an arena, under the names and in the order of the reference's state dict. */
export abstract class Model implements Disposable {
  readonly device: Device
  #arena: ParameterArena
  #entries: readonly StateEntry[]
  #dtype: ComputeDType = 'f32'

  protected constructor(list: ParameterList, device: Device) {
    this.device = device
    this.#entries = list.entries
    this.#arena = new ParameterArena(list.parameters, device)
  }

  /** In what activations and products are; f32 until `computeIn`. */
  get dtype(): ComputeDType {
    return this.#dtype
  }

  /** Lets activations and products be of another dtype from now on; parameters, statistics and the residual stream stay f32. */
  computeIn(dtype: ComputeDType): void {
    parseConfiguration(dtypeSchema(), dtype, 'what the model computes in')
    this.#arena.computeIn(dtype)
    this.#dtype = dtype
  }

  /** The parameters' memory. */
  get arena(): ParameterArena {
    return this.#arena
  }

  /** The state dict's tensors, in the reference's order. */
  get entries(): readonly StateEntry[] {
    return this.#entries
  }

  /** Numbers in the state dict, frozen ones included. */
  get parameterCount(): number {
    return this.#entries.reduce((count, { shape }) => count + elementCount(shape), 0)
  }

  /**
   * Gives every parameter its first value; the same seed gives the same values on every machine.
   *
   * @throws {ConfigurationError} as `requireSeed` does
   */
  initialise(seed: number): void {
    requireSeed(seed)
    for (const entry of this.#entries) initialiseEntry(this.#arena, entry, seed)
    this.#arena.refreshCompute()
  }

  /** Changes the declared parameters: those that were there keep their weights, new ones get their first values. */
  protected redeclare(list: ParameterList, seed: number): void {
    const before = new Map(this.#entries.map((entry) => [entry.name, entry]))
    const arena = new ParameterArena(list.parameters, this.device)
    for (const entry of list.entries) {
      const old = before.get(entry.name)
      if (old && String(old.shape) === String(entry.shape)) {
        using from = this.#arena.view('weights', old)
        using to = arena.view('weights', entry)
        native().copy(to.handle, from.handle)
      } else {
        initialiseEntry(arena, entry, seed)
      }
    }
    arena.computeIn(this.#dtype)
    this.#arena.dispose()
    this.#arena = arena
    this.#entries = list.entries
  }

  /**
   * Loads the weights from a state dict: a file's, or what `SafetensorsFile.readAll` gives. Throws one error that lists every missing, surplus
   * and misshapen tensor.
   */
  async load(
    state: StateSource | ReadonlyMap<string, HostTensor>,
    options: { ignore?: (name: string) => boolean } = {},
  ): Promise<void> {
    const source = state instanceof Map ? stateSource(state, 'The state dict') : (state as StateSource)
    if (!Array.isArray(source?.names))
      throw new TypeError('load: expected tensors by name, in a Map as SafetensorsFile.readAll gives them.')
    await loadState(this.#entries, this.#arena, 'weights', source, options.ignore)
    this.#arena.refreshCompute()
  }

  dispose(): void {
    this.#arena.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

function initialiseEntry(arena: ParameterArena, entry: StateEntry, seed: number): void {
  using view = arena.view('weights', entry)
  // The name's hash as the step: a tensor's first values do not depend on what else the model has.
  entry.initialise(view, { seed, stream: 'initialisation', step: fnv1a(entry.name) })
}

/** The model with a file's weights; where they are not its, it is disposed of. */
export async function loaded<M extends Model>(model: M, source: StateSource): Promise<M> {
  try {
    await model.load(source)
    return model
  } catch (error) {
    model.dispose()
    throw error
  }
}
