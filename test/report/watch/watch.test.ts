import { once } from 'node:events'
import { appendFile, mkdir, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { get, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { ConfigurationError } from '../../../src/configuration/parse.ts'
import type { LiveMessage } from '../../../src/report/live-message.ts'
import { type Watch, watch } from '../../../src/report/watch/watch.ts'
import { metricsLine, PNG, type RunFiles, RunFolders } from '../run-folder.ts'

const line = (step: number) => `${JSON.stringify(metricsLine(step))}\n`

async function watched(folders: RunFolders, files: RunFiles = {}): Promise<{ run: string; watching: Watch }> {
  const run = await folders.add('r', { 'config.json': {}, 'metrics.jsonl': line(1) + line(2), ...files })
  return { run, watching: await watch([run], { port: 0, interval: 10 }) }
}

/** An answer's status, headers and text. */
async function ask(watching: Watch, path: string, options: { method?: string; host?: string } = {}) {
  const asked = request(`http://127.0.0.1:${watching.port}${path}`, {
    method: options.method ?? 'GET',
    ...(options.host !== undefined && { headers: { host: options.host } }),
  }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks) }
}

/** Messages of the event stream, from what the page shows or from a cursor of before. */
async function* messages(watching: Watch, lastEventId?: string): AsyncGenerator<LiveMessage & { id: string }> {
  const page = (await ask(watching, '/')).body.toString()
  const cursor = page.match(/data-cursor="([^"]*)"/)![1]!
  const asked = get(`http://127.0.0.1:${watching.port}/events?cursor=${cursor}`, {
    ...(lastEventId !== undefined && { headers: { 'last-event-id': lastEventId } }),
  })
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  let rest = ''
  try {
    for await (const chunk of answer) {
      const events = (rest + String(chunk)).split('\n\n')
      rest = events.pop()!
      for (const event of events) {
        const [, id, data] = event.match(/^id: (.*)\ndata: (.*)$/) ?? []
        if (data !== undefined) yield { id: id!, ...(JSON.parse(data) as LiveMessage) }
      }
    }
  } finally {
    asked.destroy()
  }
}

/** The next message of a kind. */
async function next<K extends LiveMessage['kind']>(stream: AsyncGenerator<LiveMessage & { id: string }>, kind: K) {
  for (;;) {
    const { value, done } = await stream.next()
    if (done) throw new Error('The stream has ended.')
    if (value.kind === kind) return value as Extract<LiveMessage, { kind: K }> & { id: string }
  }
}

test('the page may load from its own server and from nowhere else', async () => {
  await using folders = await RunFolders.create()
  const { watching } = await watched(folders, { 'samples/0000002.png': PNG })
  await using _ = watching
  const { status, headers, body } = await ask(watching, '/')
  const page = body.toString()
  expect(status).toBe(200)
  expect(headers['content-security-policy']).toBe("frame-ancestors 'none'")
  expect(headers['access-control-allow-origin']).toBeUndefined()
  const policy = page.match(/Content-Security-Policy" content="([^"]*)"/)![1]!.replaceAll('&#39;', "'")
  expect(policy).toMatch(/^default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src/)
  const image = page.match(/<img [^>]*src="(\/[^"]*)"/)![1]!
  const grid = await ask(watching, image)
  expect(grid.headers['content-type']).toBe('image/png')
  expect(grid.body.equals(Buffer.from(PNG))).toBe(true)
})

describe('answers', () => {
  test.each<[string, string, { method?: string; host?: string }, number]>([
    ['localhost', '/', { host: 'localhost:80' }, 200],
    ['another port, as through a tunnel', '/', { host: 'localhost:1234' }, 200],
    ['IPv6 loopback', '/', { host: '[::1]:7372' }, 200],
    ['a name that was made to mean this machine', '/', { host: 'evil.example:7372' }, 403],
    ['a name that begins like one of ours', '/', { host: '127.0.0.1.evil.example' }, 403],
    ['the same, for events', '/events', { host: 'evil.example' }, 403],
    ['no name', '/', { host: ':7372' }, 403],
    ['a write', '/', { method: 'POST' }, 405],
    ['a path that is none', '/etc/passwd', {}, 404],
    ['a path upwards', '/samples/../../config.json', {}, 404],
    ['a grid that is none', '/samples/7/1.png', {}, 404],
    ['a path that is no URL', '//[', {}, 404],
  ])('%s', async (_, path, options, status) => {
    await using folders = await RunFolders.create()
    const { watching } = await watched(folders)
    await using __ = watching
    expect((await ask(watching, path, options)).status).toBe(status)
  })
})

test('tells of points, of steps that were made again, and of grids and evaluations', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders)
  await using _ = watching
  const stream = messages(watching)
  await next(stream, 'problem')
  await appendFile(join(run, 'metrics.jsonl'), line(3) + line(4).slice(0, 20))
  const third = await next(stream, 'points')
  expect(third).toMatchObject({ first: 1, last: 3, logged: [{ run: 0, from: 3, step: [3] }] })
  expect(third.parts.lead).toContain('step 3')
  await appendFile(join(run, 'metrics.jsonl'), line(4).slice(20))
  expect(await next(stream, 'points')).toMatchObject({ last: 4, logged: [{ from: 4, step: [4] }] })
  await truncate(join(run, 'metrics.jsonl'), line(1).length)
  expect(await next(stream, 'points')).toMatchObject({ last: 1, logged: [{ from: 2, step: [] }] })
  await writeFile(join(run, 'samples/0000001.png'), PNG)
  expect(await next(stream, 'page')).toMatchObject({ whole: false })
  const fid = { kind: 'fid', step: 1, network: 'hog', reference: 'r.zip', sampleImages: 9, fid: 77.5 }
  await mkdir(join(run, 'evaluation'))
  await writeFile(join(run, 'evaluation/fid.json'), JSON.stringify(fid))
  expect(await next(stream, 'page')).toMatchObject({ whole: false })
  expect((await ask(watching, '/')).body.toString()).toContain('77.5')
  await stream.return(undefined)
})

