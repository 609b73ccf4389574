import { existsSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { dispatch } from '../../src/cli/dispatch.ts'
import { type ParsedCommandLine, parseCommandLine } from '../../src/cli/parse.ts'
import { type PlanOptions, planTraining } from '../../src/planning/plan.ts'
import { readRecipe } from '../../src/planning/recipe.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import { RecordingStream } from '../cli/recording-stream.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** The words of a line as a shell hands them over: bare ones, and what stands in single quotes or behind a backslash. */
const wordsOf = (line: string) =>
  [...line.matchAll(/(?:[^\s'\\]|\\.|'[^']*')+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|\\(.)/g, (_, quoted?: string, escaped?: string) => quoted ?? escaped!),
  )

async function parsed(line: string): Promise<ParsedCommandLine> {
  const [program, name, ...words] = wordsOf(line)
  expect(program).toBe('repa')
  return parseCommandLine(await COMMANDS.find((entry) => entry.name === name)!.load(), words)
}

/** What `repa train` makes of a line: its flags over the recipe's settings, over the defaults. */
async function trainedBy(line: string) {
  const { args, device } = await parsed(line)
  const { training } = await readRecipe(args.config as string)
  const flags = Object.entries(args).filter(([name, value]) => name in trainingSchema.shape && value !== undefined)
  return { args, device, configuration: trainingSchema.parse({ ...training, ...Object.fromEntries(flags) }) }
}

/** A recipe of small sizes whose steps before the last are evaluated too, as a file of its own. */
function recipeFile(folder: string, name = 'mine.jsonc'): string {
  const data = { name: 'x', source: 'x', folder: 'x', images: 5, classes: 5, size: 64, latents: [8, 8, 8] }
  const sampled = (step: number, mode: string) => ({ step, sampling: { mode, steps: 5 } })
  const training = {
    model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 2 },
    batch: 4,
    accumulate: 2,
    steps: 10,
    recompute: 'elementwise',
    checkpointEvery: 4,
    encoders: [{ name: 'hog' }],
  }
  const evaluations = [sampled(4, 'ode'), sampled(8, 'ode'), sampled(10, 'ode'), sampled(10, 'sde')]
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify({ training, recipe: { title: 'mine', data, evaluations } }))
  return path
}

const OVERRIDES: readonly Omit<PlanOptions, 'recipe'>[] = [
  {},
  { batch: 32 },
  // The recipe's own, said again.
  { batch: 64 },
  { accumulate: 4 },
  { recompute: 'none' },
  { recompute: 'elementwise' },
  { precision: 'fp16' },
  { precision: 'fp32' },
  { steps: 50_000 },
  { steps: 123_456 },
  { gpus: 2 },
  { device: 'cpu', batch: 2 },
  { batch: 2048, accumulate: 8, recompute: 'none', precision: 'tf32', steps: 7, gpus: 4 },
]

test.each(OVERRIDES)('own-images with %j: what is planned is what its command trains', async (given) => {
  const plan = await planTraining({ recipe: 'own-images', ...given })
  const { args, device, configuration } = await trainedBy(plan.commands.train)
  const { device: planned = 'cuda', gpus, ...settings } = given
  expect(args).toMatchObject({ config: 'own-images', data: 'data/photos', out: 'runs/own-images' })
  const { training } = await readRecipe('own-images')
  expect(configuration).toEqual({ ...training, ...settings, autoencoder: args.autoencoder })
  const { batch, accumulate, steps } = plan
  expect(configuration).toMatchObject({ batch, accumulate, steps })
  expect(args.processes ?? 1).toBe(gpus ?? 1)
  // A GPU is taken where there is one; not to take it has to be said.
  expect(device).toBe(planned === 'cpu' ? 'cpu' : 'auto')
})

test('a setting that is not given is not in the command, so that the file says it', async () => {
  const { commands } = await planTraining({ recipe: 'sit-b-2-repa' })
  expect(commands.train).toBe(
    'repa train --config sit-b-2-repa --data data/imagenet256 --out runs/sit-b-2-repa --autoencoder weights/sd-vae-ft-ema.safetensors',
  )
})

test.each([0, 0.5])('a scale of guidance of %d, which repa sample has not, is refused', async (cfgScale) => {
  const path = join(temporaryFolder(), 'mine.jsonc')
  const text = await readFile((await readRecipe('own-images')).path, 'utf8')
  writeFileSync(path, text.replace('"cfgScale": 1.8', `"cfgScale": ${cfgScale}`))
  await expect(readRecipe(path)).rejects.toThrow(
    `sampling.cfgScale is ${cfgScale}: expected 1, which is no guidance, or more.`,
  )
})

// checkpointEvery is 4, so that checkpoints of a run of N steps are the multiples of 4 up to N, and N.
test.each([
  { steps: undefined, sampled: ['4 ode', '8 ode', '10 ode', '10 sde'] },
  { steps: 10, sampled: ['4 ode', '8 ode', '10 ode', '10 sde'] },
  { steps: 3, sampled: ['3 sde'] },
  { steps: 4, sampled: ['4 ode'] },
  { steps: 9, sampled: ['4 ode', '8 ode', '9 sde'] },
  // It goes through step 10 and keeps nothing of it.
  { steps: 13, sampled: ['4 ode', '8 ode', '13 sde'] },
])('$steps steps: checkpoints that such a run writes are sampled, and its last in any case', async (row) => {
  const given = row.steps === undefined ? {} : { steps: row.steps }
  const plan = await planTraining({ recipe: recipeFile(temporaryFolder()), ...given })
  const lines = await Promise.all(plan.commands.evaluations.map(({ sample }) => parsed(sample)))
  const checkpoint = ({ args }: ParsedCommandLine) =>
    Number(/^runs\/mine\/checkpoints\/(\d{7})$/.exec(String(args.checkpoint))![1])
  expect(lines.map((line) => `${checkpoint(line)} ${line.args.mode}`)).toEqual(row.sampled)
  expect(plan.evaluations.map(({ step, sampling }) => `${step} ${sampling.mode}`)).toEqual(row.sampled)
  expect(new Set(lines.map(({ args }) => args.out)).size).toBe(lines.length)
})

test('what one checkpoint is sampled by in several ways lies in as many folders', async () => {
  const path = recipeFile(temporaryFolder())
  const { recipe, ...rest } = JSON.parse(await readFile(path, 'utf8'))
  const ways = [
    {},
    { timeShift: 0.3 },
    { timeShift: 0.5 },
    { cfgScale: 1.8 },
    { cfgScale: 1.8, interval: [0, 0.7] },
    { cfgScale: 1.8, interval: [0.1, 0.7] },
  ]
  const evaluations = ways.map((way) => ({ step: 10, sampling: { mode: 'ode', steps: 5, ...way } }))
  writeFileSync(path, JSON.stringify({ ...rest, recipe: { ...recipe, evaluations } }))
  const { commands } = await planTraining({ recipe: path })
  const lines = await Promise.all(commands.evaluations.map(({ sample }) => parsed(sample)))
  expect(new Set(lines.map(({ args }) => args.out)).size).toBe(ways.length)
})

test('figures are published of the steps that they are of, and of no others', async () => {
  const published = async (steps: number) =>
    (await planTraining({ recipe: 'sit-b-2-repa', steps })).evaluations.map(({ step, published }) => [
      step,
      published?.fid,
    ])
  expect(await published(100_000)).toEqual([
    [50_000, expect.any(Number)],
    [100_000, expect.any(Number)],
  ])
  expect(await published(60_000)).toEqual([
    [50_000, expect.any(Number)],
    [60_000, undefined],
  ])
})

test('data that were given are trained on, and not prepared', async () => {
  const data = await tinyDataset(5)
  const recipe = recipeFile(temporaryFolder())
  const [described, given] = [await planTraining({ recipe }), await planTraining({ recipe, data })]
  expect(described.commands.prepare).toBe('repa prepare x --out x --size 64')
  expect(described.commands.train).toContain(' --data x ')
  expect(given.commands.prepare).toBeUndefined()
  expect((await trainedBy(given.commands.train)).args.data).toBe(data)
})

test.each(['mine.jsonc', 'sit-b-2.jsonc', "it's  mine $HOME.jsonc"])(
  'the recipe of a file %s is trained by it',
  async (name) => {
    const recipe = recipeFile(temporaryFolder(), name)
    const { commands } = await planTraining({ recipe })
    const { args } = await trainedBy(commands.train)
    expect(args).toMatchObject({ config: recipe, out: `runs/${name.replace('.jsonc', '')}` })
    const { args: sampling } = await parsed(commands.evaluations.at(-1)!.sample)
    expect(sampling.checkpoint).toBe(`${args.out}/checkpoints/0000010`)
  },
)

test('the command trains what was planned, and writes the checkpoints that the next ones sample', async () => {
  const root = temporaryFolder()
  const plan = await planTraining({
    recipe: recipeFile(root),
    data: await tinyDataset(8),
    device: 'cpu',
    batch: 6,
    accumulate: 3,
    recompute: 'none',
    steps: 5,
  })
  const here = (word: string) => word.replace(/^(?=runs\/|samples\/)/, `${root}/`)
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const words = wordsOf(plan.commands.train).slice(1).map(here)
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  expect([status, stderr.text]).toEqual([0, expect.stringContaining('done at step 5: ')])
  const { batch, accumulate, steps, precision } = plan
  const { training } = JSON.parse(await readFile(join(root, 'runs/mine/config.json'), 'utf8'))
  expect(training).toMatchObject({ batch, accumulate, steps, precision, recompute: 'none' })
  const sampled = await Promise.all(
    plan.commands.evaluations.map(async ({ sample }) => (await parsed(sample)).args.checkpoint),
  )
  expect(sampled).toEqual(['runs/mine/checkpoints/0000004', 'runs/mine/checkpoints/0000005'])
  expect(sampled.filter((folder) => !existsSync(here(String(folder))))).toEqual([])
})
