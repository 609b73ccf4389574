import { createServer, type Server, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Failure, type Group, LONGEST_MEETING_MS, reasonOf, THE_END } from './group.ts'
import { type FromLeader, type Line, lineToMember, type ToLeader } from './messages.ts'
import { StepImpossible } from './world.ts'

/** How long the reason for a broken line may take to come. */
const REASON_MS = 1000

/** A port for the leader, on one address or, undefined, on all. */
export async function listen(host: string | undefined, port: number): Promise<Server> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, ...(host !== undefined && { host }) }, resolve)
  })
  return server
}

export interface Gathering {
  readonly size: number
  readonly token: string
  /** Makes what the processes join their communicator by: once all are here, for it may be a file that they have to find and to remove. */
  readonly id: () => string
  /** Whether all have to be on this machine. */
  readonly oneMachine: boolean
  /** Settles only where one of them is known to have ended: with a sentence that says which and why. */
  readonly lost?: Promise<string>
}

interface Member {
  readonly name: string
  readonly line: Line<FromLeader, ToLeader>
  /** Has come to the next meeting. */
  ready: boolean
  /** And to all that may follow. */
  gone: boolean
  /** What it says of the step that the leader is at. */
  atStep: Extract<ToLeader, { kind: 'step' }> | undefined
}

/** The leader's side of a group. */
export class LeadingGroup implements Group {
  readonly #members: readonly Member[]
  readonly #failure = new Failure()
  #isClosed = false
  #changed: () => void = () => {}

  private constructor(members: readonly Member[], lost: Promise<string> | undefined) {
    this.#members = members
    lost?.then((reason) => this.fail(reason))
    for (const member of members) {
      member.line.onMessage = (message) => this.#hear(member, message)
      member.line.onEnd = async (reason) => {
        if (lost) await pause(REASON_MS)
        if (!this.#isClosed) this.fail(ended(member.name, reason))
      }
    }
  }

  /**
   * Waits for all the others, and passes the id on to them. The server is closed then: whoever comes later is of another group, which
   * may want the port.
   *
   * @throws {Error} where they do not come within five minutes, or one of them is not of this group
   */
  static async gather(
    server: Server,
    { size, token, id: makeId, oneMachine, lost }: Gathering,
  ): Promise<{ group: LeadingGroup; id: string }> {
    const members = new Map<number, Member>()
    const strangers = new Set<Socket>()
    let isFull: () => void = () => {}
    let cannot: (reason: string) => void = () => {}
    const full = new Promise<void>((resolve, reject) => {
      isFull = resolve
      cannot = (reason) => reject(new Error(reason))
    })
    lost?.then(cannot)
    const greet = (socket: Socket) => {
      strangers.add(socket)
      socket.on('close', () => strangers.delete(socket))
      const line = lineToMember(socket)
      line.onMessage = (message) => {
        const isOurs = message.kind === 'hello' && message.token === token && message.rank < size
        if (!isOurs || members.has(message.rank)) {
          socket.destroy()
          return
        }
        const name = `process ${message.rank} of ${size}`
        strangers.delete(socket)
        members.set(message.rank, { name, line, ready: false, gone: false, atStep: undefined })
        line.onEnd = (reason) => cannot(ended(name, reason))
        if (message.size !== size) {
          cannot(`process ${message.rank} is one of ${message.size}, and process 0 one of ${size}.`)
        } else if (oneMachine && message.machine !== hostname()) {
          cannot(
            `${name} is on ${message.machine} and process 0 on ${hostname()}; processes that compute on CPUs have to be on one machine.`,
          )
        } else if (members.size === size - 1) {
          isFull()
        }
      }
    }
    server.on('connection', greet)
    const patience = new AbortController()
    const late = pause(LONGEST_MEETING_MS, undefined, patience).then(() => {
      const missing = Array.from({ length: size }, (_, rank) => rank).filter((rank) => rank > 0 && !members.has(rank))
      throw new Error(`of ${size} processes these have not come within five minutes: ${missing.join(', ')}.`)
    })
    late.catch(() => {})
    try {
      await Promise.race([full, late])
      const id = makeId()
      const group = new LeadingGroup([...members.values()], lost)
      group.#say({ kind: 'welcome', id })
      return { group, id }
    } catch (error) {
      new LeadingGroup([...members.values()], undefined).fail((error as Error).message)
      throw error
    } finally {
      patience.abort()
      server.off('connection', greet)
      server.close()
      for (const socket of strangers) socket.destroy()
    }
  }

  get failure(): Promise<never> {
    return this.#failure.promise
  }

  async agree(value: unknown): Promise<unknown> {
    await this.#all()
    this.#say({ kind: 'agreed', value })
    return value
  }

  async begins(step: number, wantsToStop: boolean, obstacle?: Error): Promise<boolean> {
    if (this.#failure.reason !== undefined) return this.failure
    this.#say({ kind: 'step', step })
    await this.#until(({ atStep }) => atStep !== undefined)
    let goes = !wantsToStop
    let reason = obstacle && reasonOf(obstacle)
    for (const member of this.#members) {
      const { wantsToStop: wants, obstacle: own } = member.atStep!
      member.atStep = undefined
      goes &&= !wants
      if (own !== undefined) reason ??= `${member.name}: ${own}`
    }
    this.#say({ kind: 'goes', goes, ...(reason !== undefined && { obstacle: reason }) })
    if (reason !== undefined) throw new StepImpossible(reason, { cause: obstacle })
    return goes
  }

  async comesTo(place: string): Promise<void> {
    if (this.#failure.reason !== undefined) return this.failure
    this.#say({ kind: 'place', place })
  }

  fail(reason: string, stopped = false): void {
    if (this.#isClosed) return
    this.#failure.set(reason, stopped)
    this.#say({ kind: 'failed', reason, stopped })
    this.#close()
    this.#changed()
  }

  async leave(): Promise<void> {
    await this.comesTo(THE_END)
    await this.#all()
    this.#say({ kind: 'bye' })
    this.#close()
  }

  #say(message: FromLeader): void {
    for (const { line } of this.#members) line.send(message)
  }

  #close(): void {
    this.#isClosed = true
    for (const { line } of this.#members) line.close()
  }

  /** Until every process is ready, and for that again from now on. */
  async #all(): Promise<void> {
    await this.#until(({ ready }) => ready)
    for (const member of this.#members) member.ready = member.gone
  }

  /** Until something holds of every one of the others. No race with the failure, which would keep what every step's race leaves with it. */
  async #until(holds: (member: Member) => boolean): Promise<void> {
    while (!this.#members.every(holds)) {
      if (this.#failure.reason !== undefined) return this.failure
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  #hear(member: Member, message: ToLeader): void {
    if (message.kind === 'failed') this.fail(`${member.name}: ${message.reason}`, message.stopped)
    else if (message.kind === 'hello') this.fail(`${member.name} has come twice.`)
    else {
      if (message.kind === 'step') member.atStep = message
      else member.ready = true
      member.gone ||= message.kind === 'bye'
      this.#changed()
    }
  }
}

const ended = (name: string, reason: string | undefined) =>
  `${name} has ended${reason === undefined ? '' : `: ${reason}`}.`
