/** Commands that start processes beside their own. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { Loader } from '../../src/data/loader.ts'
import { isRunning } from '../benchmark/is-running.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { freePort } from '../distributed/free-port.ts'
import { childrenOf } from './children.ts'
import { Program, until } from './program.ts'
import { writeShapesZip } from './shapes-zip.ts'

const SETTINGS = {
  model: { kind: 'SiT', depth: 2, hidden: 64, heads: 2, patch: 4 },
  encoders: [{ name: 'hog' }],
  batch: 6,
  learningRate: 1e-3,
  emaDecay: 0.9,
  projectorWidth: 32,
  checkpointEvery: 4,
  sampleEvery: 8,
  samples: { count: 4, steps: 2, guidanceScale: 2 },
}
const train = (out: string, steps: number, ...words: string[]) => [
  ...['train', '--data', 'data', '--out', out, '--config', 'settings.json', '--steps', String(steps), '--json'],
  ...['--device', 'cpu', ...words],
]

let program: Program

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(join(program.work, 'shapes.zip'), { perClass: 10, size: 16 })
  await writeFile(join(program.work, 'settings.json'), JSON.stringify(SETTINGS))
  const prepared = await program.repa('prepare', 'shapes.zip', '--out', 'data', '--size', '16', '--flip', '--quiet')
  expect(prepared).toMatchObject({ status: 0, stderr: '' })
})

afterAll(() => program[Symbol.asyncDispose]())

async function metrics(out: string) {
  const lines = (await readFile(join(program.work, out, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as { step: number; loss: number; gradNorm: number })
}

const left = async (out: string) => ({
  names: (await readdir(join(program.work, out))).filter((name) => !name.startsWith('events.')).sort(),
  checkpoints: folderDigest(join(program.work, out, 'checkpoints')),
  samples: folderDigest(join(program.work, out, 'samples')),
})

test('two processes leave the run of one, up to rounding, and go on where they were', async () => {
  const [alone, shared] = [
    await program.repa(...train('alone', 8)),
    await program.repa(...train('shared', 8, '--processes', '2')),
  ]
  expect(alone).toMatchObject({ status: 0, stderr: '' })
  expect(shared).toMatchObject({ status: 0, stderr: '' })
  const [one, two] = [await metrics('alone'), await metrics('shared')]
  expect(two.map(({ step }) => step)).toEqual(one.map(({ step }) => step))
  // The first step's error is of summation: some hundred roundings. Later ones differ by what the updates make of it.
  expect(Math.abs(two[0]!.loss / one[0]!.loss - 1)).toBeLessThan(1e-5)
  expect(Math.abs(two[0]!.gradNorm / one[0]!.gradNorm - 1)).toBeLessThan(1e-4)
  expect((await left('shared')).names).toEqual((await left('alone')).names)
  expect(Object.keys((await left('shared')).checkpoints)).toEqual(Object.keys((await left('alone')).checkpoints))

  // Half of it, and the rest in another call: the bits of the unbroken one.
  expect(await program.repa(...train('halves', 4, '--processes', '2'))).toMatchObject({ status: 0, stderr: '' })
  const resumed = await program.repa(
    ...[
      'train',
      '--data',
      'data',
      '--out',
      'halves',
      '--resume',
      '--steps',
      '8',
      '--processes',
      '2',
      '--device',
      'cpu',
    ],
    '--quiet',
  )
  expect(resumed).toMatchObject({ status: 0, stderr: '' })
  const unbroken = await left('shared')
  const halves = await left('halves')
  expect(halves.samples['0000008.png']).toBe(unbroken.samples['0000008.png'])
  for (const file of ['model', 'ema', 'optimizer']) {
    const name = `0000008/${file}.safetensors`
    expect([name, halves.checkpoints[name]]).toEqual([name, unbroken.checkpoints[name]])
  }
})

test.each([
  ['pixels', 'data', 7, 3],
  ['latents', 'latents', 3, 2],
  ['fewer images than processes', 'latents', 2, 3],
])('images of %s that processes share are those of one', async (_, data, count, processes) => {
  await tinyDataset(12, join(program.work, 'latents'))
  const run = `run-${data}-${count}`
  const words = ['--config', 'plain.json', '--steps', '2', '--device', 'cpu', '--quiet']
  await writeFile(join(program.work, 'plain.json'), JSON.stringify({ ...SETTINGS, encoders: [], sampleEvery: 100 }))
  expect((await program.repa('train', '--data', data, '--out', run, ...words)).status).toBe(0)
  const sample = (out: string, ...more: string[]) =>
    program.repa(
      ...['sample', '--checkpoint', run, '--out', `${run}-${out}`, '--num', String(count), '--steps', '3'],
      ...['--mode', 'sde', '--batch', '2', '--npz', `${run}-${out}/all.npz`, '--grid', `${run}-${out}/grid.png`],
      ...['--device', 'cpu', '--quiet', ...more],
    )
  expect((await sample('one')).status).toBe(0)
  expect((await sample('shared', '--processes', String(processes))).status).toBe(0)
  const [one, shared] = [
    folderDigest(join(program.work, `${run}-one`)),
    folderDigest(join(program.work, `${run}-shared`)),
  ]
  // The npz, the grid, and what says how each of the folder and the npz was made; and the latents.
  expect(Object.keys(one)).toHaveLength(count + (data === 'data' ? 4 : 5))
  expect(shared).toEqual(one)
})

test('Ctrl-C in a terminal, which every process hears, saves one step of all and leaves nobody behind', async () => {
  const running = program.start(train('stopped', 100_000, '--processes', '2'))
  await until(running, ({ stdout }) => /"index":5,/.test(stdout))
  const [other] = childrenOf(running.child.pid!)
  running.child.kill('SIGINT')
  process.kill(other!, 'SIGINT')
  expect(await running.ended).toMatchObject({ status: 130 })
  const made = (await metrics('stopped')).length
  const checkpoints = await readdir(join(program.work, 'stopped/checkpoints'))
  expect(checkpoints.sort().at(-1)).toBe(String(made).padStart(7, '0'))
  expect(() => process.kill(other!, 0)).toThrow('ESRCH')
})

test('a signal that only the other process hears stops both, which a script can see by the status', async () => {
  const running = program.start(train('stopped-by-1', 100_000, '--processes', '2'))
  await until(running, ({ stdout }) => /"index":5,/.test(stdout))
  const [other] = childrenOf(running.child.pid!)
  process.kill(other!, 'SIGTERM')
  const { status, stdout, stderr } = await running.ended
  expect({ status, stderr }).toEqual({ status: 130, stderr: 'repa train: another process was asked to stop.\n' })
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({ done: false })
  expect(() => process.kill(other!, 0)).toThrow('ESRCH')
})

test('and so it is where they sample', async () => {
  expect(await program.repa(...train('to-sample', 1, '--quiet'))).toMatchObject({ status: 0 })
  const running = program.start([
    ...['sample', '--checkpoint', 'to-sample', '--out', 'unfinished', '--num', '100000', '--steps', '10'],
    ...['--batch', '2', '--processes', '2', '--device', 'cpu', '--quiet'],
  ])
  // The first image of the other's half.
  const image = join(program.work, 'unfinished/050000.png')
  await until(running, () => existsSync(image))
  process.kill(childrenOf(running.child.pid!)[0]!, 'SIGTERM')
  expect(await running.ended).toMatchObject({
    status: 130,
    stdout: '',
    stderr: 'repa sample: process 1 of 2: stopped by SIGTERM\n',
  })
})

test.each([0, 1])(
  'where process %d cannot read its data, all save the steps before, and go on from there',
  async (rank) => {
    const BROKEN_STEP = 3
    const [data, out] = [`torn-${rank}`, `of-torn-${rank}`]
    await cp(join(program.work, 'data'), join(program.work, data), { recursive: true })
    const dataset = await Dataset.open(join(program.work, data))
    const loader = new Loader(dataset, { batch: SETTINGS.batch, seed: 0, flip: true, images: true })
    const own = (SETTINGS.batch / 2) * rank
    const index = loader.indicesOf(BROKEN_STEP)[own]!
    const image = join(data, 'images', `00000/img${String(index).padStart(8, '0')}.png`)
    const bytes = await readFile(join(program.work, image))
    await writeFile(join(program.work, image), 'torn')
    // Without a checkpoint in between, which would be the run's own.
    const words = train(out, 8, '--processes', '2', '--checkpoint-every', '8').map((word) =>
      word === 'data' ? data : word,
    )
    const { status, stderr } = await program.repa(...words)
    expect(status).toBe(1)
    const checkpoint = `${out}/checkpoints/${String(BROKEN_STEP).padStart(7, '0')}`
    const [saved, why] = stderr.trimEnd().split('\n')
    expect(saved).toContain(`The steps until the failure are saved, ${checkpoint}; --resume goes on from there.`)
    expect(why).toContain(`repa train: ${rank === 0 ? '' : 'process 1 of 2: '}`)
    expect(why).toContain(image)
    expect(await readdir(join(program.work, out, 'checkpoints'))).toEqual([checkpoint.split('/').at(-1)])
    expect((await metrics(out)).map(({ step }) => step)).toEqual([1, 2, 3])

    await writeFile(join(program.work, image), bytes)
    expect(await program.repa(...words, '--resume')).toMatchObject({ status: 0, stderr: '' })
    expect((await metrics(out)).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    const unbroken = train(`un${out}`, 8, '--processes', '2', '--checkpoint-every', '8')
    expect(await program.repa(...unbroken)).toMatchObject({ status: 0, stderr: '' })
    const last = (folder: string) => folderDigest(join(program.work, folder, 'checkpoints/0000008'))
    // The state names the data's folder.
    const { 'state.json': state, ...tensors } = last(out)
    expect(state).toBeDefined()
    expect(last(`un${out}`)).toMatchObject(tensors)
  },
)

test.each(['SIGKILL', 'SIGABRT'] as const)(
  'a process that ends by %s ends the command, which says so',
  async (signal) => {
    const running = program.start(train(`lost-${signal}`, 100_000, '--processes', '3'))
    await until(running, ({ stdout }) => /"index":5,/.test(stdout))
    const others = childrenOf(running.child.pid!)
    process.kill(others[1]!, signal)
    const { status, stderr } = await running.ended
    expect({ status, stderr }).toEqual({ status: 1, stderr: `repa train: process 2 of 3 has ended (${signal}).\n` })
    for (const other of others) expect(() => process.kill(other, 0)).toThrow('ESRCH')
  },
)

/** What processes of this machine share memory by, until all have opened it. */
const sharedMemory = async () => (await readdir('/dev/shm')).filter((name) => name.startsWith('repa-native-'))

