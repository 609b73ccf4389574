/** A run whose newest checkpoint somebody has damaged: the error says how to go on, and that works. */
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { pretrainEncoder } from '../../src/pretraining/run.ts'
import { checkpointBefore, newestCheckpoint, tidyCheckpoints } from '../../src/training/checkpoint-files.ts'
import { train } from '../../src/training/run.ts'
import { together } from '../distributed/together.ts'
import { stripedDataset } from '../pretraining/striped-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

interface Call {
  readonly data: string
  readonly out: string
  readonly resume: boolean
}

const COMMON = { batch: 4, steps: 4, checkpointEvery: 2 }
const MODEL = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const
const configuration = { ...COMMON, model: MODEL, samples: { count: 1, steps: 1 } }
const COMMANDS: readonly (readonly [command: string, run: (call: Call) => Promise<{ readonly step: number }>])[] = [
  ['train', (call) => train({ ...call, device: 'cpu', configuration: call.resume ? {} : configuration })],
  [
    'pretrain-encoder',
    (call) =>
      pretrainEncoder({
        ...call,
        device: 'cpu',
        configuration: call.resume ? {} : { ...COMMON, hidden: 24, depth: 1, heads: 3 },
      }),
  ],
]

/** Gives a file of JSON other values, as another version might have written it. */
function change(file: string, values: object): void {
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...values }))
}

/** What is no damage: the checkpoint is whole, and advice to remove it would cost it. */
const WHOLE: readonly (readonly [what: string, change: (checkpoint: string) => void, words: string])[] = [
  [
    'another format',
    (path) => change(join(path, 'state.json'), { format: 2, step: 'x' }),
    'state.json has format 2, and this version of repa-native reads format 1: another version wrote it; update repa-native.',
  ],
  [
    'a field that nobody knows yet',
    (path) => change(join(path, 'state.json'), { newThing: true }),
    'state.json: there is no setting "newThing". Another version of repa-native wrote that, or somebody by hand; ' +
      'go on with that version, or update this one.',
  ],
  [
    'links that lead in a circle',
    (path) => {
      rmSync(join(path, 'model.safetensors'))
      symlinkSync('model.safetensors', join(path, 'model.safetensors'))
    },
    'model.safetensors: its symbolic links lead in a circle',
  ],
]

const DAMAGES: readonly (readonly [what: string, damage: (checkpoint: string) => void, words: string])[] = [
  ['a model that is cut off', (path) => truncateSync(join(path, 'model.safetensors'), 4000), 'model.safetensors: '],
  [
    'no model',
    (path) => rmSync(join(path, 'model.safetensors')),
    'model.safetensors: there is no such file or folder; check the path',
  ],
  ['half of the moments', (path) => truncateSync(join(path, 'optimizer.safetensors'), 9), 'optimizer.safetensors: '],
  ['an empty state.json', (path) => truncateSync(join(path, 'state.json')), 'state.json is not JSON'],
  ['a state of nothing', (path) => writeFileSync(join(path, 'state.json'), '{}'), 'state.json: '],
  ['a step that cannot be', (path) => change(join(path, 'state.json'), { step: -1 }), 'state.json: step is -1: '],
  ['no state.json', (path) => rmSync(join(path, 'state.json')), 'is not a checkpoint: it has no state.json'],
  [
    'a file in its place',
    (path) => {
      rmSync(path, { recursive: true })
      writeFileSync(path, '')
    },
    'state.json: a part of the path is a file, and a folder is wanted (ENOTDIR)',
  ],
  [
    'a folder for a state.json',
    (path) => {
      rmSync(join(path, 'state.json'))
      mkdirSync(join(path, 'state.json'))
    },
    'state.json: it is a folder, and a file is wanted (EISDIR)',
  ],
]

