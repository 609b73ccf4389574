import { type FSWatcher, watch } from 'node:fs'
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { folderDigest } from '../data/folder-digest.ts'
import { Program, type Running, until } from './program.ts'
import { writeShapesZip } from './shapes-zip.ts'

const STEPS = 40
const MODEL = { kind: 'SiT', depth: 2, hidden: 64, heads: 2, patch: 4 }
const SETTINGS = {
  model: MODEL,
  encoders: [{ name: 'hog' }],
  batch: 6,
  learningRate: 1e-3,
  emaDecay: 0.9,
  projectorWidth: 32,
  checkpointEvery: 7,
  sampleEvery: 10,
  samples: { count: 4, steps: 2, guidanceScale: 2 },
}
/** The words of the command; of a flag given twice the last counts. */
const train = (out: string, ...words: string[]) => [
  ...['train', '--data', 'data', '--out', out, '--config', 'settings.json', '--steps', String(STEPS), '--json'],
  ...words,
]

let program: Program

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(join(program.work, 'shapes.zip'), { perClass: 10, size: 16 })
  await writeFile(join(program.work, 'settings.json'), JSON.stringify(SETTINGS))
  expect(await program.repa('prepare', 'shapes.zip', '--out', 'data', '--size', '16', '--quiet')).toMatchObject({
    status: 0,
    stderr: '',
  })
  expect(await program.repa(...train('unbroken'))).toMatchObject({ status: 0, stderr: '' })
})

afterAll(() => program[Symbol.asyncDispose]())

/** Everything that a run leaves which does not depend on the time of day, by name. */
async function lasting(out: string) {
  const folder = join(program.work, out)
  const lines = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  return {
    names: (await readdir(folder)).filter((name) => !name.startsWith('events.')),
    config: await readFile(join(folder, 'config.json'), 'utf8'),
    checkpoints: folderDigest(join(folder, 'checkpoints')),
    samples: folderDigest(join(folder, 'samples')),
    metrics: lines.map((line) => ({ ...JSON.parse(line), seconds: 0, imagesPerSecond: 0 })),
  }
}

test('the unbroken run has every step, checkpoint and grid', async () => {
  const { names, checkpoints, samples, metrics } = await lasting('unbroken')
  expect(names.sort()).toEqual(['checkpoints', 'config.json', 'metrics.jsonl', 'samples'])
  expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  const files = ['ema.safetensors', 'model.safetensors', 'optimizer.safetensors', 'state.json']
  expect(Object.keys(checkpoints)).toEqual(
    ['0000007', '0000014', '0000021', '0000028', '0000035', '0000040'].flatMap((step) =>
      files.map((file) => `${step}/${file}`),
    ),
  )
  expect(Object.keys(samples)).toEqual(['0000010.png', '0000020.png', '0000030.png', '0000040.png'])
})

/** Numbers in [0, 1), the same every time: a linear congruential generator. */
function* randomNumbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    yield state / 2 ** 32
  }
}

const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

const lastStep = (stdout: string) => Number([...stdout.matchAll(/"index":(\d+)/g)].at(-1)?.[1] ?? 0)

/** When to kill: told once that a moment has come, or undefined where the run ended before. */
type Moment = (running: Running, folder: string, random: () => number) => Promise<void>

/** Some steps after the start, at any instant of a step. */
const betweenSteps: Moment = async (running, _, random) => {
  const steps = 1 + Math.floor(random() * 6)
  let first = 0
  await until(running, ({ stdout }) => {
    first ||= lastStep(stdout)
    return first > 0 && lastStep(stdout) >= first + steps
  })
  await wait(random() * 15)
}

/** As soon as something of this name appears in a folder of the run. */
const whileWriting =
  (where: string, name: RegExp, longest: number): Moment =>
  async (running, folder, random) => {
    await mkdir(join(folder, where), { recursive: true })
    let watcher: FSWatcher | undefined
    try {
      await Promise.race([
        new Promise<void>((resolve) => {
          watcher = watch(join(folder, where), (_, changed) => {
            if (changed && name.test(changed)) resolve()
          })
        }),
        running.ended,
      ])
    } finally {
      watcher?.close()
    }
    await wait(random() * longest)
  }

const atOnce: Moment = (_running, _folder, random) => wait(random() * 1500)

// In turn: the instants that a checkpoint or a grid is half written, and any instant.
const MOMENTS = [
  betweenSteps,
  whileWriting('checkpoints', /\.partial-/, 0),
  whileWriting('checkpoints', /\.partial-/, 12),
  whileWriting('samples', /\.tmp-/, 1),
  atOnce,
]