test.each(['a process', 'the leader'])('%s that is killed before all have come leaves nothing behind', async (who) => {
  const before = await sharedMemory()
  const running = program.start(train(`early-${who}`, 100_000, '--processes', '2'))
  await expect.poll(() => childrenOf(running.child.pid!).filter((pid) => pid > 0), { interval: 1 }).toHaveLength(1)
  const [other] = childrenOf(running.child.pid!)
  process.kill(who === 'the leader' ? running.child.pid! : other!, 'SIGKILL')
  await running.ended
  await expect.poll(() => isRunning(other!), { timeout: 20_000 }).toBe(false)
  // Other tests may share some meanwhile, but not for long.
  await expect.poll(async () => (await sharedMemory()).filter((name) => !before.includes(name))).toEqual([])
})

/** What processes say that something else has started, each with words of its own. */
async function startedBy(env: Record<string, string>, ...words: string[][]) {
  const place = { MASTER_ADDR: '127.0.0.1', WORLD_SIZE: String(words.length), REPA_THREADS: '1', ...env }
  const all = words.map((own, rank) => program.start(own, { ...place, RANK: String(rank) }).ended)
  return (await Promise.all(all)).map(({ status, stderr }) => ({ status, stderr }))
}

test('processes of other settings are refused before the first step', async () => {
  const port = await freePort()
  const words = train('unlike', 8, '--processes', '2')
  const why =
    'it has emaDecay 0.5 where process 0 has 0.9; start all processes with the same command on the same files.'
  expect(await startedBy({ MASTER_PORT: String(port) }, words, [...words, '--ema-decay', '0.5'])).toEqual([
    { status: 1, stderr: `repa train: process 1 of 2: ${why}\n` },
    { status: 1, stderr: `repa train: ${why}\n` },
  ])
  await expect(readdir(join(program.work, 'unlike'))).rejects.toThrow('ENOENT')
})

