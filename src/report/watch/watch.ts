import { randomUUID } from 'node:crypto'
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as z from 'zod'
import { aFunction } from '../../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../../configuration/parse.ts'
import { firstAtLeast } from '../curve.ts'
import type { LiveMessage, LoggedPoints } from '../live-message.ts'
import { METRICS } from '../metrics-table.ts'
import { renderPage, renderProgress } from '../report.ts'
import { type RunsChange, WatchedRuns } from './watched-runs.ts'

export interface WatchOptions {
  /** Port of the loopback address; 0 takes any that is free. Default 7372 (REPA on a telephone's keys). */
  readonly port?: number
  /** The page's heading; the default names the runs. */
  readonly title?: string
  /** Most sample grids to show of each run. Default 12. */
  readonly sampleLimit?: number
  /** Milliseconds between two looks at the runs' folders. Default 1000. */
  readonly interval?: number
  /**
   * Called with a sentence when something cannot be read, and with '' when all is well again. Where it throws, the watch is over: its port
   * is closed, and disposing of it throws the same.
   */
  readonly onProblem?: (sentence: string) => void
}

/** A server that follows runs. Disposing of it closes its port and every connection. */
export interface Watch extends AsyncDisposable {
  readonly url: string
  readonly port: number
}

const schema = whenNeeded(() =>
  z.strictObject({
    port: z.int().min(0).max(65_535).optional(),
    title: z.string().optional(),
    sampleLimit: z.int().min(0).optional(),
    // Node's timers take no more.
    interval: z
      .number()
      .positive()
      .max(2 ** 31 - 1)
      .optional(),
    onProblem: aFunction().optional(),
  } satisfies Record<keyof WatchOptions, z.ZodType>),
)

const DEFAULT_PORT = 7372
const LOOPBACK = '127.0.0.1'
/** Names by which a browser on this machine, or at the other end of a tunnel to it, may ask. */
const HOSTS = new Set(['127.0.0.1', 'localhost', '[::1]'])
/** Changes that are remembered for pages that lost their connection; older pages are sent all. */
const REMEMBERED = 1000
/** More new rows than this travel faster in the page's own, packed form. */
const MOST_ROWS = 20_000
/** Bytes that wait for a page which takes in nothing more (a machine asleep, a tunnel that hangs). Connected again, it is told what it missed. */
const MOST_UNSENT = 8 * 2 ** 20
/** Kept-alive connections say something so often, in milliseconds, so that a dead one is found. */
const HEARTBEAT = 15_000

const HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Content-Security-Policy': "frame-ancestors 'none'",
}

/**
 * Serves the report of runs on the loopback address and keeps it in step while they train: new points, sample grids and
 * evaluations come into the open page. Survives that a run is stopped, resumed or begun again.
 *
 * @throws {ConfigurationError} for options that are none; {Error} where a folder is none of a run, or the port is taken
 */
export async function watch(directories: readonly string[], options: WatchOptions = {}): Promise<Watch> {
  if (!Array.isArray(directories)) throw new TypeError('watch: expected the folders of runs in an array.')
  parseConfiguration(schema(), options, 'the options of watch')
  if (directories.length === 0) throw new RangeError('watch: expected at least one run, got none.')
  const watched = await WatchedRuns.open(directories, options.sampleLimit ?? 12)
  const live = new LiveReport(watched, options)
  await live.poll()
  const server = createServer((request, response) => live.answer(request, response))
  const port = await listen(server, options.port ?? DEFAULT_PORT)
  const end = new AbortController()
  // Whatever ends the looking, nothing is served any more that no longer follows the runs.
  const watching = live.follow(options.interval ?? 1000, end.signal).finally(() => close(server))
  // It is for whoever disposes; until then it must not count as unhandled.
  watching.catch(() => {})
  return {
    url: `http://${LOOPBACK}:${port}/`,
    port,
    async [Symbol.asyncDispose]() {
      end.abort()
      await watching
    },
  }
}

async function close(server: Server): Promise<void> {
  const closed = new Promise((done) => server.close(done))
  server.closeAllConnections()
  await closed
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((done, fail) => {
    server.once('error', fail)
    server.listen(port, LOOPBACK, () => {
      server.off('error', fail)
      done()
    })
  }).catch((error: NodeJS.ErrnoException) => {
    const other = 'choose another `port`, or 0 for any that is free'
    if (error.code === 'EADDRINUSE') throw new Error(`Port ${port} of ${LOOPBACK} is taken; ${other}.`)
    if (error.code === 'EACCES') throw new Error(`Port ${port} of ${LOOPBACK} is not for ordinary users; ${other}.`)
    throw error
  })
  return (server.address() as AddressInfo).port
}

function refuse(response: ServerResponse, status: number, sentence: string, headers: OutgoingHttpHeaders = {}): void {
  response
    .writeHead(status, { ...HEADERS, ...headers, 'Content-Type': 'text/plain; charset=utf-8' })
    .end(`${sentence}\n`)
}

/** The page, and what has changed of it since a page was sent. */
class LiveReport {
  readonly #watched: WatchedRuns
  readonly #options: WatchOptions
  /** Tells this server's revisions from those of one that was there before. */
  readonly #id = randomUUID()
  readonly #clients = new Set<ServerResponse>()
  readonly #changes: RunsChange[] = []
  #revision = 0
  #problem = ''
  #page: { readonly revision: number; readonly markup: string } | undefined

  constructor(watched: WatchedRuns, options: WatchOptions) {
    this.#watched = watched
    this.#options = options
  }

