/** A sampling that was stopped goes on with the same call, and ends with the files of an unbroken one. */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { type SampleToFolderOptions, sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { FileAccessError } from '../../src/formats/errors.ts'
import { NpzFile } from '../../src/formats/npz.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { SiT } from '../../src/models/sit.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { elementAt } from '../../src/tensor/host-tensor.ts'
import { together } from '../distributed/together.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'
import { modelOf } from '../training/tiny-trainer.ts'

const COUNT = 7
const BATCH = 2

type Options = Partial<SampleToFolderOptions>

/** Of what a user would see: a file's name and its bytes' digest. */
async function filesOf(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).sort()
  const read = names.map(async (name) => {
    const bytes = await readFile(join(folder, name))
    return [name, createHash('sha256').update(bytes).digest('hex')] as const
  })
  return Object.fromEntries(await Promise.all(read))
}

async function arrayOf(file: string, name: string): Promise<number[]> {
  await using npz = await NpzFile.open(file)
  const tensor = await npz.read(name)
  return Array.from({ length: elementCount(tensor.shape) }, (_, i) => elementAt(tensor, i))
}

/** The file that says that a batch is whole. */
async function markerOf(folder: string, range: string): Promise<string> {
  const names = await readdir(join(folder, 'unfinished'))
  return join(folder, 'unfinished', names.find((name) => name.startsWith(`${range}.`))!)
}

interface Call {
  /** The images at which it is stopped. */
  readonly stopAt?: number
  readonly world?: World
  readonly options?: Options
}

/** How a call went. */
interface Outcome {
  readonly ended: boolean
  /** Images that were there. */
  readonly there: number
  readonly notices: readonly string[]
}

async function sample(
  model: AnyTransformer,
  folder: string,
  { stopAt = Number.POSITIVE_INFINITY, world = ALONE, options = {} }: Call = {},
): Promise<Outcome> {
  const stop = new AbortController()
  let there = 0
  const notices: string[] = []
  const sampled = sampleToFolder(model, {
    mode: 'sde',
    steps: 3,
    guidance: { scale: 1.5, low: 0, high: 1 },
    seed: 4,
    batch: BATCH,
    count: COUNT,
    folder,
    world,
    signal: stop.signal,
    onProgress: (done: number) => done >= stopAt && stop.abort(),
    onContinue: (images: number) => {
      there = images
    },
    onNotice: (sentence: string) => notices.push(sentence),
    ...options,
  } as SampleToFolderOptions)
  const ended = await sampled.then(
    () => true,
    (error: unknown) => {
      if (!stop.signal.aborted) throw error
      return false
    },
  )
  return { ended, there, notices }
}

const STOPPED: Outcome = { ended: false, there: 0, notices: [] }

const pixelModel = () =>
  SiT.create({ depth: 1, hidden: 16, heads: 1, patch: 2 }, { classes: 3, channels: 3, inputSize: [4, 6] })

function autoencoder(): StableDiffusionAutoencoder {
  const config = autoencoderKLConfigSchema.parse({ blockChannels: [8, 16], layersPerBlock: 1, normGroups: 4 })
  return new StableDiffusionAutoencoder(AutoencoderKL.fromConfig(config, 'cpu'), { name: 'kl', device: 'cpu' })
}

const files = (folder: string): Options => ({ npz: join(folder, 'all.npz'), grid: join(folder, 'grid.png') })

const KINDS: readonly [what: string, model: () => AnyTransformer, options: (folder: string) => Options][] = [
  ['latents, with an npz and a grid', () => modelOf(), files],
  ['latents alone', () => modelOf(), () => ({})],
  ['pixels', pixelModel, () => ({})],
  ['pixels, with a grid of some', pixelModel, (folder) => ({ grid: join(folder, 'grid.png'), gridCount: 3 })],
  ['decoded latents', () => modelOf(), (folder) => ({ ...files(folder), autoencoder: autoencoder() })],
  ['decoded latents, kept too', () => modelOf(), () => ({ autoencoder: autoencoder(), latents: true })],
  ['a DiT', () => modelOf({ kind: 'DiT' }), () => ({ mode: 'ddpm', steps: 4 })],
  [
    'text',
    () => modelOf({ text: true }),
    () => ({
      prompts: { captions: ['a', 'b', 'c'], encoder: new TableCaptionEncoder({ tokens: 5, width: 20, device: 'cpu' }) },
    }),
  ],
]

describe.each(KINDS)('of %s', (_, modelWith, optionsFor) => {
  test.each([
    ['within the first batch', 1, 0],
    ['within the third batch', 5, 4],
    ['within the last batch', 6.5, 6],
  ])('stopped %s', async (_, stopAt, there) => {
    const [unbroken, folder] = [temporaryFolder(), temporaryFolder()]
    using model = modelWith()
    await sample(model, unbroken, { options: optionsFor(unbroken) })
    expect(await sample(model, folder, { stopAt, options: optionsFor(folder) })).toEqual(STOPPED)
    expect(await sample(model, folder, { options: optionsFor(folder) })).toEqual({ ended: true, there, notices: [] })
    expect(await filesOf(folder)).toEqual(await filesOf(unbroken))
  })
})