test('a run killed again and again ends as the unbroken one, to the byte', async () => {
  const numbers = randomNumbers(20261)
  const random = () => numbers.next().value
  let kills = 0
  // Far more rounds than the steps need; and then in peace, so that the test ends whatever happens.
  for (let round = 0; ; round++) {
    const running = program.start(train('killed', ...(round === 0 ? [] : ['--resume'])))
    if (round < 10) {
      const moment = MOMENTS[round % MOMENTS.length]!
      const reached = moment(running, join(program.work, 'killed'), random).catch(() => {})
      await Promise.race([reached, running.ended])
      running.child.kill('SIGKILL')
    }
    const { status, signal, stderr } = await running.ended
    if (signal === 'SIGKILL') {
      kills++
      continue
    }
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/^(warning: killed has no whole checkpoint yet: the run begins at step 0\.\n)?$/),
    })
    if (round >= 10) break
  }
  expect(kills).toBeGreaterThanOrEqual(4)
  expect(await lasting('killed')).toEqual(await lasting('unbroken'))
}, 120_000)

/** A copy of the unbroken run, to be changed. */
async function copyRun(name: string): Promise<string> {
  await cp(join(program.work, 'unbroken'), join(program.work, name), { recursive: true })
  return join(program.work, name)
}

test('Ctrl-C saves, exits 130 and says how to go on; the resumed run ends as the unbroken one', async () => {
  const running = program.start(train('stopped'))
  await until(running, ({ stdout }) => lastStep(stdout) >= 3)
  running.child.kill('SIGINT')
  const { status, stdout, stderr } = await running.ended
  expect({ status, stderr }).toEqual({ status: 130, stderr: '' })
  const { done, step, checkpoint } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!)
  expect({ done, checkpoint }).toEqual({
    done: false,
    checkpoint: `stopped/checkpoints/${String(step).padStart(7, '0')}`,
  })
  // Nothing is lost: the checkpoint is that of the last step made.
  expect(lastStep(stdout)).toBe(step)
  const resumed = await program.repa(...train('stopped', '--resume'))
  expect(resumed).toMatchObject({ status: 0, stderr: '' })
  expect(resumed.stdout.startsWith(`{"index":${step + 1},`)).toBe(true)
  const [before, { checkpoints, ...after }] = await Promise.all([lasting('unbroken'), lasting('stopped')])
  expect(after).toEqual({ ...before, checkpoints: undefined })
  expect(checkpoints).toMatchObject(before.checkpoints)
})

test('a second Ctrl-C kills at once, and the run can be resumed', async () => {
  // Steps of about a second, so that the first signal is not yet done with the steps under way.
  const large = JSON.stringify({ kind: 'SiT', depth: 4, hidden: 384, heads: 6, patch: 2 })
  const words = train('twice', '--model', large, '--batch', '20', '--steps', '4').filter((word) => word !== '--json')
  const running = program.start(words)
  await until(running, () => running.seen.stderr.includes('M parameters'))
  // The first step must be under way: its metrics file is there before it begins.
  await wait(300)
  running.child.kill('SIGINT')
  await until(running, ({ stderr }) => stderr.includes('Stopping; a second signal stops at once, without saving.'))
  running.child.kill('SIGINT')
  expect(await running.ended).toMatchObject({ status: null, signal: 'SIGINT' })
  expect(await program.repa(...words, '--resume', '--steps', '1')).toMatchObject({
    status: 0,
    stderr: expect.stringMatching(/no whole checkpoint yet: the run begins at step 0\.\n(.*\n)*done at step 1: /),
  })
})

test('a finished run that is resumed changes nothing, but draws a grid that a kill left out', async () => {
  const folder = await copyRun('finished')
  await rm(join(folder, 'samples/0000040.png'))
  await writeFile(join(folder, 'samples/0000040.png.tmp-1'), 'half')
  await writeFile(join(folder, 'metrics.jsonl.tmp-1'), 'half')
  const result = await program.repa(...train('finished', '--resume'))
  expect(result).toMatchObject({ status: 0, stderr: '' })
  expect(JSON.parse(result.stdout)).toEqual({
    done: true,
    step: STEPS,
    checkpoint: 'finished/checkpoints/0000040',
  })
  expect(await lasting('finished')).toEqual(await lasting('unbroken'))
})

test('--resume may ask for more steps', async () => {
  await copyRun('longer')
  const { status, stdout } = await program.repa(...train('longer', '--resume', '--steps', '42', '--sample-every', '50'))
  expect(status).toBe(0)
  expect(stdout.match(/"index":\d+/g)).toEqual(['"index":41', '"index":42'])
})

