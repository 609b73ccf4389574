// All that a session on a GPU is for, in one call: a minute under full power, the tables of cases, PyTorch compiled, conformance of the
// shim, the kernels' and the step's speed, compute-sanitizer, PyTorch beside. Nothing that fails stops what follows.
//     node scripts/gpu-session.mjs OUT [--only GROUP,…] [--named TEXT] [--budget SECONDS] [--device cuda:N]
//   OUT        folder for session.json (every result; written anew after each step) and session.log (everything that was said)
//   --only     of the groups in docs/gpu.md; default: all
//   --named    of these, the steps with TEXT in their names
//   --budget   ends what still runs after so many seconds, and begins nothing in the last 20 of them
import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gpuSessionPlan } from './gpu-session-plan.mjs'

/** Of what a step says on stderr, kept in session.json. */
const TAIL = 2000
/** Less than this is not worth beginning a step with. */
const LEAST_SECONDS = 20
/** After the end of a step that was killed, for what it had started to end too. */
const GRACE_SECONDS = 5

/** What ends a session from outside. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

/** Runs a command with a limit; everything that it says goes to the log too. Its children end with it, and it with the session. */
function execute({ command: [program, ...args], limit, env }, log) {
  return new Promise((done) => {
    const began = performance.now()
    let [stdout, stderr, timedOut] = ['', '', false]
    // A group of its own, so that what it has started can be ended with it. A terminal's Ctrl-C does not reach it there.
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      detached: true,
    })
    const endGroup = () => {
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // It has ended by itself.
      }
    }
    const onSignal = (signal) => {
      endGroup()
      for (const own of SIGNALS) process.off(own, onSignal)
      process.kill(process.pid, signal)
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
    const timer = setTimeout(() => {
      timedOut = true
      endGroup()
    }, limit * 1000)
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
      log(text)
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr = (stderr + text).slice(-TAIL)
      log(text)
    })
    let grace
    const end = (code, said) => {
      clearTimeout(timer)
      clearTimeout(grace)
      for (const signal of SIGNALS) process.off(signal, onSignal)
      child.stdout.destroy()
      child.stderr.destroy()
      done({ code, timedOut, stdout, stderr: said ?? stderr, seconds: (performance.now() - began) / 1000 })
    }
    // What it has started may keep the pipes open, out of reach where it has left the group, and would keep the session waiting.
    child.on('exit', (code) => {
      clearTimeout(timer)
      grace = setTimeout(() => {
        endGroup()
        end(code)
      }, GRACE_SECONDS * 1000)
    })
    child.on('error', (error) => end(null, error.message))
    child.on('close', (code) => end(code))
  })
}

/** What a step's stdout says, or why it cannot be read. */
function parse(kind, stdout) {
  if (kind === 'object') return JSON.parse(stdout)
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}

async function runStep(step, limit, log) {
  const { name, group, command, json, missing } = step
  const what = { name, group, command: command.join(' ') }
  if (missing) return { ...what, status: 'skipped', reason: missing }
  if (limit < Math.min(step.limit, LEAST_SECONDS)) return { ...what, status: 'skipped', reason: 'the budget is spent' }
  const { code, timedOut, stdout, stderr, seconds } = await execute({ ...step, limit }, log)
  const said = (json ? stderr : (stdout.slice(-TAIL) + stderr).slice(-TAIL)).trim()
  const status = timedOut ? 'timed out' : code === 0 ? 'passed' : 'failed'
  const outcome = { ...what, status, seconds, code, said }
  if (!json || (status !== 'passed' && stdout.trim() === '')) return outcome
  try {
    return { ...outcome, result: parse(json, stdout) }
  } catch (error) {
    return {
      ...outcome,
      status: status === 'passed' ? 'failed' : status,
      said: `${error.message}; ${stdout.slice(-TAIL)}`,
    }
  }
}

/**
 * Runs the steps one after the other and returns their outcomes, which stand in OUT/session.json after each.
 *
 * @param {import('./gpu-session-plan.mjs').Step[]} steps
 * @param {{ out: string, budget?: number, say?: (line: string) => void, about?: object }} options  `budget` in seconds
 */
