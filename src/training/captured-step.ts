import { native } from '../native.ts'
import { memoryChanges } from '../nn/parameter-arena.ts'
import { Graph } from '../tensor/graph.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Tensors by name; some may be missing, but the same ones at every step. */
export type Tensors = Readonly<Record<string, Tensor | undefined>>

/**
 * A step that was recorded once and is replayed: its inputs are copied into tensors of its own, and its results are the same
 * tensors every time.
 */
export class CapturedStep<Inputs extends Tensors, Results extends Tensors> implements Disposable {
  readonly #inputs: Inputs
  readonly #graph: Graph
  readonly #memoryChanges = memoryChanges()
  /** What the last replay computes; valid until the next is enqueued. Not the caller's to dispose. */
  readonly results: Results
  #isDisposed = false

  /** Records `enqueue`, without running it. It must have run before: what it makes once and keeps must not be made while it is recorded. */
  constructor(inputs: Inputs, enqueue: (inputs: Inputs) => Results) {
    const copies = Object.entries(inputs).map(([name, tensor]) => {
      return [name, tensor && keep(Tensor.empty(tensor.shape, tensor.device, tensor.dtype))]
    })
    this.#inputs = Object.fromEntries(copies) as Inputs
    const { device } = Object.values(inputs).find((tensor) => tensor !== undefined)!
    try {
      const { graph, result } = Graph.capture(device, () => {
        const results = enqueue(this.#inputs)
        for (const tensor of Object.values(results)) if (tensor) keep(tensor)
        return results
      })
      this.#graph = graph
      this.results = result
    } catch (error) {
      for (const tensor of Object.values(this.#inputs)) tensor?.dispose()
      throw error
    }
  }

  /** Whether what it reads and writes may be elsewhere by now (`computeIn`, `load`, `dispose`): it is to be recorded anew, after a step without. */
  get isStale(): boolean {
    return this.#memoryChanges !== memoryChanges()
  }

  /** Enqueues the step on other inputs of the same shapes. */
  replay(inputs: Inputs): void {
    for (const [name, tensor] of Object.entries(inputs)) {
      if (tensor) native().copy(this.#inputs[name]!.handle, tensor.handle)
    }
    this.#graph.replay()
  }

  dispose(): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    for (const tensor of [...Object.values(this.#inputs), ...Object.values(this.results)]) tensor?.dispose()
    this.#graph.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
