import type { Device } from '../tensor/device.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Communicator } from './communicator.ts'
import type { Group } from './group.ts'
import { StoppedByAnother, type World } from './world.ts'

/** How long a process that leaves waits for its exchanges to be let go of, in milliseconds. */
const PATIENCE = 10_000

/** A World of several processes: a group that talks, and a communicator for tensors. When one of them fails, all of them do. */
export class JoinedWorld implements World {
  readonly #group: Group
  readonly #communicator: Communicator
  readonly #captured = new Set<Disposable>()
  #stopped: StoppedByAnother | undefined

  private constructor(group: Group, communicator: Communicator) {
    this.#group = group
    this.#communicator = communicator
    // What is under way on the device waits for processes that will not come.
    group.failure.catch((error: Error) => {
      if (error instanceof StoppedByAnother) this.#stopped = error
      communicator.abort(error.message)
    })
  }

  /** Opens the communicator with all processes of the group. */
  static async open(
    group: Group,
    place: { device: Device; id: string; rank: number; size: number },
  ): Promise<JoinedWorld> {
    const opening = Communicator.open(place.device, place.id, place.rank, place.size)
    try {
      return new JoinedWorld(group, await Promise.race([opening, group.failure]))
    } catch (error) {
      group.fail((error as Error).message)
      // One that opens after the group has failed is nobody's.
      void opening.then(
        (late) => late.close(),
        () => {},
      )
      Communicator.discard(place.device, place.id)
      throw error
    }
  }

  get rank(): number {
    return this.#communicator.rank
  }

  get size(): number {
    return this.#communicator.size
  }

  async agree<Value>(value: Value): Promise<Value> {
    return (await this.#group.agree(value)) as Value
  }

  async meet(): Promise<void> {
    await this.#group.agree(null)
  }

  comesTo(place: string): Promise<void> {
    return this.#group.comesTo(place)
  }

  begins(step: number, wantsToStop: boolean, obstacle?: Error): Promise<boolean> {
    return this.#group.begins(step, wantsToStop, obstacle)
  }

  allReduceSum(tensors: readonly Tensor[]): void {
    this.#communicator.allReduceSum(tensors)
  }

  allGather(tensor: Tensor, share: number): void {
    this.#communicator.allGather(tensor, share)
  }

  broadcast(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) this.#communicator.broadcast(tensor)
  }

  beginReduceSum(tensor: Tensor, share: number, ranges: readonly number[]): void {
    this.#communicator.beginReduceSum(tensor, share, ranges)
  }

  beginAllGather(tensor: Tensor, share: number): void {
    this.#communicator.beginAllGather(tensor, share)
  }

  awaitBegun(): void {
    this.#communicator.awaitBegun()
  }

  /** That another process was asked to stop: whatever this one fails by from then on, the device's words among it, comes of that. */
  get stopped(): StoppedByAnother | undefined {
    return this.#stopped
  }

  /** Tells the others that this process cannot go on, and why; `stopped`: it was asked to stop. */
  fail(reason: string, stopped: boolean): void {
    this.#group.fail(reason, stopped)
  }

  remembers(captured: Disposable): void {
    this.#captured.add(captured)
  }

  forgets(captured: Disposable): void {
    this.#captured.delete(captured)
  }

  /** Leaves when all processes have done what they came for. */
  async leave(): Promise<void> {
    await this.#group.leave()
    for (const captured of this.#captured) captured[Symbol.dispose]()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, PATIENCE, 'late')
    })
    const ended = await Promise.race([this.#communicator.close(), late])
    clearTimeout(timer)
    if (ended !== 'late') return
    process.emitWarning(
      `The device has not let go of what ${this.size} processes exchanged by, ${PATIENCE / 1000} s after the last of them was done. ` +
        'The program goes on; end it if it does not end by itself.',
    )
  }
}
