/** What processes say to each other besides tensors: lines of JSON on a TCP connection between the leader and each of the others. */
import type { Socket } from 'node:net'
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'

const toLeader = z.discriminatedUnion('kind', [
  /** The first message. The token keeps strangers out. */
  z.strictObject({
    kind: z.literal('hello'),
    rank: z.int().min(1),
    size: z.int(),
    token: z.string(),
    machine: z.string(),
  }),
  /** Has come to a meeting. */
  z.strictObject({ kind: z.literal('ready') }),
  /** Is at the leader's step too. It wants to stop before it, or cannot make it, and why. */
  z.strictObject({ kind: z.literal('step'), wantsToStop: z.boolean(), obstacle: z.string().optional() }),
  /** Cannot go on; `stopped`: for it was asked to stop. */
  z.strictObject({ kind: z.literal('failed'), reason: z.string(), stopped: z.boolean().optional() }),
  /** Has done all that it came for. */
  z.strictObject({ kind: z.literal('bye') }),
])

const fromLeader = z.discriminatedUnion('kind', [
  /** All are here: the communicator's id. */
  z.strictObject({ kind: z.literal('welcome'), id: z.string() }),
  /** All are ready; what the leader says. */
  z.strictObject({ kind: z.literal('agreed'), value: z.unknown() }),
  /** The step that the leader is at. */
  z.strictObject({ kind: z.literal('step'), step: z.int() }),
  /** Whether all make it. Where one of them cannot, which and why. */
  z.strictObject({ kind: z.literal('goes'), goes: z.boolean(), obstacle: z.string().optional() }),
  /** A place in the program at which what follows is for all together. */
  z.strictObject({ kind: z.literal('place'), place: z.string() }),
  /** Cannot go on; `stopped`: for it was asked to stop. */
  z.strictObject({ kind: z.literal('failed'), reason: z.string(), stopped: z.boolean().optional() }),
  z.strictObject({ kind: z.literal('bye') }),
])

export type ToLeader = z.output<typeof toLeader>
export type FromLeader = z.output<typeof fromLeader>

/** Far above any message: what is longer is no message of ours, and would fill the memory. */
const LONGEST_LINE = 2 ** 20

/** How long a line may be silent before the system asks whether there still is an other side. */
const KEEP_ALIVE_MS = 60_000

export interface Line<Sent, Received> {
  send(message: Sent): void
  /** After what was sent has gone. */
  close(): void
  onMessage: (message: Received) => void
  /** The connection has ended; with a reason where it was no orderly end. Called once. */
  onEnd: (reason: string | undefined) => void
}

/** A leader's line to one of the others. */
export const lineToMember = (socket: Socket): Line<FromLeader, ToLeader> => lineOver(socket, toLeader)

/** A process's line to the leader. */
export const lineToLeader = (socket: Socket): Line<ToLeader, FromLeader> => lineOver(socket, fromLeader)

function lineOver<Sent, Schema extends z.ZodType>(socket: Socket, schema: Schema): Line<Sent, z.output<Schema>> {
  const line: Line<Sent, z.output<Schema>> = {
    send: (message) => void (socket.writable && socket.write(`${JSON.stringify(message)}\n`)),
    close: () => void socket.end(),
    onMessage: () => {},
    onEnd: () => {},
  }
  // A step's message is some bytes that the others wait for.
  socket.setNoDelay(true)
  // A machine that loses its power says nothing: the others would wait for it for ever.
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  socket.setEncoding('utf8')
  let rest = ''
  let reason: string | undefined
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    try {
      if (rest.length > LONGEST_LINE) throw new Error('a message is longer than a message can be')
      for (const one of lines) line.onMessage(parseConfiguration(schema, JSON.parse(one), 'a message of a process'))
    } catch (error) {
      reason = (error as Error).message
      socket.destroy()
    }
  })
  socket.on('error', (error) => {
    reason ??= error.message
  })
  socket.on('close', () => line.onEnd(reason))
  return line
}
