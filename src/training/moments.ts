import type { World } from '../distributed/world.ts'
import { native } from '../native.ts'
import type { ArenaRole, ParameterArena } from '../nn/parameter-arena.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { ArenaShare } from './arena-share.ts'

/** The arrays that AdamW keeps: running means of the gradient and of its square. */
export type MomentRole = 'firstMoments' | 'secondMoments'

export const MOMENTS: readonly MomentRole[] = ['firstMoments', 'secondMoments']

/** AdamW's moments: arrays of the arena, or, of one of several processes, tensors of its share of them. Zeros at first. */
export class Moments implements Disposable {
  readonly #arena: ParameterArena
  readonly #world: World
  readonly #share: ArenaShare
  readonly #own: Readonly<Record<MomentRole, Tensor>>

  constructor(arena: ParameterArena, share: ArenaShare, world: World) {
    this.#arena = arena
    this.#world = world
    this.#share = share
    const make = (role: MomentRole) => {
      if (world.size > 1) return Tensor.zeros([share.length], arena.device)
      const own = share.of(arena.array(role))
      // An optimizer before this one may have left its own there.
      native().fill(own.handle, 0)
      return own
    }
    // Kept together: where memory does for the first alone, the scope frees it.
    const own = scope(() => ({ firstMoments: make('firstMoments'), secondMoments: make('secondMoments') }))
    this.#own = { firstMoments: keep(own.firstMoments), secondMoments: keep(own.secondMoments) }
  }

  /** This process's. */
  of(role: MomentRole): Tensor {
    return this.#own[role]
  }

  /**
   * For all processes together: returns the array of the arena in which the moment can be read, of all shares, once what this enqueues has
   * run. Where there are shares that is the gradients', which nobody needs between two steps.
   */
  gather(role: MomentRole): ArenaRole {
    if (this.#world.size === 1) return role
    const array = this.#arena.array('gradients')
    using own = this.#share.of(array)
    native().copy(own.handle, this.#own[role].handle)
    this.#world.allGather(array, this.#share.equal)
    return 'gradients'
  }

  /** For all processes together: the moment becomes what `fill` writes, in the leader, to the array of the arena that it is told. */
  async load(role: MomentRole, fill: (array: ArenaRole) => Promise<void>): Promise<void> {
    if (this.#world.size === 1) return fill(role)
    if (this.#world.rank === 0) await fill('gradients')
    const array = this.#arena.array('gradients')
    this.#world.broadcast([array])
    using own = this.#share.of(array)
    native().copy(this.#own[role].handle, own.handle)
  }

  dispose(): void {
    for (const moment of Object.values(this.#own)) moment.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
