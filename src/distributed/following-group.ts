import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Failure, type Group, LONGEST_MEETING_MS, reasonOf, THE_END } from './group.ts'
import { type FromLeader, type Line, lineToLeader, type ToLeader } from './messages.ts'
import type { Place } from './place.ts'
import { StepImpossible } from './world.ts'

const RETRY_MS = 100
/** For what a leader says at the end of its patience to come. */
const GRACE_MS = 5000

/** Where a leader is that says this. */
function whereabouts(message: FromLeader): string {
  if (message.kind === 'step') return `is at step ${message.step}`
  if (message.kind === 'place') return `has come to ${message.place}`
  return `says "${message.kind}"`
}

/** The side of every process of a group but the leader. */
export class FollowingGroup implements Group {
  readonly #line: Line<ToLeader, FromLeader>
  readonly #failure = new Failure()
  readonly #heard: FromLeader[] = []
  #changed: () => void = () => {}
  #isWelcome = false
  #hasLeft = false

  private constructor(line: Line<ToLeader, FromLeader>, address: string) {
    this.#line = line
    line.onMessage = (message) => {
      if (message.kind === 'failed') this.#failure.set(message.reason, message.stopped)
      else if (message.kind === 'bye') this.#hasLeft = true
      else this.#heard.push(message)
      this.#changed()
    }
    line.onEnd = (reason) => {
      const why = reason === undefined ? '' : `: ${reason}`
      if (!this.#hasLeft) {
        this.#failure.set(
          this.#isWelcome
            ? `process 0 has ended${why}.`
            : `process 0 has ended before all had come, or what listens at ${address} is of another run${why}.`,
        )
      }
      this.#changed()
    }
  }

  /**
   * Finds the leader, which may begin to listen later, and waits for the others; gives the id that the leader passes on.
   *
   * @throws {Error} where the leader does not answer within five minutes, or has no place for this process
   */
  static async join({
    rank,
    size,
    host,
    port,
    token,
    launcher,
  }: Place): Promise<{ group: FollowingGroup; id: string }> {
    const address = `${host}:${port}`
    // One that has started this process listened before.
    const socket = await reach(host, port, launcher === 'repa' ? 0 : LONGEST_MEETING_MS)
    const group = new FollowingGroup(lineToLeader(socket), address)
    group.#line.send({ kind: 'hello', rank, size, token, machine: hostname() })
    // A leader waits no longer than that for the others: what says nothing is none.
    const patience = setTimeout(
      () => group.fail(`what listens at ${address} is not process 0 of this run: it says nothing.`),
      LONGEST_MEETING_MS + GRACE_MS,
    )
    try {
      const { id } = await group.#next('welcome', 'it has come')
      group.#isWelcome = true
      return { group, id }
    } finally {
      clearTimeout(patience)
    }
  }

  get failure(): Promise<never> {
    return this.#failure.promise
  }

  async agree(): Promise<unknown> {
    this.#line.send({ kind: 'ready' })
    return (await this.#next('agreed', 'it has come to a meeting')).value
  }

  async begins(step: number, wantsToStop: boolean, obstacle?: Error): Promise<boolean> {
    const own = `it is at step ${step}`
    const said = await this.#next('step', own)
    if (said.step !== step) this.#isOutOfStep(own, said)
    this.#line.send({ kind: 'step', wantsToStop, ...(obstacle && { obstacle: reasonOf(obstacle) }) })
    const { goes, obstacle: reason } = await this.#next('goes', own)
    if (reason !== undefined) throw new StepImpossible(reason, { cause: obstacle })
    return goes
  }

  async comesTo(place: string): Promise<void> {
    const own = `it has come to ${place}`
    const said = await this.#next('place', own)
    if (said.place !== place) this.#isOutOfStep(own, said)
  }

  fail(reason: string, stopped = false): void {
    if (this.#failure.reason !== undefined || this.#hasLeft) return
    this.#line.send({ kind: 'failed', reason, stopped })
    this.#failure.set(reason, stopped)
    this.#line.close()
    this.#changed()
  }

  async leave(): Promise<void> {
    this.#line.send({ kind: 'bye' })
    await this.comesTo(THE_END)
    while (!this.#hasLeft && this.#failure.reason === undefined) await this.#change()
    this.#line.close()
    if (!this.#hasLeft) return this.failure
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }

  /** The leader's next message, which has to be of this kind; `own`: where this process is, in words. */
  async #next<Kind extends FromLeader['kind']>(kind: Kind, own: string): Promise<Extract<FromLeader, { kind: Kind }>> {
    while (this.#heard.length === 0 && this.#failure.reason === undefined && !this.#hasLeft) await this.#change()
    if (this.#failure.reason !== undefined) return this.failure
    const message = this.#heard.shift()
    if (!message) throw new Error(`${own}, and process 0 has left.`)
    if (message.kind !== kind) this.#isOutOfStep(own, message)
    return message as Extract<FromLeader, { kind: Kind }>
  }

  #isOutOfStep(own: string, message: FromLeader): never {
    const reason = `${own}, and process 0 ${whereabouts(message)}.`
    this.fail(reason)
    throw new Error(reason)
  }
}

async function reach(host: string, port: number, patience: number): Promise<Socket> {
  const deadline = Date.now() + patience
  for (;;) {
    const socket = connect({ host, port })
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      })
      socket.removeAllListeners('error')
      return socket
    } catch (error) {
      socket.destroy()
      if (Date.now() >= deadline) {
        // Of a name with several addresses the error has no message of its own.
        const { message, code } = error as NodeJS.ErrnoException
        throw new Error(`Process 0 does not answer at ${host}:${port}: ${message || code}.`)
      }
    }
    await pause(RETRY_MS)
  }
}