test('and processes that sample otherwise, before the first image', async () => {
  expect(await program.repa(...train('sampled', 1))).toMatchObject({ status: 0, stderr: '' })
  const words = ['sample', '--checkpoint', 'sampled', '--out', 'mixed', '--num', '4', '--steps', '2', '--quiet']
  const together = [...words, '--processes', '2', '--device', 'cpu']
  const why = 'it has seed 1 where process 0 has 0; start all processes with the same command on the same files.'
  const port = await freePort()
  expect(await startedBy({ MASTER_PORT: String(port) }, together, [...together, '--seed', '1'])).toEqual([
    { status: 1, stderr: expect.stringContaining(`repa sample: process 1 of 2: ${why}\n`) },
    { status: 1, stderr: expect.stringContaining(`repa sample: ${why}\n`) },
  ])
  expect(await readdir(join(program.work, 'mixed'))).toEqual([])
})

test('a port that is taken is named', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const words = train('taken', 8, '--processes', '2')
  const ended = await startedBy({ MASTER_PORT: String(port) }, words, words)
  server.close()
  expect(ended).toEqual([
    {
      status: 1,
      stderr: `repa train: Process 0 cannot listen at port ${port} (listen EADDRINUSE: address already in use :::${port}); set MASTER_PORT to another one for all of them.\n`,
    },
    {
      status: 1,
      // What it has said already may not have been read: then the system has a reason of its own.
      stderr: expect.stringMatching(
        `^repa train: process 0 has ended before all had come, or what listens at 127.0.0.1:${port} is of another run(: .*)?\\.\n$`,
      ),
    },
  ])
})

