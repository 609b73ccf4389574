/** A file that was made of a checkpoint here says all of its model, so that whoever opens it goes on with that model and no other. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { type ConvertOptions, convert, readTraining } from '../../src/conversion/convert.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { TorchCheckpoint } from '../../src/formats/torch-checkpoint.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import type { SiTOptions } from '../../src/models/sit.ts'
import {
  type AnyTransformerConfig,
  transformerConfigSchema,
  transformerFromConfig,
} from '../../src/models/transformer-kinds.ts'
import { type CheckpointState, readCheckpointState, saveCheckpoint } from '../../src/training/checkpoint.ts'
import { modelSetting, trainingSchema } from '../../src/training/configuration.ts'
import { settingsOfWeights } from '../../src/training/initial-weights.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BATCH, CASES, type Case, digestOf, modelOf, steps, tinyTrainer } from '../training/tiny-trainer.ts'
import { referenceCheckpoint, tinyModel } from './tiny-checkpoint.ts'

type Change = Readonly<Record<string, unknown>>

/** Its heads are not those that a width of 32 would be taken to have, and its unread settings not the reference's. */
const BASE = {
  kind: 'SiT',
  depth: 2,
  hidden: 32,
  heads: 4,
  patch: 2,
  inputSize: [8, 8],
  classes: 3,
  projectorWidth: 24,
  alignDepth: 1,
}
const LIGHTNINGDIT = { norm: 'rmsNorm', ffn: 'swiglu', rope: true }
const CONVENTIONS: readonly Change[] = [{ convention: 'repa' }, { convention: 'sit' }]
const pairs = (first: readonly Change[], second: readonly Change[]): Change[] =>
  first.flatMap((one) => second.map((other) => ({ ...one, ...other })))

const MODELS: readonly Change[] = [
  // What the head's channels and LightningDiT's blocks, of which all three settings count, are taken to tell.
  ...pairs(
    [
      ...pairs([{ kind: 'SiT' }, { kind: 'SiT', learnSigma: true }], CONVENTIONS),
      { kind: 'DiT', learnSigma: false },
      { kind: 'DiT' },
    ],
    [{}, LIGHTNINGDIT],
  ),
  // Each setting of a block alone, where the rest is not what it would be taken for.
  ...pairs(
    [{ convention: 'sit' }, { kind: 'DiT', learnSigma: false }],
    [{ qkNorm: true }, { norm: 'rmsNorm' }, { ffn: 'swiglu' }, { rope: true }],
  ),
  // A head that is as wide as the trunk no tensor tells from it.
  ...pairs(CONVENTIONS, [
    { ddtHead: { depth: 1, hidden: 48, heads: 3 } },
    { ddtHead: { depth: 1, hidden: 32, heads: 2 } },
  ]),
  ...pairs(CONVENTIONS, [{ classes: 0, text: { tokens: 9, width: 20 } }]),
  { inputSize: [8, 4] },
  // As many tokens as of a square.
  { inputSize: [4, 16] },
  { classDropout: 0 },
  { mlpRatio: 3.3 },
  { alignWidths: [8], alignDepth: 2 },
  { alignWidths: [8], projector: 'conv' },
  { alignWidths: [8], classTokenWidth: 8 },
  { selfAlignment: true, convention: 'sit' },
]

const configOf = (change: Change): AnyTransformerConfig => transformerConfigSchema.parse({ ...BASE, ...change })

/** A checkpoint's folder of such a model, and the path for a file in a folder of its own. */
async function checkpointOf(
  config: AnyTransformerConfig,
  more: Change = {},
): Promise<{ checkpoint: string; at: (name: string) => string }> {
  using model = transformerFromConfig(config, 'cpu')
  model.initialise(1)
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 1).data))
  using optimizer = new AdamW(model.arena)
  const { alignDepth, projectorWidth, classDropout } = config
  const training = trainingSchema.parse({
    model: modelSetting(config),
    alignDepth,
    projectorWidth,
    classDropout,
    ...more,
  })
  const folder = temporaryFolder()
  const configuration = { data: 'd', training }
  const state = { step: 1, updates: 1, skipped: 0, seed: 0, configuration }
  await saveCheckpoint(join(folder, 'checkpoints'), model, optimizer.moments, state)
  return { checkpoint: join(folder, 'checkpoints/0000001'), at: (name) => join(folder, name) }
}

