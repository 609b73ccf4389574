import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { Interruption } from '../../../src/cli/failure.ts'
import { metricsLine, PNG, RunFolders } from '../../report/run-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

const files = { 'config.json': {}, 'metrics.jsonl': [metricsLine(1)] }

function start(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const controller = new AbortController()
  const status = dispatch(['watch', ...words], { stdout, stderr, env: {}, signal: controller.signal })
  return { status, stdout, stderr, interrupt: () => controller.abort(new Interruption('stopped by SIGINT')) }
}

test('serves until it is interrupted, then frees the port', async () => {
  await using folders = await RunFolders.create()
  const { status, stdout, stderr, interrupt } = start(await folders.add('r', files), '--port', '0', '--json')
  await expect.poll(() => stdout.text).toMatch(/\n$/)
  const { url, port } = JSON.parse(stdout.text) as { url: string; port: number }
  expect(url).toBe(`http://127.0.0.1:${port}/`)
  expect(await (await fetch(url)).text()).toContain('<title>r</title>')
  interrupt()
  expect(await status).toBe(130)
  expect(stderr.text).toBe('')
  await expect(fetch(url)).rejects.toThrow()
})

test('--title and --samples', async () => {
  await using folders = await RunFolders.create()
  const run = await folders.add('r', { ...files, 'samples/0000001.png': PNG, 'samples/0000002.png': PNG })
  const { status, stdout, interrupt } = start(run, '--port', '0', '--json', '--title', 'A & B', '--samples', '1')
  await expect.poll(() => stdout.text).toMatch(/\n$/)
  const page = await (await fetch((JSON.parse(stdout.text) as { url: string }).url)).text()
  expect(page).toContain('<title>A &amp; B</title>')
  expect(page).toContain('1 of 2 grids are shown')
  interrupt()
  expect(await status).toBe(130)
})

test('says where to look', async () => {
  await using folders = await RunFolders.create()
  const run = await folders.add('r', files)
  const { status, stderr, interrupt } = start(run, '--port', '0')
  await expect.poll(() => stderr.text).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/ shows .*\/r; Ctrl-C ends it\.\n$/)
  interrupt()
  expect(await status).toBe(130)
})

test('a port that is taken', async () => {
  await using folders = await RunFolders.create()
  const other = createServer().listen(0, '127.0.0.1')
  await new Promise((done) => other.once('listening', done))
  const { port } = other.address() as AddressInfo
  const { status, stderr } = start(await folders.add('r', files), '--port', String(port))
  expect(await status).toBe(1)
  expect(stderr.text).toBe(
    `repa watch: Port ${port} of 127.0.0.1 is taken; choose another --port, or 0 for any that is free.\n`,
  )
  other.close()
})

test('a folder that is no run', async () => {
  await using folders = await RunFolders.create()
  const { status, stderr } = start(folders.root)
  expect(await status).toBe(1)
  expect(stderr.text).toMatch(/not a run's folder/)
})