test('when the leader is killed, the others end by themselves', async () => {
  const running = program.start(train('headless', 100_000, '--processes', '2'))
  await until(running, ({ stdout }) => /"index":5,/.test(stdout))
  const [other] = childrenOf(running.child.pid!)
  running.child.kill('SIGKILL')
  await running.ended
  await expect.poll(() => isRunning(other!)).toBe(false)
})

test.each([
  [['--processes', '4'], {}, 'A batch of 6 cannot be cut into equal passes by 4 processes; take a multiple of 4.'],
  [
    ['--processes', '2', '--accumulate', '2'],
    {},
    'A batch of 6 cannot be cut into equal passes by 2 processes and accumulate 2; take a multiple of 4.',
  ],
  [
    ['--processes', '2', '--dispersive-weight', '1'],
    {},
    'The dispersive loss is of all samples of a batch at once, and 2 processes would show it 3 of 6; leave one of the two out.',
  ],
  [
    [],
    { RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'localhost' },
    'torchrun has started 2 processes of this, and --processes 1 says otherwise; give --processes 2 to all of them, or start one.',
  ],
])('%j %j is refused in a sentence', async (words, env, message) => {
  const { status, stderr } = await program.start(train('refused', 8, ...words), env).ended
  expect({ status, stderr }).toEqual({ status: 1, stderr: `repa train: ${message}\n` })
})