export async function runSession(steps, { out, budget = Number.POSITIVE_INFINITY, say = console.log, about = {} }) {
  mkdirSync(out, { recursive: true })
  const log = (text) => appendFileSync(join(out, 'session.log'), text)
  const began = performance.now()
  const outcomes = []
  const save = () => {
    const path = join(out, 'session.json')
    // What is there is always whole, whenever the machine goes away.
    writeFileSync(`${path}.partial`, JSON.stringify({ date: new Date().toISOString(), ...about, outcomes }, null, 1))
    renameSync(`${path}.partial`, path)
  }
  for (const step of steps) {
    const left = budget - (performance.now() - began) / 1000
    log(`\n==== ${step.name}: ${step.command.join(' ')}\n`)
    const outcome = await runStep(step, Math.min(step.limit, left), log)
    outcomes.push(outcome)
    save()
    const { status, seconds, reason } = outcome
    say(
      `${status.padEnd(9)} ${seconds === undefined ? '      ' : `${seconds.toFixed(1).padStart(5)}s`} ${step.name}${reason ? `: ${reason}` : ''}`,
    )
  }
  return outcomes
}

/** The session's result as a few lines: what failed and what it said last, then counts. */
export function summary(outcomes) {
  const count = (status) => outcomes.filter((outcome) => outcome.status === status).length
  const lines = outcomes
    .filter(({ status }) => status === 'failed' || status === 'timed out')
    .map(({ name, status, said }) => `${name} ${status}: ${said.split('\n').slice(-3).join(' | ')}`)
  const counts = ['passed', 'failed', 'timed out', 'skipped'].map((status) => `${count(status)} ${status}`)
  return [...lines, counts.join(', ')]
}

/** The first of the programs that answers a question with status 0. */
function firstThat(programs, ...question) {
  return programs.find(
    (program) => program && spawnSync(program, question, { stdio: 'ignore', timeout: 60_000 }).status === 0,
  )
}

/** A library of NVIDIA's, by a pattern that is a glob and an expression: where the loader's cache has it, or in the wheels beside torch. */
function findLibrary(python, named, pattern) {
  if (named) return named
  const cache = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? ''
  const inCache = cache.match(new RegExp(`${pattern.replaceAll('.', '\\.')} .*=> (.+)`))?.[1]
  if (inCache || !python) return inCache
  const code = `import glob, os, torch; print(*glob.glob(os.path.dirname(torch.__file__) + "/../nvidia/*/lib/${pattern}"))`
  return spawnSync(python, ['-c', code], { encoding: 'utf8' }).stdout?.trim().split(' ')[0] || undefined
}

async function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string' },
      named: { type: 'string' },
      budget: { type: 'string' },
      device: { type: 'string', default: 'cuda:0' },
    },
  })
  // Of another name nothing would be known, and what is Hopper's own be left out.
  if (positionals.length !== 1 || !/^cuda:\d+$/.test(values.device)) {
    console.error('usage: gpu-session OUT [--only GROUP,…] [--named TEXT] [--budget SECONDS] [--device cuda:N]')
    process.exit(2)
  }
  const root = join(dirname(fileURLToPath(import.meta.url)), '..')
  const out = resolve(positionals[0])
  const python = firstThat([process.env.REPA_PYTHON, 'python3', '/usr/bin/python3'], '-c', 'import torch')
  const sanitizer = firstThat(['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'], '--version')
  const ncu = firstThat([process.env.REPA_NCU, 'ncu', '/usr/local/cuda/bin/ncu'], '--version')
  const cublasLt = findLibrary(python, process.env.REPA_CUBLASLT, 'libcublasLt.so.1[23]')
  const nccl = findLibrary(python, process.env.REPA_NCCL, 'libnccl.so.2')
  const { gpuOf, usableGpus } = await import('../dist/tensor/device.js')
  const capability = gpuOf(values.device)?.computeCapability
  const gpus = usableGpus().length
  const found = { capability, gpus, python, sanitizer, ncu, cublasLt, nccl }
  const plan = gpuSessionPlan({ root, out, device: values.device, ...found })
  const groups = new Set(plan.map(({ group }) => group))
  const only = values.only?.split(',') ?? [...groups]
  const unknown = only.find((group) => !groups.has(group))
  const budget = values.budget === undefined ? undefined : Number(values.budget)
  if (unknown !== undefined || (budget !== undefined && !(budget > 0))) {
    const wrong =
      unknown === undefined
        ? `--budget is ${values.budget}; expected seconds`
        : `--only has ${unknown}; expected some of ${[...groups].join(', ')}`
    console.error(`gpu-session: ${wrong}.`)
    process.exit(2)
  }
  const steps = plan.filter(({ group, name }) => only.includes(group) && name.includes(values.named ?? ''))
  if (steps.length === 0) {
    console.error(`gpu-session: no step of ${only.join(', ')} has "${values.named}" in its name.`)
    process.exit(2)
  }
  mkdirSync(out, { recursive: true })
  const outcomes = await runSession(steps, { out, budget, about: { device: values.device, only } })
  for (const line of summary(outcomes)) console.log(line)
  process.exit(outcomes.every(({ status }) => status === 'passed' || status === 'skipped') ? 0 : 1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