/** What opening a file gives, and what is said. */
async function opened(path: string): Promise<{ config: AnyTransformerConfig; path: unknown; told: readonly string[] }> {
  const told: string[] = []
  const { model, path: interpolant } = await loadModel(path, { onNotice: (sentence) => told.push(sentence) })
  using loaded = model
  return { config: loaded.config, path: interpolant, told }
}

const EXTENSIONS = ['.pt', '.safetensors'] as const

/** The state of what training goes on from that a file is made to. */
async function stateFrom(file: string, folder: string): Promise<Pick<CheckpointState, 'model' | 'configuration'>> {
  // A torch file has all of it, which need not be written to be seen.
  if (file.endsWith('.pt')) {
    await using opened = await readTraining(file, {}, [])
    return opened.training.state
  }
  await convert(file, folder)
  return await readCheckpointState(folder)
}

test.each(MODELS)('%j', async (change) => {
  const config = configOf(change)
  const { checkpoint, at } = await checkpointOf(config, { path: 'cosine' })
  for (const extension of EXTENSIONS) {
    const file = at(`x${extension}`)
    expect(await convert(checkpoint, file), file).toMatchObject({ notes: [] })
    expect(await opened(file), file).toEqual({ config, path: 'cosine', told: [] })
    const { model, configuration } = await stateFrom(file, at('back'))
    expect(model, file).toEqual(config)
    expect(configuration, file).toMatchObject({ training: { path: 'cosine' } })
    const told: string[] = []
    const settings = await settingsOfWeights(file, {}, (sentence) => told.push(sentence))
    expect(settings, file).toEqual({ model: modelSetting(config), path: 'cosine' })
    expect(told, file).toEqual([])
  }
})

test.each(EXTENSIONS)('a model that is said to be another than a %s file states is refused', async (extension) => {
  const { checkpoint, at } = await checkpointOf(configOf({ convention: 'sit' }))
  const file = at(`x${extension}`)
  await convert(checkpoint, file)
  const others: readonly [asked: Parameters<typeof loadModel>[1], sentence: string][] = [
    [{ heads: 2 }, 'heads 4, not 2'],
    [{ kind: 'DiT' }, 'kind SiT, not DiT'],
    [{ convention: 'repa' }, 'convention sit, not repa'],
  ]
  for (const [asked, sentence] of others) {
    await expect(loadModel(file, asked)).rejects.toThrow(
      new RangeError(`${file} is of a model with ${sentence}; leave it out, the checkpoint says what it is.`),
    )
    if (asked?.convention !== undefined) continue
    await expect(convert(file, at('back'), asked as ConvertOptions)).rejects.toThrow(
      `${file} is of a model with ${sentence}`,
    )
  }
})

test('the file of one set of weights says it as well where it is taken out of another', async () => {
  const config = configOf({ convention: 'sit' })
  const { checkpoint, at } = await checkpointOf(config, { path: 'cosine' })
  await convert(checkpoint, at('all.pt'))
  for (const [name, options] of [
    ['ema', {}],
    ['model', { weights: 'model' }],
    ['key', { key: 'ema' }],
  ] as const) {
    const file = at(`${name}.safetensors`)
    expect(await convert(at('all.pt'), file, options)).toMatchObject({ notes: [] })
    expect(await opened(file)).toEqual({ config, path: 'cosine', told: [] })
    await convert(file, at(`${name}-copy.safetensors`))
    expect(await readFile(at(`${name}-copy.safetensors`))).toEqual(await readFile(file))
  }
})

test.each<[change: Change, taken: string | undefined]>([
  [{ heads: 1 }, undefined],
  [{}, 'heads 1, not 4'],
  [{ heads: 1, path: 'cosine' }, 'path "linear", not "cosine"'],
  [{ heads: 1, convention: 'sit' }, 'convention "repa", not "sit"'],
  [{ kind: 'DiT', learnSigma: false, classDropout: 0 }, 'kind "SiT", not "DiT"; heads 1, not 4; classes 2, not 3'],
])('a bare state dict has no place for it, which is said of %j', async ({ path, ...change }, taken) => {
  const { checkpoint, at } = await checkpointOf(configOf(change), { path })
  await convert(checkpoint, at('x.safetensors'))
  for (const from of [checkpoint, at('x.safetensors')]) {
    const { notes } = await convert(from, at('bare.pt'), {
      force: true,
      ...(from === checkpoint && { weights: 'ema' }),
    })
    expect(notes).toEqual(
      taken === undefined
        ? []
        : [
            `${at('bare.pt')} holds tensors alone, of which a reader would take the model for another: ${taken}. A .safetensors file says ` +
              'what it is.',
          ],
    )
  }
})

