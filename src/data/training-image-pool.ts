import { Worker } from 'node:worker_threads'
import { ImageDecodeError } from './image-decoding.ts'
import { renderTrainingImage, type TrainingImageOptions } from './training-image.ts'
import type { Rendered, RenderReply, RenderRequest } from './training-image-worker.ts'

/** Node cannot load a worker from TypeScript; run from sources, the images are rendered in this thread. */
const WORKER = import.meta.url.endsWith('.ts') ? undefined : new URL('./training-image-worker.js', import.meta.url)

interface Waiting {
  resolve(rendered: Rendered): void
  reject(error: unknown): void
}

/** One thread, and what it was given, by the requests' numbers. */
interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
  /** Why it has ended; undefined while it lives. What is sent to it afterwards would never be answered. */
  end?: Error
}

/** Renders training images on worker threads. The bytes do not depend on how many there are. */
export class TrainingImagePool {
  readonly #options: TrainingImageOptions
  readonly #threads: readonly Thread[]
  #requests = 0

  /** @param threads 0 renders in the calling thread */
  constructor(threads: number, options: TrainingImageOptions, worker: URL | undefined = WORKER) {
    this.#options = options
    this.#threads = worker ? Array.from({ length: threads }, () => startThread(worker)) : []
  }

  /** As `renderTrainingImage`. `bytes` are the pool's from then on. */
  async render(bytes: Uint8Array, name: string): Promise<Uint8Array | undefined> {
    const [first, ...others] = this.#threads
    if (!first) return renderTrainingImage(bytes, name, this.#options)
    const idlest = others.reduce(
      (idlest, thread) => (thread.waiting.size < idlest.waiting.size ? thread : idlest),
      first,
    )
    if (idlest.end) throw idlest.end
    const id = this.#requests++
    const rendered = await new Promise<Rendered>((resolve, reject) => {
      idlest.waiting.set(id, { resolve, reject })
      // Only a buffer of its own can be handed over; a view would take along what it is a view of.
      const isWhole = bytes.buffer instanceof ArrayBuffer && bytes.buffer.byteLength === bytes.length
      const own = isWhole ? bytes : bytes.slice()
      const request: RenderRequest = { id, bytes: own, name, options: this.#options }
      idlest.worker.postMessage(request, [own.buffer as ArrayBuffer])
    })
    if ('png' in rendered) return rendered.png
    if ('unreadable' in rendered) throw new ImageDecodeError(name, rendered.unreadable)
    throw rendered.failure
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
  }
}

function startThread(url: URL): Thread {
  const thread: Thread = { worker: new Worker(url), waiting: new Map() }
  const { worker, waiting } = thread
  worker.on('message', ({ id, rendered }: RenderReply) => {
    waiting.get(id)?.resolve(rendered)
    waiting.delete(id)
  })
  const end = (error: Error): void => {
    thread.end ??= error
    for (const { reject } of waiting.values()) reject(thread.end)
    waiting.clear()
  }
  worker.on('error', (error) =>
    end(new Error(`A thread that prepares images has failed: ${error.message}`, { cause: error })),
  )
  worker.on('exit', () => end(new Error('A thread that prepares images ended early.')))
  return thread
}
