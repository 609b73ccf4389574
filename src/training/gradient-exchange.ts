import type { World } from '../distributed/world.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { ArenaShare } from './arena-share.ts'

/**
 * Sums the gradients of an arena over the processes, each of which needs the sum of its share. Gradients may go as soon as they are final,
 * while the backward pass makes the others, as the buckets of PyTorch's DistributedDataParallel do (Li et al., arXiv 2006.15704). What goes
 * together follows from the model alone, and so it is the same in every process, in the same order.
 *
 * A range goes to the processes whose shares it lies in, so that shares stay what they are, and with them optimizer and checkpoints. The
 * alternative, a share of every range for each process, would cut an arena in as many pieces.
 */
export class GradientExchange {
  readonly #arena: ParameterArena
  readonly #world: World
  readonly #share: ArenaShare
  /** Whose gradients are on their way. */
  readonly #begun = new Set<Parameter>()

  constructor(arena: ParameterArena, share: ArenaShare, world: World) {
    this.#arena = arena
    this.#world = world
    this.#share = share
  }

  /** Begins the sums of parameters whose gradients are final in this step. Until `finish`, nothing may touch them. */
  begin(parameters: readonly Parameter[]): void {
    if (this.#world.size === 1) return
    const final = new Set(parameters)
    const ranges = this.#arena.rangesOf((parameter) => final.has(parameter))
    if (ranges.length === 0) return
    for (const parameter of parameters) this.#begun.add(parameter)
    this.#world.beginReduceSum(this.#arena.array('gradients'), this.#share.equal, ranges)
  }

  /** Enqueues: what follows finds the sums of this process's share. What has not been begun begins now. */
  finish(): void {
    if (this.#world.size === 1) return
    this.begin(this.#arena.parameters.filter((parameter) => parameter.trainable && !this.#begun.has(parameter)))
    this.#begun.clear()
    this.#world.awaitBegun()
  }
}
