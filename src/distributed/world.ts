import type { Tensor } from '../tensor/tensor.ts'

/** Why one of the processes cannot make a step, as all of them hear it: they are before the same step then, and may still act together. */
export class StepImpossible extends Error {
  override readonly name = 'StepImpossible'
}

/**
 * That another process was asked to stop, and this one has stopped with it: an interruption as of its own signal, and no failure. Called as
 * the web's platforms call what a signal has aborted.
 */
export class StoppedByAnother extends Error {
  override readonly name = 'AbortError'
}

/**
 * The processes that do one job together, each with a device of its own, as one of them sees it. They run the same program on the same
 * settings: calls of these methods meet those of the others, in the same order. Process 0 leads: it alone writes files and speaks.
 */
export interface World {
  /** This process's number, from 0. */
  readonly rank: number
  /** How many processes there are. */
  readonly size: number
  /** Waits until all have come here, and gives the leader's value to all of them: what JSON holds. */
  agree<Value>(value: Value): Promise<Value>
  /** Waits until all have come here. */
  meet(): Promise<void>
  /**
   * That the leader has come to this place of the program too, where what follows is for all together; it waits for nobody. Anywhere else
   * all fail.
   */
  comesTo(place: string): Promise<void>
  /**
   * Whether step `step` is to be made: not where any process wants to stop. It is the same step for all of them, whatever each has under
   * way.
   *
   * @param obstacle why this process cannot make it, where it cannot
   * @throws {StepImpossible} in all of them, where one cannot; in a process on its own the obstacle itself
   */
  begins(step: number, wantsToStop: boolean, obstacle?: Error): Promise<boolean>
  /** Enqueues: each tensor (f32) becomes its sum over the processes. */
  allReduceSum(tensors: readonly Tensor[]): void
  /**
   * Enqueues: of a tensor [n] (f32 or f64), every share becomes that of the process that owns it: `share` elements from `rank * share` on,
   * and of the last process all that are left too.
   */
  allGather(tensor: Tensor, share: number): void
  /** Enqueues: each tensor (f32) becomes the leader's. */
  broadcast(tensors: readonly Tensor[]): void
  /**
   * Begins: of ranges of a tensor [n] (f32), begin and end in pairs and ascending, what is this process's share becomes its sum over the
   * processes. What else they hold means nothing any more. It comes behind all that the device was given before, and goes on beside what it
   * is given afterwards, on a GPU, until `awaitBegun`: nothing may touch the ranges before that, nor let go of the tensor.
   */
  beginReduceSum(tensor: Tensor, share: number, ranges: readonly number[]): void
  /** Begins likewise what `allGather` does, of a tensor [n] (f32). */
  beginAllGather(tensor: Tensor, share: number): void
  /** Enqueues: what follows runs after all that has begun. */
  awaitBegun(): void
  /** That a captured step holds exchanges, for which the processes cannot part: it is disposed of when they do, unless `forgets` comes first. */
  remembers(captured: Disposable): void
  /** That it is disposed of. */
  forgets(captured: Disposable): void
}

/** A process on its own. */
export const ALONE: World = {
  rank: 0,
  size: 1,
  agree: async (value) => value,
  meet: async () => {},
  comesTo: async () => {},
  begins: async (_, wantsToStop, obstacle) => {
    if (obstacle) throw obstacle
    return !wantsToStop
  },
  allReduceSum: () => {},
  allGather: () => {},
  broadcast: () => {},
  beginReduceSum: () => {},
  beginAllGather: () => {},
  awaitBegun: () => {},
  remembers: () => {},
  forgets: () => {},
}
