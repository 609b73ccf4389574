import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Failure, type Group, LONGEST_MEETING_MS } from './group.ts'
import { type FromLeader, type Line, lineToLeader, type ToLeader } from './messages.ts'
import type { Place } from './place.ts'

const RETRY_MS = 100

/** The side of every process of a group but the leader. */
export class FollowingGroup implements Group {
  readonly #line: Line<ToLeader, FromLeader>
  readonly #failure = new Failure()
  readonly #heard: FromLeader[] = []
  #changed: () => void = () => {}
  #hasAsked = false
  #hasLeft = false

  private constructor(line: Line<ToLeader, FromLeader>) {
    this.#line = line
    line.onMessage = (message) => {
      if (message.kind === 'failed') this.#failure.set(message.reason)
      else if (message.kind === 'bye') this.#hasLeft = true
      else this.#heard.push(message)
      this.#changed()
    }
    line.onEnd = (reason) => {
      if (!this.#hasLeft) this.#failure.set(`process 0 has ended${reason === undefined ? '' : `: ${reason}`}.`)
      this.#changed()
    }
  }

  /**
   * Finds the leader, which may begin to listen later, and waits for the others; gives the id that the leader passes on.
   *
   * @throws {Error} where the leader does not answer within five minutes, or has no place for this process
   */
  static async join({ rank, size, host, port, token }: Place): Promise<{ group: FollowingGroup; id: string }> {
    const group = new FollowingGroup(lineToLeader(await reach(host, port)))
    group.#line.send({ kind: 'hello', rank, size, token, machine: hostname() })
    const { id } = await group.#next('welcome')
    return { group, id }
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
      this.#line.send({ kind: 'stop' })
    }
    const said = await this.#next('step')
    if (said.step !== step) this.#isOutOfStep(`it is at step ${step}, and process 0 at step ${said.step}.`)
    if (!said.goes) this.#hasAsked = false
    return said.goes
  }

  fail(reason: string): void {
    if (this.#failure.reason !== undefined || this.#hasLeft) return
    this.#line.send({ kind: 'failed', reason })
    this.#failure.set(reason)
    this.#line.close()
  }

  async leave(): Promise<void> {
    this.#line.send({ kind: 'bye' })
    while (!this.#hasLeft && this.#failure.reason === undefined) await this.#change()
    this.#line.close()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }

  /** The leader's next message, which has to be of this kind. */
  async #next<Kind extends FromLeader['kind']>(kind: Kind): Promise<Extract<FromLeader, { kind: Kind }>> {
    while (this.#heard.length === 0 && this.#failure.reason === undefined) await this.#change()
    if (this.#failure.reason !== undefined) return this.failure
    const message = this.#heard.shift()!
    if (message.kind !== kind) this.#isOutOfStep(`it waits for "${kind}", and process 0 says "${message.kind}".`)
    return message as Extract<FromLeader, { kind: Kind }>
  }

  #isOutOfStep(reason: string): never {
    this.fail(reason)
    throw new Error(reason)
  }
}

async function reach(host: string, port: number): Promise<Socket> {
  const deadline = Date.now() + LONGEST_MEETING_MS
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
      if (Date.now() > deadline) {
        throw new Error(`Process 0 does not answer at ${host}:${port}: ${(error as Error).message}.`)
      }
    }
    await pause(RETRY_MS)
  }
}
