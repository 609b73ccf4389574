import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { parseCommandLine } from '../../src/cli/parse.ts'
import { ROOT } from '../conventions/source-files.ts'

interface Step {
  readonly name: string
  readonly group: string
  readonly command: readonly string[]
  readonly limit: number
  readonly json?: 'object' | 'lines'
  readonly env?: Readonly<Record<string, string>>
  readonly missing?: string
}
interface Outcome {
  readonly name: string
  readonly status: 'passed' | 'failed' | 'timed out' | 'skipped'
  readonly seconds?: number
  readonly said?: string
  readonly reason?: string
  readonly result?: unknown
}
interface Session {
  runSession(
    steps: readonly Step[],
    options: { out: string; budget?: number; say?: (line: string) => void },
  ): Promise<Outcome[]>
  summary(outcomes: readonly Outcome[]): string[]
}
interface Plan {
  gpuSessionPlan(where: {
    root: string
    out: string
    device: string
    capability?: string
    gpus?: number
    python?: string
    sanitizer?: string
    ncu?: string
    cublasLt?: string
    nccl?: string
  }): Step[]
}

const load = async <T>(script: string): Promise<T> => await import(pathToFileURL(join(ROOT, 'scripts', script)).href)
const { runSession, summary } = await load<Session>('gpu-session.mjs')
const { gpuSessionPlan } = await load<Plan>('gpu-session-plan.mjs')

/** A step that runs a line of JavaScript. */
const js = (name: string, code: string, more: Partial<Step> = {}): Step => {
  return { name, group: 'a', command: [process.execPath, '-e', code], limit: 30, ...more }
}

const hasEnded = (pid: number) => !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))

describe('a session', () => {
  let out: string
  beforeEach(() => {
    out = mkdtempSync(join(tmpdir(), 'repa-session-'))
  })
  afterEach(() => rmSync(out, { recursive: true, force: true }))
  const run = (steps: readonly Step[], budget?: number) => runSession(steps, { out, budget, say: () => {} })

  test('goes on after whatever fails, and keeps every result', async () => {
    const outcomes = await run([
      js('object', 'console.error("loading"); console.log(JSON.stringify({ a: 1 }))', { json: 'object' }),
      js('fails', 'console.error("no such GPU"); process.exit(3)'),
      js('lines', 'console.log("{\\"a\\":1}\\nwarning\\n{\\"a\\":2}")', { json: 'lines' }),
      js('rubbish', 'console.log("Segmentation fault")', { json: 'object' }),
      js('not here', '', { missing: 'there is no such tool here' }),
      { ...js('no program', ''), command: [join(out, 'nothing')] },
      js('last', 'console.log("42 passed")'),
    ])
    const said = Object.fromEntries(outcomes.map(({ name, status, result }) => [name, [status, result]]))
    expect(said).toEqual({
      object: ['passed', { a: 1 }],
      fails: ['failed', undefined],
      lines: ['passed', [{ a: 1 }, { a: 2 }]],
      rubbish: ['failed', undefined],
      'not here': ['skipped', undefined],
      'no program': ['failed', undefined],
      last: ['passed', undefined],
    })
    expect(outcomes[1]!.said).toBe('no such GPU')
    expect(outcomes[3]!.said).toContain('Segmentation fault')
    expect(outcomes[5]!.said).toContain('ENOENT')
    expect(outcomes[6]!.said).toBe('42 passed')
    expect(JSON.parse(readFileSync(join(out, 'session.json'), 'utf8')).outcomes).toEqual(
      JSON.parse(JSON.stringify(outcomes)),
    )
    const log = readFileSync(join(out, 'session.log'), 'utf8')
    for (const text of ['==== object', 'loading', 'no such GPU', '42 passed']) expect(log).toContain(text)
    expect(summary(outcomes).at(-1)).toBe('3 passed, 3 failed, 0 timed out, 1 skipped')
    expect(summary(outcomes)[0]).toBe('fails failed: no such GPU')
  })

  test('ends what runs past its limit, with what that has started', async () => {
    const code = `
      const { pid } = require("node:child_process").spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])
      console.log(pid); setInterval(() => {}, 1000)`
    const [outcome] = await run([js('hangs', code, { limit: 4 })])
    expect(outcome!.status).toBe('timed out')
    const child = Number(outcome!.said)
    expect(child).toBeGreaterThan(1)
    await expect.poll(() => hasEnded(child)).toBe(true)
  })

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('that %s ends takes its step along', async (signal) => {
    const step = js('endless', 'console.log(process.pid); setInterval(() => {}, 1000)')
    const code = `
      import { runSession } from ${JSON.stringify(pathToFileURL(join(ROOT, 'scripts/gpu-session.mjs')).href)}
      await runSession(${JSON.stringify([step])}, { out: ${JSON.stringify(out)}, say() {} })`
    const session = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' })
    const ended = once(session, 'exit')
    const log = join(out, 'session.log')
    const stepsPid = () => Number(existsSync(log) && readFileSync(log, 'utf8').match(/^\d+$/m)?.[0])
    await expect.poll(stepsPid).toBeGreaterThan(1)
    session.kill(signal)
    expect(await ended).toEqual([null, signal])
    await expect.poll(() => hasEnded(stepsPid())).toBe(true)
  })

  test.each([
    ['that it ends', 'setInterval(() => {}, 1000)', 'timed out'],
    ['that ends by itself', 'process.exit()', 'passed'],
  ])('does not wait for what has left the group of a step %s', async (_, then, status) => {
    const code = `
      const { pid } = require("node:child_process").spawn("sleep", ["60"], { detached: true, stdio: "inherit" })
      console.log(pid); ${then}`
    const [outcome] = await run([js('leaves one behind', code, { limit: 3 })])
    process.kill(Number(outcome!.said), 'SIGKILL')
    expect(outcome!.status).toBe(status)
    expect(outcome!.seconds).toBeLessThan(30)
  })

  test('begins nothing for which the budget does not suffice', async () => {
    const outcomes = await run([js('short', '', { limit: 10 }), js('long', '', { limit: 300 })], 15)
    expect(outcomes.map(({ status, reason }) => [status, reason])).toEqual([
      ['passed', undefined],
      ['skipped', 'the budget is spent'],
    ])
  })
})

