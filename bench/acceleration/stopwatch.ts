import * as z from 'zod'
import { readJson, writeJson } from './json-file.ts'

const secondsSchema = z.record(z.string(), z.number().nonnegative())

/** How long each part of the experiment took, over all the calls that it took: kept in a file. */
export class Stopwatch {
  readonly #path: string
  readonly #seconds: Map<string, number>

  private constructor(path: string, seconds: Readonly<Record<string, number>>) {
    this.#path = path
    this.#seconds = new Map(Object.entries(seconds))
  }

  static async open(path: string): Promise<Stopwatch> {
    return new Stopwatch(path, (await readJson(path, secondsSchema)) ?? {})
  }

  /** Runs a part; what it takes counts even where it fails or is interrupted. */
  async time<T>(part: string, run: () => Promise<T>): Promise<T> {
    const began = performance.now()
    try {
      return await run()
    } finally {
      this.#seconds.set(part, this.of(part) + (performance.now() - began) / 1000)
      await writeJson(this.#path, this.all)
    }
  }

  of(part: string): number {
    return this.#seconds.get(part) ?? 0
  }

  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#seconds].map(([part, seconds]) => [part, Math.round(seconds * 10) / 10]))
  }
}