/** Commands that must leave the run as it is, and the sentence that each ends with. */
const REFUSED: readonly (readonly [string, readonly string[], string])[] = [
  ['without --resume', [], 'refused already holds a run; go on with it by --resume, or choose another --out.'],
  [
    'another batch',
    ['--resume', '--batch', '8'],
    'The run in refused has --batch 6; a resumed run cannot change it to 8.',
  ],
  [
    'another seed',
    ['--resume', '--seed', '1'],
    'The run in refused has --seed 0; a resumed run cannot change it to 1.',
  ],
  [
    'another rate',
    ['--resume', '--lr', '0.1'],
    'The run in refused has --lr 0.001; a resumed run cannot change it to 0.1.',
  ],
  [
    'another model',
    ['--resume', '--model', 'SiT-S/2'],
    `The run in refused has --model ${JSON.stringify(MODEL)}; a resumed run cannot change it to "SiT-S/2".`,
  ],
  [
    'other data',
    ['--resume', '--data', 'elsewhere'],
    'The run in refused trains on data, not on elsewhere; resume it with --data data.',
  ],
  [
    'no run',
    ['--resume', '--out', 'nowhere'],
    'nowhere holds no run to resume: it has no config.json and no checkpoint in checkpoints/. Leave out --resume to begin one.',
  ],
]

test.each(REFUSED)('refused: %s', async (_, words, sentence) => {
  await copyRun('refused')
  expect(await program.repa(...train('refused', ...words))).toEqual({
    status: 1,
    signal: null,
    stdout: '',
    stderr: `repa train: ${sentence}\n`,
  })
  expect(await lasting('refused')).toEqual(await lasting('unbroken'))
  expect(await readdir(program.work)).not.toContain('nowhere')
})

test.each([
  [
    'config.json',
    '{"data":',
    /^repa train: damaged\/config\.json is not JSON: .*; restore it, or begin a new run\.\n$/,
  ],
  [
    'config.json',
    '{"data":"data","training":{"batchs":6}}',
    /^repa train: damaged\/config\.json: there is no setting "batchs" in training; did you mean "batch"\? Another version of repa-native wrote that, .*\n$/,
  ],
  [
    'checkpoints/0000040/state.json',
    '{}',
    /^repa train: damaged\/checkpoints\/0000040\/state\.json: format is missing: .*\n$/,
  ],
  [
    'checkpoints/0000040/ema.safetensors',
    'not tensors',
    /^repa train: damaged\/checkpoints\/0000040\/ema\.safetensors: .*\n$/,
  ],
])('a damaged %s (%j) is named in one sentence', async (file, content, sentence) => {
  const folder = await copyRun('damaged')
  await writeFile(join(folder, file), content)
  const { status, stdout, stderr } = await program.repa(...train('damaged', '--resume'))
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
  expect(stderr).toMatch(sentence)
})

describe.each<[how: string, signal: NodeJS.Signals, status: number | null]>([
  ['a kill', 'SIGKILL', null],
  ['Ctrl-C', 'SIGINT', 130],
])('a sampling after %s', (_, signal, status) => {
  test.each([1, 2])('by %d processes', async (processes) => {
    const words = (out: string) => [
      ...['sample', '--checkpoint', 'unbroken', '--out', out, '--num', '40', '--batch', '2', '--steps', '20'],
      ...['--npz', join(out, 'all.npz'), '--grid', join(out, 'grid.png'), '--processes', String(processes)],
    ]
    const [whole, out] = ['whole', 'broken'].map((name) => `${name}-${signal}-${processes}`)
    expect(await program.repa(...words(whole!))).toMatchObject({ status: 0 })
    const first = program.start(words(out!))
    const batches = async () => {
      const names = await readdir(join(program.work, out!, 'unfinished')).catch((): string[] => [])
      return names.filter((name) => /^\d+-\d+\.[0-9a-f]{8}$/.test(name))
    }
    while ((await batches()).length < 3) await until(first, () => true)
    first.child.kill(signal)
    const ended = await first.ended
    expect(ended).toMatchObject(status === null ? { signal } : { status })
    if (signal === 'SIGINT') expect(ended.stderr).toContain('stopped; the same call goes on after the images')
    // A process may outlive the one that was killed by a moment.
    for (let seen = -1; seen !== (await batches()).length; await pause(1000)) seen = (await batches()).length
    const there = 2 * (await batches()).length
    const second = await program.repa(...words(out!))
    expect(second.status).toBe(0)
    expect(second.stderr).toContain(`${there} of 40 images are there already`)
    expect(folderDigest(join(program.work, out!))).toEqual(folderDigest(join(program.work, whole!)))
  })
})