test('a page that lost its connection is told what it missed; one of another server, to fetch all', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders)
  await using _ = watching
  const stream = messages(watching)
  const { id } = await next(stream, 'problem')
  await stream.return(undefined)
  const other = messages(watching)
  await appendFile(join(run, 'metrics.jsonl'), line(3))
  await next(other, 'points')
  await appendFile(join(run, 'metrics.jsonl'), line(4))
  await next(other, 'points')
  await other.return(undefined)
  const again = messages(watching, id)
  expect(await next(again, 'points')).toMatchObject({ logged: [{ from: 3, step: [3, 4] }] })
  await again.return(undefined)
  const foreign = messages(watching, 'of-another-server.3')
  expect(await next(foreign, 'page')).toMatchObject({ whole: true })
  await foreign.return(undefined)
})

test.each([
  { when: 'when it can', isTold: true },
  { when: 'where its size and time tell nothing, for it was looked at while it was written', isTold: false },
])('what cannot be read is said, and read again $when', async ({ isTold }) => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders)
  await using _ = watching
  const stream = messages(watching)
  await next(stream, 'problem')
  await mkdir(join(run, 'evaluation'))
  const whole = '{"kind":"fid","network":"hog","reference":"r","sampleImages":1,"fid":77.5}'
  const put = async (text: string) => {
    await writeFile(join(run, 'draft'), text)
    // Another text in the same tick of the file system's clock.
    if (!isTold) await utimes(join(run, 'draft'), 1, 1)
    await rename(join(run, 'draft'), join(run, 'evaluation/fid.json'))
  }
  await put('{"kind":'.padEnd(isTold ? 0 : whole.length))
  expect(await next(stream, 'problem')).toMatchObject({ sentence: expect.stringContaining('fid.json is not JSON') })
  await put(whole)
  await expect.poll(async () => (await ask(watching, '/')).body.toString()).toContain('77.5')
  expect(await next(stream, 'problem')).toMatchObject({ sentence: '' })
  await stream.return(undefined)
})

test('a folder of samples that cannot be read ends nothing: what was there stands, and comes back', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders, { 'samples/0000001.png': PNG })
  await using _ = watching
  const stream = messages(watching)
  await next(stream, 'problem')
  await rename(join(run, 'samples'), join(run, 'elsewhere'))
  await writeFile(join(run, 'samples'), 'no folder')
  const sentence = `Cannot read ${join(run, 'samples')}: it is a file, and a folder is wanted (ENOTDIR).`
  expect(await next(stream, 'problem')).toMatchObject({ sentence })
  expect((await ask(watching, '/samples/0/1.png')).status).toBe(200)
  await rm(join(run, 'samples'))
  await rename(join(run, 'elsewhere'), join(run, 'samples'))
  expect(await next(stream, 'problem')).toMatchObject({ sentence: '' })
  await stream.return(undefined)
})

