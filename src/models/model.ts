import { ParameterArena } from '../nn/parameter-arena.ts'
import type { ParameterList, StateEntry } from '../nn/parameter-list.ts'
import { loadState, type StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { elementCount } from '../tensor/dtype.ts'

/** What every model has: parameters in an arena, under the names and in the order of the reference's state dict. */
export abstract class Model implements Disposable {
  readonly device: Device
  readonly arena: ParameterArena
  /** The state dict's tensors, in the reference's order. */
  readonly entries: readonly StateEntry[]

  protected constructor(list: ParameterList, device: Device) {
    this.device = device
    this.entries = list.entries
    this.arena = new ParameterArena(list.parameters, device)
  }

  /** Numbers in the state dict, frozen ones included. */
  get parameterCount(): number {
    return this.entries.reduce((count, { shape }) => count + elementCount(shape), 0)
  }

  /** Gives every parameter its first value; the same seed gives the same values on every machine. */
  initialise(seed: number): void {
    this.entries.forEach((entry, index) => {
      using view = this.arena.view('weights', entry)
      entry.initialise(view, { seed, stream: 'initialisation', step: index })
    })
  }

  /** Loads the weights from a state dict; throws one error that lists every missing, surplus and misshapen tensor. */
  async load(source: StateSource, options: { ignore?: (name: string) => boolean } = {}): Promise<void> {
    await loadState(this.entries, this.arena, 'weights', source, options.ignore)
  }

  dispose(): void {
    this.arena.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
