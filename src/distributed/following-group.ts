import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Failure, type Group, LONGEST_MEETING_MS } from './group.ts'
import { type FromLeader, type Line, lineToLeader, type ToLeader } from './messages.ts'
import type { Place } from './place.ts'

const RETRY_MS = 100
/** For what a leader says at the end of its patience to come. */
const GRACE_MS = 5000

/** The side of every process of a group but the leader. */
export class FollowingGroup implements Group {
  readonly #line: Line<ToLeader, FromLeader>
  readonly #failure = new Failure()
  readonly #heard: FromLeader[] = []
  #changed: () => void = () => {}
  #isWelcome = false
  #hasAsked = false
  #stops = 0
  #hasLeft = false

  private constructor(line: Line<ToLeader, FromLeader>, address: string) {
    this.#line = line
    line.onMessage = (message) => {
      if (message.kind === 'failed') this.#failure.set(message.reason)
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
      const { id } = await group.#next('welcome')
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
    return (await this.#next('agreed')).value
  }

  async begins(step: number, wantsToStop: boolean): Promise<boolean> {
    if (wantsToStop && !this.#hasAsked) {
      this.#hasAsked = true
      this.#line.send({ kind: 'stop', stops: this.#stops })
    }
    const said = await this.#next('step')
    if (said.step !== step) this.#isOutOfStep(`it is at step ${step}, and process 0 at step ${said.step}.`)
    if (!said.goes) {
      this.#hasAsked = false
      this.#stops++
    }
    return said.goes
  }

  fail(reason: string): void {
    if (this.#failure.reason !== undefined || this.#hasLeft) return
    this.#line.send({ kind: 'failed', reason })
    this.#failure.set(reason)
    this.#line.close()
    this.#changed()
  }

  async leave(): Promise<void> {
    this.#line.send({ kind: 'bye' })
    while (!this.#hasLeft && this.#failure.reason === undefined && this.#heard.length === 0) await this.#change()
    const [more] = this.#heard
    if (more) this.#isOutOfStep(`it has done all that it came for, and process 0 says "${more.kind}".`)
    this.#line.close()
    if (!this.#hasLeft) return this.failure
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }

  /** The leader's next message, which has to be of this kind. */
  async #next<Kind extends FromLeader['kind']>(kind: Kind): Promise<Extract<FromLeader, { kind: Kind }>> {
    while (this.#heard.length === 0 && this.#failure.reason === undefined && !this.#hasLeft) await this.#change()
    if (this.#failure.reason !== undefined) return this.failure
    const message = this.#heard.shift()
    if (!message) throw new Error(`it waits for "${kind}", and process 0 has done all that it came for.`)
    if (message.kind !== kind) this.#isOutOfStep(`it waits for "${kind}", and process 0 says "${message.kind}".`)
    return message as Extract<FromLeader, { kind: Kind }>
  }

  #isOutOfStep(reason: string): never {
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
