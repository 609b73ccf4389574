import { type Device, profile, synchronize } from '../tensor/device.ts'
import { Graph } from '../tensor/graph.ts'

/** A measurement repeats its work for so long: far above the resolution of an event, half a microsecond. */
const MEASUREMENT_SECONDS = 0.01
const MOST_REPEATS = 1000

/**
 * Work on a GPU, timed by CUDA events around a graph of many repetitions: the launches' cost to the host, which hides the time of
 * short kernels, is not in it. The work is what one call of `run` enqueues; it may neither write nor read from the host.
 */
export class TimedKernel implements Disposable {
  readonly #device: Device
  readonly #graph: Graph
  readonly #repeats: number

  private constructor(device: Device, graph: Graph, repeats: number) {
    this.#device = device
    this.#graph = graph
    this.#repeats = repeats
  }

  /** Runs it once to warm up, once to see how long it takes, and records as many repetitions as a measurement takes. */
  static async prepare(device: Device, run: () => void): Promise<TimedKernel> {
    run()
    await synchronize(device)
    const costs = await profile(device, async () => run())
    const once = [...costs.values()].reduce((sum, { seconds }) => sum + seconds, 0)
    const repeats = Math.min(MOST_REPEATS, Math.max(1, Math.round(MEASUREMENT_SECONDS / once)))
    const { graph } = Graph.capture(device, () => {
      for (let i = 0; i < repeats; i++) run()
    })
    return new TimedKernel(device, graph, repeats)
  }

  /** Of one repetition. */
  async seconds(): Promise<number> {
    const costs = await profile(this.#device, async () => this.#graph.replay())
    return costs.get('graph')!.seconds / this.#repeats
  }

  [Symbol.dispose](): void {
    this.#graph.dispose()
  }
}
