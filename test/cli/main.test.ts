import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { javascriptOf } from '../../scripts/javascript-of.mjs'

// The program as a process: its sources without their types, and a table with a command that saves and stops when it is asked to, and
// one that has nothing to save, and one that never pauses.
const root = fileURLToPath(new URL('../..', import.meta.url))
let directory: string

const COMMANDS = `
export const COMMANDS = ['wait', 'watch', 'compute'].map((name) => ({
  name, summary: name + ' to be stopped',
  load: async () => ({
    name, saves: name === 'wait', endsAtOnce: name === 'compute', summary: '', positionals: {}, examples: [],
    options: { stubborn: { type: 'boolean', description: '' }, fast: { type: 'boolean', description: '' } },
    async run({ stubborn, fast }, { out, signal }) {
      // A timer that outlives the command must not keep the process.
      const timer = setInterval(() => {}, 1000)
      if (process.env.WARN) out.warn(process.env.WARN)
      out.json({ waiting: true })
      out.line(process.env.SAVED ? 'waiting as ' + process.pid + '.' : 'waiting')
      if (fast) return
      // For as long as a test may take.
      if (name === 'compute') for (const end = Date.now() + 20_000; Date.now() < end; );
      const lines = setInterval(() => out.json({ still: 'x'.repeat(1000) }), 5)
      await new Promise((resolve) => { if (!stubborn) signal.addEventListener('abort', resolve) })
      clearInterval(lines)
      if (name === 'wait') out.line('saved')
      if (process.env.SAVED) (await import('node:fs')).writeFileSync(process.env.SAVED, signal.reason.message)
    },
  }),
}))`

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'repa-cli-'))
  for (const folder of ['cli', 'configuration', 'distributed', 'formats', 'report']) {
    for (const entry of await readdir(join(root, 'src', folder), { withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
      const path = join(root, 'src', folder, entry.name)
      const text = await readFile(path, 'utf8')
      const target = join(directory, 'dist', folder, entry.name.replace(/\.ts$/, '.js'))
      await mkdir(dirname(target), { recursive: true })
      await writeFile(target, await javascriptOf(path, text, { rewriteRelativeImportExtensions: true }))
    }
  }
  await writeFile(join(directory, 'dist/cli/commands.js'), COMMANDS)
  await cp(join(root, 'package.json'), join(directory, 'package.json'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
})

afterAll(() => rm(directory, { recursive: true, force: true }))

function repa(...words: string[]) {
  const child = spawn(process.execPath, [join(directory, 'dist/cli/main.js'), ...words])
  const seen = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    seen.stderr += text
  })
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, ...seen }))
  return { child, seen, ended }
}