describe('the command line', () => {
  const script = join(ROOT, 'scripts/gpu-session.mjs')
  const refused = (...words: string[]) => {
    const { status, stderr } = spawnSync(process.execPath, [script, join(tmpdir(), 'nowhere'), ...words], {
      encoding: 'utf8',
    })
    expect(existsSync(join(tmpdir(), 'nowhere'))).toBe(false)
    return [status, stderr.trim()]
  }

  test.each([
    [['--only', 'compile,speed'], /^gpu-session: --only has speed; expected some of doctor, sustained, .*, python\.$/],
    [['--device', 'cuda'], /^usage: gpu-session OUT .*\[--device cuda:N\]$/],
    [['--budget', 'long'], /^gpu-session: --budget is long; expected seconds\.$/],
    [['--only', 'compile', '--named', 'SiT-M'], /^gpu-session: no step of compile has "SiT-M" in its name\.$/],
  ] as const)('%o is refused', (words, sentence) => {
    expect(refused(...words)).toEqual([2, expect.stringMatching(sentence)])
  })
})

test('every command of the plan is one, and what this machine lacks is said', async () => {
  const where = { root: ROOT, out: '/somewhere', device: 'cuda:0', capability: '9.0' }
  const plan = gpuSessionPlan({ ...where, python: 'python3', sanitizer: 'compute-sanitizer', ncu: 'ncu' })
  expect(new Set(plan.map(({ name }) => name)).size).toBe(plan.length)
  for (const { command, limit, json } of plan) {
    expect(limit).toBeLessThanOrEqual(600)
    const at = command.findIndex((word) => word.endsWith('dist/cli/main.js'))
    for (const word of command) {
      if (
        /^(scripts|bench|test)\//.test(word) ||
        word.startsWith(`${ROOT}/scripts`) ||
        word.startsWith(`${ROOT}/bench`)
      )
        expect(existsSync(join(word.startsWith('/') ? '' : ROOT, word)), word).toBe(true)
    }
    if (at < 0) continue
    expect(json).toBe('object')
    const words = command.slice(at + 1)
    const entry = COMMANDS.find(({ name }) => words.join(' ').startsWith(name))!
    const loaded = await entry.load()
    expect(() => parseCommandLine(loaded, words.slice(entry.name.split(' ').length))).not.toThrow()
  }
  // What has not been measured yet comes before what is measured anew.
  const groups = [...new Set(plan.map(({ group }) => group))]
  expect(groups.slice(0, 10)).toEqual([
    ...['doctor', 'sustained', 'test', 'choices', 'variants', 'processes', 'profile', 'sampling', 'precisions'],
    'compile',
  ])
  // A compilation that was ended goes on from where it was, whichever step or session comes next.
  const caches = plan.filter(({ group }) => group === 'compile').map(({ env }) => env!.TORCHINDUCTOR_CACHE_DIR)
  expect(new Set(caches)).toEqual(new Set([join(tmpdir(), 'repa-native-torchinductor')]))
  const without = gpuSessionPlan(where)
  const lacks = (group: string) => new Set(without.filter((step) => step.group === group).map(({ missing }) => missing))
  expect(lacks('compile')).toEqual(new Set(['there is no python3 with torch here']))
  expect(lacks('python')).toEqual(new Set(['there is no python3 with torch here']))
  expect(lacks('profile')).toEqual(new Set(['there is no Nsight Compute (ncu) here']))
  expect(lacks('sanitizer')).toEqual(new Set(['there is no compute-sanitizer here']))
  expect(lacks('choices')).toEqual(new Set([undefined]))
  const shared = gpuSessionPlan({ ...where, gpus: 4 }).filter(({ group }) => group === 'processes')
  expect(shared.map(({ missing }) => missing)).toEqual([
    ...[undefined, undefined, undefined, undefined],
    ...['there are fewer than 8 GPUs', 'there are fewer than 8 GPUs'],
  ])
  expect(lacks('processes').size).toBe(3)
  // Elsewhere the settings that ask for Hopper's kernels are refused.
  const ampere = gpuSessionPlan({ ...where, ncu: 'ncu', capability: '8.0' })
  const asking = ({ env = {} }: Step) => /^wgmma/m.test(`${env.REPA_GEMM}\n${env.REPA_ATTENTION}`)
  for (const one of ampere.filter(({ group }) => ['choices', 'variants', 'profile'].includes(group))) {
    const why = 'those kernels are for compute capability 9.0, and cuda:0 has 8.0'
    expect([one.name, one.missing]).toEqual([one.name, asking(one) ? why : undefined])
  }
  expect(ampere.filter(asking).length).toBe(plan.filter(asking).length)
  const attention = (steps: readonly Step[]) => steps.flatMap(({ env = {} }) => env.REPA_ATTENTION ?? [])
  expect(attention(ampere.filter(({ missing }) => !missing))).toEqual(['mma-streamed', 'mma-streamed', 'auto', 'auto'])
})