test('a page that takes in nothing more is let go', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders)
  await using _ = watching
  const stalled = get(`http://127.0.0.1:${watching.port}/events`)
  const [answer] = (await once(stalled, 'response')) as [IncomingMessage]
  answer.pause()
  const closed = new Promise<void>((done) => {
    answer.on('error', () => {}).on('close', () => done())
  })
  const log = join(run, 'metrics.jsonl')
  // More than the two ends of the connection hold by themselves, in messages of less than a page is sent whole for.
  for (let step = 3; step < 300_000; step += 15_000) {
    await appendFile(log, Array.from({ length: 15_000 }, (_, i) => line(step + i)).join(''))
    await setTimeout(60)
  }
  answer.resume()
  await closed
}, 60_000)

test('a run that begins while it is watched', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders, { 'metrics.jsonl': '' })
  await using _ = watching
  expect((await ask(watching, '/')).body.toString()).toContain('No step has been logged yet')
  const stream = messages(watching)
  await next(stream, 'problem')
  await appendFile(join(run, 'metrics.jsonl'), line(1))
  expect(await next(stream, 'page')).toMatchObject({ whole: true })
  await stream.return(undefined)
})

test('a port that is taken is one clear sentence', async () => {
  await using folders = await RunFolders.create()
  const { run, watching } = await watched(folders)
  await using _ = watching
  await expect(watch([run], { port: watching.port })).rejects.toThrow(
    `Port ${watching.port} of 127.0.0.1 is taken; choose another \`port\`, or 0 for any that is free.`,
  )
})

test('no run, and a folder that is none, are errors', async () => {
  await using folders = await RunFolders.create()
  await expect(watch([])).rejects.toThrow(/at least one run/)
  await expect(watch([folders.root], { port: 0 })).rejects.toThrow(/not a run's folder/)
})

test.each<[options: Record<string, unknown>, sentence: string]>([
  [{ port: 70_000 }, 'port is 70000: expected number to be <=65535.'],
  [{ port: -1 }, 'port is -1: expected number to be >=0.'],
  [{ port: 1.5 }, 'port is 1.5: expected int.'],
  [{ port: 'x' }, 'port is "x": expected number.'],
  [{ interval: 0 }, 'interval is 0: expected number to be >0.'],
  [{ interval: Number.NaN }, 'interval is NaN: expected number.'],
  // A timer of Node's runs off at once.
  [{ interval: 2 ** 31 }, 'interval is 2147483648: expected number to be <=2147483647.'],
  [{ sampleLimit: -1 }, 'sampleLimit is -1: expected number to be >=0.'],
  [{ sampleLimit: 1.5 }, 'sampleLimit is 1.5: expected int.'],
  [{ title: 3 }, 'title is 3: expected string.'],
  [{ onProblem: 'warn' }, 'onProblem is "warn": expected a function.'],
  [{ intervall: 3 }, 'there is no setting "intervall"; did you mean "interval"?'],
])('refuses %j', async (options, sentence) => {
  await using folders = await RunFolders.create()
  const run = await folders.add('r', { 'config.json': {} })
  const begun = watch([run], { port: 0, ...options }).then((watching) => watching[Symbol.asyncDispose]())
  await expect(begun).rejects.toThrow(new ConfigurationError(`the options of watch: ${sentence}`))
})

test('one run by itself is no list of runs', async () => {
  await using folders = await RunFolders.create()
  const run = await folders.add('r', { 'config.json': {} })
  await expect(watch(run as never, { port: 0 })).rejects.toThrow('watch: expected the folders of runs in an array')
})

test('where onProblem throws, the port is closed, and disposing throws what it threw', async () => {
  const unhandled: unknown[] = []
  const note = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', note)
  onTestFinished(() => {
    process.off('unhandledRejection', note)
  })
  await using folders = await RunFolders.create()
  const run = await folders.add('r', { 'config.json': {}, 'metrics.jsonl': line(1) })
  const watching = await watch([run], {
    port: 0,
    interval: 10,
    onProblem: () => {
      throw new Error('mine')
    },
  })
  const isClosed = () => expect(ask(watching, '/')).rejects.toThrow(/ECONNREFUSED|ECONNRESET|socket hang up/)
  await appendFile(join(run, 'metrics.jsonl'), 'garbage\n')
  await vi.waitFor(isClosed, { timeout: 20_000 })
  expect(unhandled).toEqual([])
  await expect(watching[Symbol.asyncDispose]()).rejects.toThrow('mine')
})