  async follow(interval: number, signal: AbortSignal): Promise<void> {
    let lastBeat = Date.now()
    while (!signal.aborted) {
      await sleep(interval, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      await this.poll()
      if (Date.now() - lastBeat < HEARTBEAT) continue
      lastBeat = Date.now()
      for (const client of this.#clients) client.write(':\n\n')
    }
  }

  async poll(): Promise<void> {
    const change = await this.#watched.poll()
    if (change.problem !== this.#problem) {
      this.#problem = change.problem
      this.#options.onProblem?.(change.problem)
      this.#broadcast([{ kind: 'problem', sentence: change.problem }])
    }
    const isNew = change.curves || change.files || change.from.some((from) => from !== undefined)
    if (!isNew) return
    this.#revision++
    this.#changes.push(change)
    if (this.#changes.length > REMEMBERED) this.#changes.shift()
    if (this.#clients.size > 0) this.#broadcast(this.#messagesOf([change]))
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    // A page from elsewhere whose name has been made to mean this machine (DNS rebinding) sends that name.
    const host = (request.headers.host ?? '').replace(/:\d+$/, '').toLowerCase()
    if (!HOSTS.has(host)) refuse(response, 403, 'repa watch answers only to localhost and 127.0.0.1.')
    else if (request.method !== 'GET') refuse(response, 405, 'repa watch only shows.', { Allow: 'GET' })
    else this.#show(request, response)
  }

  #show(request: IncomingMessage, response: ServerResponse): void {
    const [path, query] = request.url!.split('?')
    const [, run, step] = path!.match(/^\/samples\/(\d+)\/(\d+)\.png$/) ?? []
    const grid = this.#watched.runs[Number(run)]?.samples.shown.find((own) => own.step === Number(step))
    if (path === '/') {
      response.writeHead(200, { ...HEADERS, 'Content-Type': 'text/html; charset=utf-8' }).end(this.#markup())
    } else if (path === '/events') {
      const last = request.headers['last-event-id']
      this.#subscribe(response, typeof last === 'string' ? last : (new URLSearchParams(query).get('cursor') ?? ''))
    } else if (grid) {
      response.writeHead(200, { ...HEADERS, 'Content-Type': 'image/png' }).end(grid.png)
    } else {
      refuse(response, 404, 'There is nothing here.')
    }
  }

  #markup(): string {
    if (this.#page?.revision !== this.#revision) {
      const { title } = this.#options
      const markup = renderPage(this.#watched.runs, title === undefined ? {} : { title }, {
        cursor: this.#cursor(),
        // The length tells a grid from one of the same step that a run drew which was begun again.
        source: (run, { step, png }) => `/samples/${run}/${step}.png?${png.length}`,
      })
      this.#page = { revision: this.#revision, markup }
    }
    return this.#page.markup
  }

  #subscribe(response: ServerResponse, cursor: string): void {
    response.writeHead(200, { ...HEADERS, 'Content-Type': 'text/event-stream; charset=utf-8' })
    response.write('retry: 1000\n\n')
    this.#clients.add(response)
    response.on('close', () => this.#clients.delete(response))
    const [id, revision] = cursor.split('.')
    const missed = id === this.#id ? this.#revision - Number(revision) : Number.NaN
    const isKnown = missed >= 0 && missed <= this.#changes.length
    const messages: LiveMessage[] = isKnown
      ? this.#messagesOf(this.#changes.slice(this.#changes.length - missed))
      : [{ kind: 'page', whole: true }]
    this.#send(response, [...messages, { kind: 'problem', sentence: this.#problem }])
  }

  #cursor(): string {
    return `${this.#id}.${this.#revision}`
  }

  #broadcast(messages: readonly LiveMessage[]): void {
    for (const client of this.#clients) this.#send(client, messages)
  }

  #send(client: ServerResponse, messages: readonly LiveMessage[]): void {
    for (const message of messages) client.write(`id: ${this.#cursor()}\ndata: ${JSON.stringify(message)}\n\n`)
    if (client.writableLength > MOST_UNSENT) client.destroy()
  }

  /** What a page must be told that knows nothing of these changes. */
  #messagesOf(changes: readonly RunsChange[]): LiveMessage[] {
    if (changes.length === 0) return []
    const { runs } = this.#watched
    if (changes.some(({ curves }) => curves)) return [{ kind: 'page', whole: true }]
    const logged = runs.flatMap((_, run): LoggedPoints[] => {
      const from = Math.min(...changes.map((change) => change.from[run] ?? Number.POSITIVE_INFINITY))
      return from === Number.POSITIVE_INFINITY ? [] : [this.#loggedSince(run, from)]
    })
    if (logged.reduce((rows, { step }) => rows + step.length, 0) > MOST_ROWS) return [{ kind: 'page', whole: true }]
    const messages: LiveMessage[] = []
    const steps = runs.map(({ metrics }) => metrics.step).filter((step) => step.length > 0)
    if (logged.length > 0 && steps.length > 0) {
      messages.push({
        kind: 'points',
        logged,
        first: Math.min(...steps.map((step) => step[0]!)),
        last: Math.max(...steps.map((step) => step.at(-1)!)),
        parts: renderProgress(runs),
      })
    }
    if (changes.some(({ files }) => files)) messages.push({ kind: 'page', whole: false })
    return messages
  }

  #loggedSince(run: number, from: number): LoggedPoints {
    const { step, columns } = this.#watched.runs[run]!.metrics
    const rows = firstAtLeast(step, from)
    return {
      run,
      from,
      step: [...step.subarray(rows)],
      columns: Object.fromEntries(
        METRICS.map((name) => [
          name,
          Array.from(columns[name].subarray(rows), (value) =>
            Number.isFinite(value) ? Number(value.toPrecision(7)) : null,
          ),
        ]),
      ),
    }
  }
}
