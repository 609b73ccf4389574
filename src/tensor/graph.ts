import { native } from '../native.ts'
import type { Device } from './device.ts'

/**
 * Operations of a GPU that were recorded once and run again as one call (a CUDA graph): with the same tensors, of which only the
 * values change. Memory that they took belongs to the graph.
 */
export class Graph implements Disposable {
  readonly #device: Device
  readonly #number: number

  private constructor(device: Device, number: number) {
    this.#device = device
    this.#number = number
  }

  /**
   * Records what `body` enqueues, without running it. It may neither write tensors from the host nor read them. What it returns
   * is there after every replay: tensors that it keeps hold the newest values. Rethrows what `body` throws.
   */
  static capture<R>(device: Device, body: () => R): { graph: Graph; result: R } {
    const addon = native()
    addon.beginCapture(device)
    let result: R
    try {
      result = body()
    } catch (error) {
      // Ends the capture. That there is no graph of half a body is no second error.
      try {
        addon.destroyGraph(device, addon.endCapture(device))
      } catch {}
      throw error
    }
    return { graph: new Graph(device, addon.endCapture(device)), result }
  }

  /** Enqueues the recorded operations. */
  replay(): void {
    native().launchGraph(this.#device, this.#number)
  }

  dispose(): void {
    native().destroyGraph(this.#device, this.#number)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