test("the arguments of another's script go along as well, or are said to be left out", async () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder, name)
  const model = { ...tinyModel, heads: 1, learnSigma: true, alignWidths: [] }
  const reference = referenceCheckpoint(model)
  await writeTorchCheckpoint(at('a.pt'), {
    ...reference,
    args: { ...reference.args, model: 'SiT-B/2', prediction: 'v' },
  })
  await convert(at('a.pt'), at('a.safetensors'))
  // Without them it would be taken for a DiT of the linear path.
  const { config, ...rest } = await opened(at('a.safetensors'))
  expect(rest).toEqual({
    path: 'cosine',
    told: [expect.stringMatching(/does not tell how many attention heads it has/)],
  })
  expect(config).toMatchObject({ kind: 'SiT', convention: 'sit', learnSigma: true })
  expect(await convert(at('a.safetensors'), at('b.pt'))).toMatchObject({
    notes: [
      `The metadata of ${at('a.safetensors')} (model, path_type) is left out: ${at('b.pt')} has no place for it.`,
    ],
  })
  expect(await convert(at('a.pt'), at('c.pt'), { weights: 'ema' })).toMatchObject({
    notes: [`The arguments of ${at('a.pt')} (model, path_type) are left out: ${at('c.pt')} has no place for them.`],
  })
  await convert(at('a.safetensors'), at('folder'))
  expect(await readCheckpointState(at('folder'))).toMatchObject({
    model: { kind: 'SiT', convention: 'sit' },
    configuration: { training: { path: 'cosine' } },
  })
})

/** Files of the tiny model that state `said`, and of a training also `training`. */
async function stating(
  said: object,
  training?: object,
): Promise<{ files: readonly string[]; at: (name: string) => string }> {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder, name)
  const { args, ...reference } = referenceCheckpoint()
  const metadata = { repa_native_model: JSON.stringify(said) }
  await writeSafetensors(
    at('x.safetensors'),
    [...reference.ema].map(([name, tensor]) => ({ name, ...tensor })),
    { metadata },
  )
  await writeTorchCheckpoint(at('x.pt'), {
    ...reference,
    args: { ...args, ...metadata, ...(training && { repa_native_training: JSON.stringify(training) }) },
  })
  return { files: [at('x.safetensors'), at('x.pt')], at }
}

