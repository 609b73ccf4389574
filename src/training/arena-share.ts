/** Parts of an arena that are updated by themselves. */
import type { World } from '../distributed/world.ts'
import type { ParameterArena } from '../nn/parameter-arena.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Shares begin where kernels read 64 bytes at once. */
const ALIGNMENT = 16

/** Elements [begin, end). */
export class ArenaPart {
  readonly begin: number
  readonly end: number

  constructor(begin: number, end: number) {
    this.begin = begin
    this.end = end
  }

  get length(): number {
    return this.end - this.begin
  }

  /** The part of an array that begins at element `first` of the arena, a view; the caller disposes it. */
  of(array: Tensor, first = 0): Tensor {
    return array.view(this.begin - first, [this.length])
  }

  /** Of ranges of the arena, begin and end in pairs, what lies in the part, counted from its begin. */
  ranges(pairs: readonly number[]): number[] {
    const own: number[] = []
    for (let i = 0; i < pairs.length; i += 2) {
      const [begin, end] = [Math.max(pairs[i]!, this.begin), Math.min(pairs[i + 1]!, this.end)]
      if (begin < end) own.push(begin - this.begin, end - this.begin)
    }
    return own
  }

  /** The part, cut where ascending ranges of the arena begin and end. */
  cutAt(pairs: readonly number[]): { readonly part: ArenaPart; readonly isInside: boolean }[] {
    const bounds = [0, ...this.ranges(pairs), this.length].map((element) => this.begin + element)
    return bounds.slice(1).flatMap((end, i) => {
      const begin = bounds[i]!
      return begin < end ? [{ part: new ArenaPart(begin, end), isInside: i % 2 === 1 }] : []
    })
  }
}

/**
 * Which part of an arena one of several processes updates (ZeRO's first stage, Rajbhandari et al., arXiv 1910.02054): every process has
 * all weights and makes all gradients, of its own samples; the gradients' sum, the moments and the update are of its share alone, and
 * the updated weights go round. Of a process on its own this is the whole arena.
 */
export class ArenaShare extends ArenaPart {
  /** What the exchange of an array calls `share`: as much as every process has but the last, which has the rest too. */
  readonly equal: number

  constructor({ size }: Pick<ParameterArena, 'size'>, world: Pick<World, 'rank' | 'size'>) {
    const equal = world.size === 1 ? size : Math.floor(size / world.size / ALIGNMENT) * ALIGNMENT
    const begin = world.rank * equal
    super(begin, world.rank + 1 < world.size ? begin + equal : size)
    this.equal = equal
  }
}

/** Ascending ranges, begin and end in pairs, of what lies in either of two such lists. */
export function unionOf(a: readonly number[], b: readonly number[]): number[] {
  const pairs = [a, b].flatMap((list) =>
    Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i]!, list[2 * i + 1]!] as const),
  )
  const union: number[] = []
  for (const [begin, end] of pairs.sort((one, other) => one[0] - other[0])) {
    const last = union.length - 1
    if (last >= 0 && begin <= union[last]!) union[last] = Math.max(union[last]!, end)
    else union.push(begin, end)
  }
  return union
}
