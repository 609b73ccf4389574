import { keep } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Keeps what a computation shows of its inside until it is compared. Disposing it frees everything. */
export class ObservedTensors implements Disposable {
  readonly #tensors = new Map<string, Tensor>()

  readonly #wanted: (name: string) => boolean

  constructor(wanted: (name: string) => boolean = () => true) {
    this.#wanted = wanted
  }

  /** To be passed as `observe`. A name that is shown again replaces what was there. */
  readonly observe = (name: string, tensor: Tensor): void => {
    if (!this.#wanted(name)) return
    this.#tensors.get(name)?.dispose()
    // A handle of its own: the scope or the tape that made the tensor may free its.
    this.#tensors.set(name, keep(tensor.alias()))
  }

  get(name: string): Tensor | undefined {
    return this.#tensors.get(name)
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors.values()) tensor.dispose()
    this.#tensors.clear()
  }
}