test('stopped again and again', async () => {
  const [unbroken, folder] = [temporaryFolder(), temporaryFolder()]
  using model = modelOf()
  await sample(model, unbroken)
  const outcomes: Outcome[] = []
  for (const stopAt of [3, 5, 6.5, 100]) outcomes.push(await sample(model, folder, { stopAt }))
  expect(outcomes.map(({ ended, there }) => [ended, there])).toEqual([
    [false, 0],
    [false, 2],
    [false, 4],
    [true, 6],
  ])
  expect(await filesOf(folder)).toEqual(await filesOf(unbroken))
})

test.each<[what: string, from: number, to: number]>([
  ['by as many processes', 2, 2],
  ['by fewer processes', 2, 1],
  ['by more processes', 1, 3],
])('what one process or several have begun is ended %s', async (_, from, to) => {
  const [unbroken, folder] = [temporaryFolder(), temporaryFolder()]
  const call = async (size: number, where: string, stopAt?: number) => {
    const ended = await together(size, async (world) => {
      using model = modelOf()
      return await sample(model, where, { world, options: files(where), ...(stopAt !== undefined && { stopAt }) })
    })
    return ended.map((result) => (result.status === 'fulfilled' ? result.value : String(result.reason)))
  }
  await call(1, unbroken)
  await call(from, folder, 5)
  const outcomes = await call(to, folder)
  expect(outcomes).toEqual(Array(to).fill({ ended: true, there: expect.any(Number), notices: [] }))
  expect(Object.keys(await filesOf(folder))).toEqual(Object.keys(await filesOf(unbroken)))
  for (const [file, array, bound] of [
    ['all.npz', 'arr_0', 1],
    // Sums of other batches are rounded otherwise: some units in the last place of numbers about 1.
    ['latents.npz', 'latents', 1e-5],
  ] as const) {
    const [ours, theirs] = await Promise.all([folder, unbroken].map((where) => arrayOf(join(where, file), array)))
    expect(Math.max(...ours!.map((value, i) => Math.abs(value - theirs![i]!)))).toBeLessThanOrEqual(bound)
  }
  const [grid, whole] = await Promise.all(
    [folder, unbroken].map(async (where) => {
      const path = join(where, 'grid.png')
      return (await decodeImage(await readFile(path), path)).data
    }),
  )
  expect(grid!.filter((value, i) => Math.abs(value - whole![i]!) > 1)).toHaveLength(0)
})

test('other batches go on after what is there', async () => {
  const folder = temporaryFolder()
  using model = modelOf()
  await sample(model, folder, { stopAt: 5 })
  const before = await filesOf(join(folder, 'unfinished'))
  expect(Object.keys(before).map((name) => name.replace(/\.[0-9a-f]{8}$/, ''))).toEqual([
    '000000-000001',
    '000002-000003',
    'repa-sampling.json',
  ])
  expect(await sample(model, folder, { options: { batch: 5 } })).toEqual({ ended: true, there: 4, notices: [] })
})

test('an npz that is asked for only now is of all images', async () => {
  const [unbroken, folder] = [temporaryFolder(), temporaryFolder()]
  using model = modelOf()
  await sample(model, unbroken, { options: files(unbroken) })
  await sample(model, folder, { stopAt: 5 })
  expect((await sample(model, folder, { options: files(folder) })).there).toBe(4)
  expect(await filesOf(folder)).toEqual(await filesOf(unbroken))
})

