import { StoppedByAnother } from './world.ts'

/** What a World asks of the other processes: who is there, what the leader says, and that all end when one fails. */
export interface Group {
  /** Gives the leader's value to all, once all ask for it. */
  agree(value: unknown): Promise<unknown>
  begins(step: number, wantsToStop: boolean, obstacle?: Error): Promise<boolean>
  /** That process 0 comes to this place too; it waits for nobody. */
  comesTo(place: string): Promise<void>
  /** Settles only where the group has failed: rejects with the reason, as StoppedByAnother where one was asked to stop. */
  readonly failure: Promise<never>
  /** Tells the others that this process cannot go on, and why; `stopped`: it was asked to stop. */
  fail(reason: string, stopped?: boolean): void
  /** Leaves when all have done what they came for. */
  leave(): Promise<void>
}

/** The place at which a leader leaves. */
export const THE_END = 'its end'

/** How long processes wait for each other in the beginning: a cluster starts them one by one. */
export const LONGEST_MEETING_MS = 5 * 60_000

/** Some errors have no message, and a reason is a sentence. */
export const reasonOf = (error: unknown) => (error instanceof Error ? error.message || error.name : String(error))

/** A reason to end, once and for all. That it has been told to nobody is no unhandled rejection. */
export class Failure {
  readonly promise: Promise<never>
  #reason: string | undefined
  #reject!: (error: Error) => void

  constructor() {
    this.promise = new Promise((_, reject) => {
      this.#reject = reject
    })
    this.promise.catch(() => {})
  }

  get reason(): string | undefined {
    return this.#reason
  }

  set(reason: string, stopped = false): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#reject(stopped ? new StoppedByAnother(reason) : new Error(reason))
  }
}
