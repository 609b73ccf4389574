/** `repa prepare --processes N`. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isRunning } from '../benchmark/is-running.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { freePort } from '../distributed/free-port.ts'
import { imagesFolder, sharedFolder } from '../shared-folder.ts'
import { childrenOf } from './children.ts'
import { writeNarrowTaesd } from './narrow-taesd.ts'
import { type Ended, Program, type Running } from './program.ts'
import { writeShapesZip } from './shapes-zip.ts'

/** Batches of eight: a few dozen. */
const IMAGES = 600

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)
const prepare = (out: string, ...words: string[]) => [
  ...['prepare', 'shapes.zip', '--out', out, '--size', '32', '--autoencoder', 'taesd_encoder.safetensors'],
  ...['--features', 'hog', '--flip', '--device', 'cpu', ...words],
]

beforeAll(async () => {
  program = await Program.build()
  await writeShapesZip(inWork('shapes.zip'), { perClass: IMAGES / 3, size: 32 })
  await writeNarrowTaesd(program.work)
  expect(await program.repa(...prepare('one', '--quiet'))).toMatchObject({ status: 0, stderr: '' })
})

afterAll(() => program[Symbol.asyncDispose]())

const without = (stderr: string) => stderr.replace(/^(images|latents|hog): .*\n/gm, '')

test.each([2, 3])('%d processes leave the files of one, and one speaks', async (size) => {
  const out = `shared-${size}`
  const { status, stdout, stderr } = await program.repa(...prepare(out, '--processes', String(size)))
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(without(stderr)).toMatch(
    new RegExp(
      `^The features of 600 images and their mirror images .* are free there\\.\\n${out}: 600 images of 32 x 32 in 3 classes; ` +
        'latents \\[8, 4, 4\\] by taesd; features of hog \\[2 x 2, 128\\]; mirror images\\n$',
    ),
  )
  expect(stderr.match(/^latents: 600\/600 images in .*$/gm)).toHaveLength(1)
  expect(folderDigest(inWork(out))).toEqual(folderDigest(inWork('one')))
})

test('processes that something else has started do too', async () => {
  const place = { MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(await freePort()), WORLD_SIZE: '2', REPA_THREADS: '1' }
  const words = prepare('launched', '--processes', '2', '--json')
  const ended = await Promise.all(['0', '1'].map((RANK) => program.start(words, { ...place, RANK }).ended))
  expect(ended.map(({ status, stderr }) => ({ status, stderr }))).toEqual(Array(2).fill({ status: 0, stderr: '' }))
  expect(JSON.parse(ended[0]!.stdout)).toMatchObject({ images: 600, flip: true, out: 'launched' })
  expect(ended[1]!.stdout).toBe('')
  expect(folderDigest(inWork('launched'))).toEqual(folderDigest(inWork('one')))
})

/** Images of a preparation that is under way whose latents are there. */
function latentsOf(out: string): number {
  const journal = inWork(out, 'prepare-journal.jsonl')
  if (!existsSync(journal)) return 0
  return Number(/"latents":(\d+)}\n$/.exec(readFileSync(journal, 'utf8'))?.[1] ?? 0)
}

test('ended in every way, and gone on with by other numbers of processes, they leave the files of one', async () => {
  const ends: readonly (readonly [
    processes: number,
    end: (leader: number, others: number[]) => void,
    Partial<Ended>,
  ])[] = [
    // A terminal's Ctrl-C, which all of them hear.
    [2, (leader, others) => kill([leader, ...others], 'SIGINT'), { status: 130, stderr: STOPPING }],
    [3, (leader) => kill([leader], 'SIGTERM'), { status: 130, stderr: STOPPING }],
    [
      3,
      (_, others) => kill([others[1]!], 'SIGKILL'),
      { status: 1, stderr: 'repa prepare: process 2 of 3 has ended (SIGKILL).\n' },
    ],
    [
      2,
      (_, others) => kill(others, 'SIGTERM'),
      { status: 130, stderr: 'repa prepare: another process was asked to stop; the same call goes on from there.\n' },
    ],
    [2, (leader) => kill([leader], 'SIGKILL'), { signal: 'SIGKILL', stderr: '' }],
  ]
  let before = 0
  for (const [processes, end, how] of ends) {
    const running: Running = program.start(prepare('ended', '--processes', String(processes)))
    await expect.poll(() => latentsOf('ended'), { interval: 1 }).toBeGreaterThan(before)
    const leader = running.child.pid!
    const others = childrenOf(leader)
    end(leader, others)
    const ended = await running.ended
    expect({ ...ended, stderr: without(ended.stderr) }).toMatchObject(how)
    for (const other of others) await expect.poll(() => isRunning(other)).toBe(false)
    // What was known to be done is not made again: the next call begins there.
    before = latentsOf('ended')
    expect(before).toBeGreaterThan(0)
    expect(before).toBeLessThan(IMAGES)
  }
  const last = await program.repa(...prepare('ended'))
  expect(last.status).toBe(0)
  expect(last.stderr).not.toMatch(/^images/m)
  expect(folderDigest(inWork('ended'))).toEqual(folderDigest(inWork('one')))
})

const STOPPING = 'Stopping; a second signal stops at once, without saving.\n'

function kill(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) process.kill(pid, signal)
}

test.each([
  [
    ['prepare', 'shapes.zip', '--out', 'refused', '--processes', '2'],
    2,
    '--processes 2 would share the encoding, and nothing is encoded without --autoencoder or --features; leave it out: images are made on all cores.',
  ],
  [
    prepare('refused', '--processes', '2', '--device', 'cuda:1'),
    1,
    '2 processes have a GPU each, and --device cuda:1 is one; take --device cuda.',
  ],
  [
    prepare('refused', '--processes', '3', '--autoencoder', 'missing.safetensors'),
    1,
    'There is no autoencoder missing.safetensors: expected a file of weights or a folder with one.',
  ],
])('%j is refused in a sentence', async (words, status, message) => {
  const ended = await program.repa(...words)
  expect(ended).toMatchObject({ status, stdout: '', stderr: `repa prepare: ${message}\n` })
  expect(existsSync(inWork('refused'))).toBe(false)
})

const taesd = join(sharedFolder, 'weights/taesd_encoder.safetensors')
const photos = join(imagesFolder, 'trashnet/photos30-384x512.zip')
const haveTaesd = existsSync(taesd) && existsSync(photos)

describe.skipIf(!haveTaesd)(`latents of photos by TAESD${haveTaesd ? '' : ' (skipped: no weights and photos)'}`, () => {
  test('by one, two and three processes', async () => {
    const digests = []
    for (const processes of ['1', '2', '3']) {
      const words = ['prepare', photos, '--out', `photos-${processes}`, '--size', '64', '--autoencoder', taesd]
      const ended = await program.repa(...words, '--flip', '--processes', processes, '--device', 'cpu', '--quiet')
      expect(ended).toMatchObject({ status: 0, stderr: '' })
      digests.push(folderDigest(inWork(`photos-${processes}`)))
    }
    expect(Object.keys(digests[0]!)).toHaveLength(3 * 30 + 3)
    expect(digests[1]).toEqual(digests[0])
    expect(digests[2]).toEqual(digests[0])
  })
})