/** What is changed before the call is repeated, the images that are taken over then, and why no more. */
const CHANGES: readonly [
  what: string,
  change: (folder: string, model: AnyTransformer) => Promise<Options>,
  there: number,
  difference?: string,
][] = [
  ['nothing', async () => ({}), 4],
  ['the seed', async () => ({ seed: 5 }), 0, 'seed 4, not 5'],
  ['the steps', async () => ({ steps: 4 }), 0, 'steps 3, not 4'],
  ['the images', async () => ({ count: COUNT + 1 }), 0, 'images 7, not 8'],
  ['the classes', async () => ({ classes: [1] }), 0, 'classes none, not [1]'],
  ['the guidance', async () => ({ guidance: { scale: 2, low: 0, high: 1 } }), 0, 'guidanceScale 1.5, not 2'],
  ['whether latents are kept', async () => ({ latents: false }), 0, 'latents true, not false'],
  [
    'the weights',
    async (_, model) => {
      model.initialise(9)
      return {}
    },
    0,
    'other weights',
  ],
  [
    'that an image is gone',
    async (folder) => {
      await rm(join(folder, '000001.png'))
      return {}
    },
    2,
  ],
  [
    'that the latents of a batch are half there',
    async (folder) => {
      await truncate(await markerOf(folder, '000002-000003'), 12)
      return {}
    },
    2,
  ],
  [
    'that another batch claims images of the first',
    async (folder) => {
      const first = await markerOf(folder, '000000-000001')
      await writeFile(first.replace('000000-000001', '000001-000002'), await readFile(first))
      return {}
    },
    4,
  ],
  [
    'that an image is empty, as after a power cut',
    async (folder) => {
      await truncate(join(folder, '000003.png'))
      return {}
    },
    2,
  ],
  [
    'that a process of another call has said that a batch is whole',
    async (folder) => {
      await writeFile(join(folder, 'unfinished', '000004-000005.0123abcd'), '')
      for (const name of ['000004.png', '000005.png']) {
        await writeFile(join(folder, name), await readFile(join(folder, '000000.png')))
      }
      return {}
    },
    4,
  ],
  [
    'that captions were written, and the record, and no more',
    async (folder) => {
      await writeFile(join(folder, 'sampling.json'), '{}')
      await writeFile(join(folder, 'prompts.txt'), 'a\n')
      return {}
    },
    4,
  ],
  [
    'that the settings are torn',
    async (folder) => {
      await truncate(join(folder, 'unfinished', 'repa-sampling.json'), 12)
      return {}
    },
    0,
    'settings that cannot be read',
  ],
  [
    'that the settings are gone',
    async (folder) => {
      await rm(join(folder, 'unfinished', 'repa-sampling.json'))
      return {}
    },
    0,
  ],
]

test.each(CHANGES)('changed before the repeated call: %s', async (_, change, there, difference) => {
  const [unbroken, folder] = [temporaryFolder(), temporaryFolder()]
  using model = modelOf()
  await sample(model, folder, { stopAt: 5 })
  const options = await change(folder, model)
  const notices = difference
    ? [`${folder} holds an unfinished sampling with ${difference}: its images are sampled anew.`]
    : []
  expect(await sample(model, folder, { options })).toEqual({ ended: true, there, notices })
  await sample(model, unbroken, { options })
  expect(await filesOf(folder)).toEqual(await filesOf(unbroken))
})

test('of a call that fails before a batch is whole nothing is left', async () => {
  const folder = temporaryFolder()
  using model = modelOf()
  await sample(model, folder, { stopAt: 1 })
  expect(await readdir(folder)).toEqual([])
})

test("a stranger's folder of that name is left as it is", async () => {
  const folder = temporaryFolder()
  await mkdir(join(folder, 'unfinished', 'drafts'), { recursive: true })
  for (const name of ['notes.txt', 'settings.json']) await writeFile(join(folder, 'unfinished', name), 'mine')
  using model = modelOf()
  await sample(model, folder, { stopAt: 5 })
  expect((await sample(model, folder, { options: { seed: 5 } })).notices).toHaveLength(1)
  expect((await readdir(join(folder, 'unfinished'))).sort()).toEqual(['drafts', 'notes.txt', 'settings.json'])
})

test('an image of another size in the place of one that was made is named', async () => {
  const folder = temporaryFolder()
  using model = modelOf()
  await sample(model, folder, { stopAt: 5 })
  using other = pixelModel()
  const others = temporaryFolder()
  await sample(other, others)
  await writeFile(join(folder, '000002.png'), await readFile(join(others, '000002.png')))
  await expect(sample(model, folder, { options: files(folder) })).rejects.toThrow(
    `${join(folder, '000002.png')} is 4 x 6 pixels, where images of 8 x 8 are sampled; remove it`,
  )
})

test('a file in the place of the folder is said', async () => {
  const folder = temporaryFolder()
  await writeFile(join(folder, 'unfinished'), 'mine')
  using model = modelOf()
  await expect(sample(model, folder)).rejects.toThrow(FileAccessError)
})

test.each([
  ['of a sampling that ended', undefined],
  ['of one that was stopped', 5],
])('latents %s do not stay beside images of other ones', async (_, stopAt) => {
  const folder = temporaryFolder()
  using model = modelOf()
  await sample(model, folder)
  await sample(model, folder, { ...(stopAt !== undefined && { stopAt }), options: { seed: 5 } })
  await sample(model, folder, { options: { seed: 6, latents: false } })
  expect(await readdir(folder)).not.toContain('latents.npz')
})

test('the images done are those there, and then more and more', async () => {
  const folder = temporaryFolder()
  using model = modelOf()
  await sample(model, folder, { stopAt: 5 })
  // A hole before what is there.
  await rm(join(folder, '000001.png'))
  const done: number[] = []
  await sample(model, folder, { options: { onProgress: (images) => done.push(images) } })
  expect(done[0]).toBeGreaterThan(2)
  expect(done).toEqual([...done].sort((a, b) => a - b))
  expect(done.at(-1)).toBeCloseTo(COUNT, 9)
})
