import type { World } from '../distributed/world.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import { scope } from '../tensor/scope.ts'
import { CapturedStep, type Tensors } from './captured-step.ts'

export interface RepeatedStepOptions {
  /** Whether the step is captured as a graph. */
  readonly capture: boolean
  /** The processes whose exchanges are part of it. */
  readonly world: World
  /** The memory of the weights that it reads and updates: the model's, which may be another from one step to the next. */
  readonly arena: () => ParameterArena
}

/**
 * Makes one step after another that differ in their inputs alone: each as it is or, after the first, as a captured graph. Where memory that the
 * graph reads has moved, the next step is made as it is once more, and the one after that captured anew.
 */
export class RepeatedStep<Inputs extends Tensors, Results extends Tensors> implements Disposable {
  readonly #options: RepeatedStepOptions
  /** Whether a step was made as it is: then everything that is made once and kept is there. */
  #isWarm = false
  #captured: CapturedStep<Inputs, Results> | undefined

  constructor(options: RepeatedStepOptions) {
    this.#options = options
  }

  /** Enqueues all that `compute` enqueues for these inputs. */
  run(inputs: Inputs, compute: (inputs: Inputs) => Results): Results {
    const { capture, world } = this.#options
    if (!capture) return compute(inputs)
    if (this.#captured?.isStale) this.forget()
    if (!this.#isWarm) {
      this.#isWarm = true
      return compute(inputs)
    }
    // What a graph waits for is in the graph: it neither finds weights on their way nor leaves them so.
    const arena = this.#options.arena()
    arena.settle()
    if (!this.#captured) {
      this.#captured = new CapturedStep(inputs, (copies) =>
        scope(() => {
          const results = compute(copies)
          arena.settle()
          return results
        }),
      )
      world.remembers(this.#captured)
    }
    this.#captured.replay(inputs)
    arena.countChange()
    return this.#captured.results
  }

  /** From now on `compute` is another: it begins as at first. */
  forget(): void {
    this.#isWarm = false
    if (!this.#captured) return
    this.#options.world.forgets(this.#captured)
    this.#captured.dispose()
    this.#captured = undefined
  }

  [Symbol.dispose](): void {
    this.forget()
  }
}