async function until(condition: () => boolean, child: ChildProcess): Promise<void> {
  while (!condition()) {
    if (child.exitCode !== null) throw new Error('the process ended early')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test.each([
  [['--version'], { status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: '' }],
  [['--help'], { status: 0, stdout: expect.stringContaining('wait to be stopped'), stderr: '' }],
  [['wiat'], { status: 2, stdout: '', stderr: "repa: there is no command 'wiat'; did you mean 'repa wait'?\n" }],
  [['wait', '--fast', '--json'], { status: 0, stdout: '{"waiting":true}\n', stderr: '' }],
])('repa %j', async (words, expected) => {
  expect(await repa(...words).ended).toMatchObject(expected)
})

/** The program with one of its streams on a disk that is full, and how it ended with what the other said. */
function repaOnFullDisk(stream: 'stdout' | 'stderr', words: string[], saved: string) {
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [join(directory, 'dist/cli/main.js'), ...words], {
    stdio: ['ignore', stream === 'stdout' ? full : 'pipe', stream === 'stderr' ? full : 'pipe'],
    env: { ...process.env, SAVED: saved, WARN: stream === 'stderr' ? 'nobody will read this' : '' },
  })
  closeSync(full)
  let other = ''
  for (const open of [child.stdout, child.stderr]) {
    open?.setEncoding('utf8').on('data', (text: string) => {
      other += text
    })
  }
  return { child, other: () => other, ended: once(child, 'close').then(([status]) => ({ status, other })) }
}

describe.skipIf(!existsSync('/dev/full'))('a full disk', () => {
  const lost = 'repa: cannot write to stdout: the disk is full; free some space and try again.\n'

  test.each([
    // A command that goes on is asked to save and stop; one that does not hear it comes to its end.
    [['wait', '--json'], 1, lost, 'stdout cannot be written'],
    [['wait', '--json', '--fast'], 1, lost, undefined],
    [['--version'], 1, lost, undefined],
    [['--help'], 1, lost, undefined],
    // Nothing was written there, so nothing is lost.
    [['wait', '--quiet', '--fast'], 0, '', undefined],
    [['wiat'], 2, "repa: there is no command 'wiat'; did you mean 'repa wait'?\n", undefined],
  ])('behind stdout: repa %j', async (words, status, stderr, reason) => {
    const saved = join(directory, `saved-${words.join('')}`)
    const { ended } = repaOnFullDisk('stdout', words, saved)
    expect(await ended).toEqual({ status, other: stderr })
    expect(existsSync(saved) ? readFileSync(saved, 'utf8') : undefined).toBe(reason)
  })

  test('behind stderr stops nothing: the lines for humans are lost', async () => {
    const saved = join(directory, 'saved-without-stderr')
    const { child, other, ended } = repaOnFullDisk('stderr', ['wait', '--json'], saved)
    await until(() => other().includes('still'), child)
    child.kill('SIGTERM')
    expect((await ended).status).toBe(130)
    expect(readFileSync(saved, 'utf8')).toBe('stopped by SIGTERM')
  })
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s: the command saves, exit 130', async (signal) => {
  const { child, seen, ended } = repa('wait')
  await until(() => seen.stderr.includes('waiting'), child)
  child.kill(signal)
  const { status, stderr } = await ended
  expect(status).toBe(130)
  expect(stderr).toBe('waiting\nStopping; a second signal stops at once, without saving.\nsaved\n')
})

test('of a command that saves nothing it is not said that a second signal would not save', async () => {
  const { child, seen, ended } = repa('watch')
  await until(() => seen.stderr.includes('waiting'), child)
  child.kill('SIGINT')
  expect(await ended).toMatchObject({ status: 130, stderr: 'waiting\nStopping; a second signal stops at once.\n' })
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a command that never pauses at once', async (signal) => {
  const { child, seen, ended } = repa('compute')
  await until(() => seen.stderr.includes('waiting'), child)
  child.kill(signal)
  expect(await ended).toMatchObject({ signal, stderr: 'waiting\n' })
})

test('SIGHUP of a terminal that others watch, as under nohup, stops nothing', async () => {
  const { child, seen, ended } = repa('wait')
  await until(() => seen.stderr.includes('waiting'), child)
  child.kill('SIGHUP')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(seen.stderr).toBe('waiting\n')
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ status: 130, stderr: expect.stringMatching(/saved\n$/) })
})

// util-linux' script gives the program a terminal; where it dies, the terminal is closed.
const script = ['/usr/bin/script', '/bin/script'].find((path) => existsSync(path))
/** Runs a command in a terminal of its own, which is closed once the command waits; returns the command's process. */
async function inClosedTerminal(command: string, saved: string): Promise<number> {
  const line = `'${process.execPath}' '${join(directory, 'dist/cli/main.js')}' ${command}`
  const child = spawn(script!, ['-qfc', line, '/dev/null'], { env: { ...process.env, SAVED: saved } })
  let seen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
  })
  await until(() => /as \d+\./.test(seen), child)
  child.kill('SIGKILL')
  return Number(/as (\d+)\./.exec(seen)![1])
}

test.skipIf(script === undefined)("its own terminal's end: the command saves, though nobody reads it", async () => {
  const saved = join(directory, 'saved')
  const pid = await inClosedTerminal('wait', saved)
  // The shell of a terminal hands the signal on, besides the system.
  process.kill(pid, 'SIGHUP')
  const content = () => existsSync(saved) && readFileSync(saved, 'utf8')
  await expect.poll(content, { timeout: 10_000 }).toBe('stopped by SIGHUP')
})

test.skipIf(script === undefined)("its own terminal's end ends a command that never pauses at once", async () => {
  const saved = join(directory, 'saved-by-compute')
  const pid = await inClosedTerminal('compute', saved)
  const isThere = () => {
    try {
      return process.kill(pid, 'SIGHUP')
    } catch {
      return false
    }
  }
  await expect.poll(isThere, { timeout: 5_000 }).toBe(false)
  expect(existsSync(saved)).toBe(false)
})

test('a second signal kills', async () => {
  const { child, seen, ended } = repa('wait', '--stubborn')
  await until(() => seen.stderr.includes('waiting'), child)
  child.kill('SIGINT')
  await until(() => seen.stderr.includes('Stopping'), child)
  child.kill('SIGINT')
  expect((await ended).signal).toBe('SIGINT')
})

test('a reader of stdout that goes away stops the command without a word', async () => {
  const { child, seen, ended } = repa('wait', '--json')
  await until(() => seen.stdout.includes('waiting'), child)
  child.stdout.destroy()
  expect(await ended).toMatchObject({ status: 130, stderr: '' })
})
