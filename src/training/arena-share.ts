/**
 * Which part of an arena one of several processes updates (ZeRO's first stage, Rajbhandari et al., arXiv 1910.02054): every process has
 * all weights and makes all gradients, of its own samples; the gradients' sum, the moments and the update are of its share alone, and
 * the updated weights go round. Of a process on its own this is the whole arena.
 */
import type { World } from '../distributed/world.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Shares begin where kernels read 64 bytes at once. */
const ALIGNMENT = 16

export class ArenaShare {
  /** What the exchange of an array calls `share`: as much as every process has but the last, which has the rest too. */
  readonly equal: number
  /** This process's is [begin, end). */
  readonly begin: number
  readonly end: number

  constructor({ size }: Pick<ParameterArena, 'size'>, world: Pick<World, 'rank' | 'size'>) {
    this.equal = world.size === 1 ? size : Math.floor(size / world.size / ALIGNMENT) * ALIGNMENT
    this.begin = world.rank * this.equal
    this.end = world.rank + 1 < world.size ? this.begin + this.equal : size
  }

  get length(): number {
    return this.end - this.begin
  }

  /** This process's part of one of the arena's arrays, a view; the caller disposes it. */
  of(array: Tensor): Tensor {
    return array.view(this.begin, [this.length])
  }

  /** Of ranges of the arena, begin and end in pairs, what lies in the share, counted from its begin. */
  ranges(pairs: readonly number[]): number[] {
    const own: number[] = []
    for (let i = 0; i < pairs.length; i += 2) {
      const [begin, end] = [Math.max(pairs[i]!, this.begin), Math.min(pairs[i + 1]!, this.end)]
      if (begin < end) own.push(begin - this.begin, end - this.begin)
    }
    return own
  }
}