describe.each(COMMANDS)('%s', (_, run) => {
  const finished = async () => {
    const call = { data: stripedDataset(), out: join(temporaryFolder(), 'run') }
    await run({ ...call, resume: false })
    return call
  }

  test.each(DAMAGES)('with %s says what to remove, and then goes on', async (_, damage, words) => {
    const { data, out } = await finished()
    const [older, newest] = ['0000002', '0000004'].map((name) => join(out, 'checkpoints', name))
    damage(newest!)
    const error = await run({ data, out, resume: true }).catch((error: Error) => error)
    expect(error).toBeInstanceOf(Error)
    const { message } = error as Error
    expect(message).toContain(words)
    expect(message.endsWith(`. Remove ${newest} to go on from step 2, ${older}.`)).toBe(true)

    rmSync(newest!, { recursive: true })
    expect(await run({ data, out, resume: true })).toMatchObject({ step: 4 })
  })

  test.each(WHOLE)('with %s is told so, and not to remove it', async (_, change, words) => {
    const { data, out } = await finished()
    change(join(out, 'checkpoints/0000004'))
    const error = await run({ data, out, resume: true }).catch((error: Error) => error)
    expect((error as Error).message).toContain(words)
    expect((error as Error).message).not.toContain('Remove')
  })

  test.each(['EACCES', 'EIO', 'EMFILE', 'ESTALE'])('that the system refuses to read by %s is whole', async (code) => {
    const { data, out } = await finished()
    const handle = await open(join(out, 'config.json'))
    const files = Object.getPrototypeOf(handle) as typeof handle
    await handle.close()
    const refused = vi.spyOn(files, 'read').mockRejectedValue(Object.assign(new Error(`${code}: refused`), { code }))
    const error = await run({ data, out, resume: true }).catch((error: Error) => error)
    refused.mockRestore()
    expect((error as Error).message).toMatch(
      new RegExp(`^Cannot read .*0000004/model\\.safetensors: .* \\(${code}\\)\\.$`),
    )
    expect(await run({ data, out, resume: true })).toMatchObject({ step: 4 })
  })

  test('whose config.json has a setting that nobody knows yet is told so', async () => {
    const { data, out } = await finished()
    change(join(out, 'config.json'), { newThing: true })
    await expect(run({ data, out, resume: true })).rejects.toThrow(
      'config.json: there is no setting "newThing". Another version of repa-native wrote that, or somebody by hand; ' +
        'go on with that version, or update this one.',
    )
  })

  test('with nothing before it names the damage alone', async () => {
    const { data, out } = await finished()
    rmSync(join(out, 'checkpoints/0000002'), { recursive: true })
    const state = join(out, 'checkpoints/0000004/state.json')
    truncateSync(state)
    await expect(run({ data, out, resume: true })).rejects.toThrow(
      `${state} is not JSON: Unexpected end of JSON input.`,
    )
  })
})

test('a process that is lost while others read a checkpoint is no reason to remove it', async () => {
  const [data, out] = [stripedDataset(), join(temporaryFolder(), 'run')]
  await train({ data, out, device: 'cpu', configuration })
  const [leader] = await together(2, async (world) => {
    if (world.rank === 1) throw new Error('It has no memory left.')
    return train({ data, out, world, device: 'cpu', configuration: {}, resume: true })
  })
  expect(leader).toMatchObject({ reason: { message: 'process 1 of 2: It has no memory left.' } })
})

describe('a checkpoint that was moved aside for its successor', () => {
  test.each([
    ['gets its name back', ['state.json', 'model.safetensors'], ['0000004']],
    ['is removed where it is half of one', ['model.safetensors'], ['0000002']],
  ])('%s', async (_, files, left) => {
    const folder = temporaryFolder()
    for (const name of ['0000002', '0000004.replaced-7']) mkdirSync(join(folder, name))
    writeFileSync(join(folder, '0000002/state.json'), '{}')
    for (const file of files) writeFileSync(join(folder, '0000004.replaced-7', file), '')
    // Before somebody tidies up, too.
    const found = await newestCheckpoint(folder)
    expect(found?.startsWith(join(folder, left.at(-1)!))).toBe(true)
    await tidyCheckpoints(folder)
    expect(readdirSync(folder)).toEqual([...new Set(['0000002', ...left])])
  })

  test('is none to go on from that is before another', async () => {
    const folder = temporaryFolder()
    for (const name of ['0000001', '0000002', '0000003.replaced-7', '0000003.partial-7', '0000004']) {
      mkdirSync(join(folder, name))
      if (name !== '0000002') writeFileSync(join(folder, name, 'state.json'), '{}')
    }
    expect(await checkpointBefore(join(folder, '0000004'))).toEqual({ step: 1, path: join(folder, '0000001') })
  })

  test('goes where that is there, as after a kill before it was removed', async () => {
    const folder = temporaryFolder()
    const names = ['0000004', '0000004.replaced-7']
    for (const name of names) {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'state.json'), name)
    }
    expect(await newestCheckpoint(folder)).toBe(join(folder, '0000004'))
    await tidyCheckpoints(folder)
    expect(readdirSync(folder)).toEqual(['0000004'])
    expect(readFileSync(join(folder, '0000004/state.json'), 'utf8')).toBe('0000004')
  })
})