describe('a statement is refused', () => {
  test.each<[change: Change, misfits: RegExp]>([
    [{ classes: 9 }, /y_embedder\.embedding_table\.weight has shape \[11,16\], the model's is \[10,16\]\.$/],
    [{ depth: 3 }, /blocks\.2\.attn\.qkv\.weight \[48,16\] is missing; .*; and \d more\.$/],
    [{ depth: 1 }, /blocks\.1\.attn\.qkv\.weight is not in the model; .*; and \d more\.$/],
  ])('whose tensors are of another model: %j', async (change, misfits) => {
    const { files, at } = await stating({ ...tinyModel, ...change })
    for (const file of files) {
      const sentence = new RegExp(
        `^${file} states a model \\("repa_native_model"\\) that its tensors are not of: ${misfits.source}`,
      )
      await expect(loadModel(file)).rejects.toThrow(sentence)
      await expect(convert(file, at('back'))).rejects.toThrow(sentence)
      await expect(settingsOfWeights(file, {}, () => {})).rejects.toThrow(sentence)
    }
  })

  test('that is none', async () => {
    const { files } = await stating({ kind: 'SiT' })
    for (const file of files) {
      await expect(loadModel(file)).rejects.toThrow(`${file}, "repa_native_model": depth is missing`)
    }
  })

  const ANOTHER =
    'there is no setting "newThing". Another version of repa-native wrote that, or somebody by hand; go on with that version, or update ' +
    'this one.'

  test('that another version of repa-native wrote, which is said', async () => {
    const { files, at } = await stating({ ...tinyModel, newThing: 1 })
    for (const file of files) {
      const sentence = `${file}, "repa_native_model": ${ANOTHER}`
      await expect(loadModel(file)).rejects.toThrow(sentence)
      await expect(convert(file, at('back'))).rejects.toThrow(sentence)
    }
  })

  test('likewise of a training', async () => {
    const { at } = await stating(tinyModel, { newThing: 1 })
    const file = at('x.pt')
    await expect(convert(file, at('back'))).rejects.toThrow(`${file}: args, "repa_native_training": ${ANOTHER}`)
    await expect(adoptCheckpoint(file, at('run'))).rejects.toThrow(ANOTHER)
  })
})

test('what the reference has no name for of a training goes on as well', async () => {
  const encoders = [{ name: 'dinov2-vit-b', file: 'weights/dinov2.pth', sha256: '0'.repeat(64) }]
  const unnamed = { emaDecay: 0.5, velocityCosineWeight: 1, timeShift: 4, learningRateWarmup: 3, encoders }
  const { checkpoint, at } = await checkpointOf(configOf({ alignWidths: [768] }), {
    ...unnamed,
    path: 'cosine',
    batch: 8,
    accumulate: 2,
  })
  await convert(checkpoint, at('x.pt'))
  const { notes, checkpoint: adopted } = await adoptCheckpoint(at('x.pt'), at('run'))
  expect(notes).toEqual([])
  expect(await readCheckpointState(adopted)).toEqual(await readCheckpointState(checkpoint))
})

test("the reference's code finds plain values where it looks, and nothing that is not data", async () => {
  const { checkpoint, at } = await checkpointOf(configOf({ convention: 'sit' }))
  await convert(checkpoint, at('x.pt'))
  await using file = await TorchCheckpoint.open(at('x.pt'))
  const args = (file.value as Map<string, Map<string, unknown>>).get('args')!
  expect(args.get('num_heads')).toBe(4)
  for (const value of args.values())
    expect(value === null || ['string', 'number', 'boolean'].includes(typeof value)).toBe(true)
})

describe('half of the steps, converted, and the other half make what all of them make', () => {
  type Blocks = Case['blocks'] & Partial<Pick<SiTOptions, 'convention' | 'learnSigma'>>
  const UNTOLD: readonly (Omit<Case, 'blocks'> & { readonly blocks?: Blocks })[] = [
    { name: 'SiT whose time runs the other way', blocks: { convention: 'sit' } },
    { name: "SiT by REPA's time with a second half of its output", blocks: { learnSigma: true } },
    { name: "SiT of LightningDiT's blocks by REPA's time", blocks: { norm: 'rmsNorm', ffn: 'swiglu', rope: true } },
    { name: 'DiT without variances', kind: 'DiT', blocks: { learnSigma: false } },
  ]

  const ALL = [...UNTOLD, ...CASES]
  const modelIn = ({ kind, blocks, text, options: { align, selfAlign, classToken } = {} }: (typeof ALL)[number]) =>
    JSON.stringify([kind, blocks, text, ...[align, selfAlign, classToken].map((part) => part !== undefined)])
  /** What else a model is trained by is nothing that a conversion sees. */
  const ONE_OF_EACH_MODEL = ALL.filter((one, i) => ALL.findIndex((each) => modelIn(each) === modelIn(one)) === i)

  test.each(ONE_OF_EACH_MODEL)('$name', async (one) => {
    const data = one.text ? await captionedDataset(2 * BATCH) : await tinyDataset(2 * BATCH)
    const folder = temporaryFolder()
    using whole = modelOf(one)
    await using first = await tinyTrainer(whole, data, one.options ?? {})
    await steps(first, 1)
    const saved = await first.save(folder)
    await steps(first, 2)
    await convert(saved, join(folder, 'x.pt'))
    const { checkpoint } = await adoptCheckpoint(join(folder, 'x.pt'), join(folder, 'run'))
    const { model: config } = await readCheckpointState(checkpoint)
    expect(config).toEqual((await readCheckpointState(saved)).model)
    using model = transformerFromConfig(config, 'cpu')
    await using trainer = await tinyTrainer(model, data, one.options ?? {})
    await trainer.restore(checkpoint)
    await steps(trainer, 2)
    expect(await digestOf(trainer)).toBe(await digestOf(first))
  })
})
