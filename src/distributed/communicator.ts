import { rmSync } from 'node:fs'
import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** One process's end of a group that exchanges tensors: native/ops/communicator.h, through shared memory or by NCCL. */
export class Communicator {
  readonly rank: number
  readonly size: number
  readonly #number: number

  private constructor(rank: number, size: number, number: number) {
    this.rank = rank
    this.size = size
    this.#number = number
  }

  /** What `size` processes with devices of this kind will know each other by; made by one of them. */
  static id(device: Device, size: number): string {
    return native().communicatorId(device, size)
  }

  /** Removes what an id has made where its processes do not come together: on a CPU it is a file, which goes once all have opened it. */
  static discard(device: Device, id: string): void {
    if (device === 'cpu') rmSync(id, { force: true })
  }

  /** Joins the processes that have the same id; resolves when all have come. */
  static async open(device: Device, id: string, rank: number, size: number): Promise<Communicator> {
    return new Communicator(rank, size, await native().openCommunicator(device, id, rank, size))
  }

  /** Enqueues: each tensor (f32) becomes its sum over the processes, with the same bits in all of them. */
  allReduceSum(tensors: readonly Tensor[]): void {
    native().allReduceSum(
      this.#number,
      tensors.map(({ handle }) => handle),
    )
  }

  /**
   * Enqueues: of a tensor [n] (f32 or f64), every share becomes that of the process that owns it: `share` elements from `rank * share` on,
   * and of the last process all that are left too.
   */
  allGather(tensor: Tensor, share: number): void {
    native().allGather(this.#number, tensor.handle, share)
  }

  /** Enqueues: the tensor (f32) becomes that of process `root`. */
  broadcast(tensor: Tensor, root = 0): void {
    native().broadcast(this.#number, tensor.handle, root)
  }

  /**
   * Begins: of ranges of a tensor [n] (f32), this process's share becomes its sum over the processes. What is enqueued before `awaitBegun`
   * may run before it.
   */
  beginReduceSum(tensor: Tensor, share: number, ranges: readonly number[]): void {
    native().beginReduceSum(this.#number, tensor.handle, share, ranges)
  }

  /** Begins likewise what `allGather` does, of a tensor [n] (f32). */
  beginAllGather(tensor: Tensor, share: number): void {
    native().beginAllGather(this.#number, tensor.handle, share)
  }

  /** Enqueues: what follows runs after all that has begun. */
  awaitBegun(): void {
    native().awaitBegun(this.#number)
  }

  /** Ends what waits for other processes; from now on the device reports this sentence. */
  abort(reason: string): void {
    native().abortCommunicator(this.#number, reason)
  }

  /**
   * Lets go of it; it settles when what is under way has ended. On GPUs that is not before the last captured step that holds one of its calls has
   * been disposed of: NCCL waits for that.
   */
  async close(): Promise<void> {
    await native().closeCommunicator(this.#number)
  }
}
