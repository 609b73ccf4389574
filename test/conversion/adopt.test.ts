/** A run's model setting and the training checkpoint that it goes on with: who is believed, and what is said. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type AdoptOptions, adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { convert } from '../../src/conversion/convert.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import type { SiTConfig } from '../../src/models/sit.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { trainedPath } from '../../src/training/trained-path.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { referenceCheckpoint, tinyLightningDiTModel, tinyModel } from './tiny-checkpoint.ts'

const SIZES = { kind: 'SiT', depth: 2, hidden: 16, heads: 2, patch: 2 } as const
const LIGHTNINGDIT = { ...SIZES, norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const
const ADVICE = "; leave out `model`, and the model is the file's own."

/** The reference's file of such a model and, as `own`, one that was written here. */
async function files(
  model: SiTConfig,
  args: Readonly<Record<string, string | null>> = {},
): Promise<{ theirs: string; own: string; run: string }> {
  const folder = temporaryFolder()
  const [theirs, own, between] = ['theirs.pt', 'own.pt', 'between'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const reference = referenceCheckpoint(model)
  await writeTorchCheckpoint(theirs, { ...reference, args: { ...reference.args, ...args } })
  await convert(theirs, between, { heads: 2 })
  await convert(between, own)
  return { theirs, own, run: join(folder, 'run') }
}

describe('a file that says what its model is', () => {
  test.each<readonly [model: SiTConfig, options: AdoptOptions, sentence: string]>([
    [
      tinyLightningDiTModel,
      { model: LIGHTNINGDIT },
      `is of a SiT whose time runs by the convention sit, this run's by repa${ADVICE}`,
    ],
    [
      tinyModel,
      { model: { ...SIZES, convention: 'sit' } },
      `is of a SiT whose time runs by the convention repa, this run's by sit${ADVICE}`,
    ],
    [
      tinyModel,
      { model: { ...SIZES, kind: 'DiT', learnSigma: false } },
      `is of a SiT, this run's model is a DiT${ADVICE}`,
    ],
    [tinyModel, { model: 'DiT-B/2' }, `is of a SiT, this run's model is a DiT${ADVICE}`],
    [tinyModel, { model: { ...SIZES, heads: 4 } }, `is of a model with heads 2, this run's has 4${ADVICE}`],
    [tinyModel, { heads: 4 }, `is of a model with heads 2, this run's has 4${ADVICE}`],
    [
      tinyModel,
      { alignDepth: 2 },
      "is of a model that is aligned after block 1, this run's after block 2; leave out `alignDepth`.",
    ],
    [
      tinyModel,
      { path: 'linear' },
      "is of a SiT that learnt along the path cosine, this run's learns along linear; leave out `path`, and the path is the file's own.",
    ],
  ])('%#: is not taken for another by %j %j', async (model, options, sentence) => {
    const { own, run } = await files(model)
    await expect(adoptCheckpoint(own, run, options)).rejects.toThrow(new RangeError(`${own} ${sentence}`))
    expect(existsSync(run)).toBe(false)
  })

  test.each<readonly [model: SiTConfig, options: AdoptOptions]>([
    [tinyModel, {}],
    [tinyModel, { model: SIZES, heads: 2, alignDepth: 1, path: 'cosine' }],
    [tinyLightningDiTModel, {}],
    [tinyLightningDiTModel, { model: { ...LIGHTNINGDIT, convention: 'sit' } }],
  ])('%#: is taken for what it is, in silence', async (model, options) => {
    const { own, run } = await files(model)
    const { checkpoint, notes } = await adoptCheckpoint(own, run, options)
    expect(notes).toEqual([])
    expect((await readCheckpointState(checkpoint)).model).toEqual(model)
  })
})

describe("a file of the reference's, which leaves a guess", () => {
  const SETTING = (what: string) =>
    expect.stringMatching(new RegExp(`theirs\\.pt does not tell its model's ${what}\\.$`))

  test.each<readonly [model: SiTConfig, options: AdoptOptions, found: object, notes: readonly unknown[]]>([
    [
      tinyLightningDiTModel,
      {},
      { convention: 'sit' },
      [expect.stringMatching(/is taken for a LightningDiT, .*; `model` can say otherwise\.$/)],
    ],
    [tinyLightningDiTModel, { model: { ...LIGHTNINGDIT, convention: 'sit' } }, { convention: 'sit' }, []],
    [
      tinyLightningDiTModel,
      { model: LIGHTNINGDIT },
      { convention: 'repa' },
      [SETTING('convention: repa is taken, as the model setting says; without it sit would be')],
    ],
    [
      tinyModel,
      { model: { ...SIZES, convention: 'sit' } },
      { convention: 'sit' },
      [SETTING('convention: sit is taken, as the model setting says; without it repa would be')],
    ],
    [
      tinyModel,
      { model: { ...SIZES, kind: 'DiT', learnSigma: false } },
      { kind: 'DiT' },
      [SETTING('kind: DiT is taken, as the model setting says; without it SiT would be')],
    ],
  ])('%#: the model setting is believed, in a sentence', async (model, options, found, notes) => {
    const { theirs, run } = await files(model)
    const adopted = await adoptCheckpoint(theirs, run, { heads: 2, ...options })
    expect(adopted.notes).toEqual(notes)
    expect((await readCheckpointState(adopted.checkpoint)).model).toMatchObject(found)
  })

  test.each(['linear', 'cosine'] as const)('that says no path learns along %s, as the run says', async (path) => {
    const { theirs, run } = await files(tinyModel, { path_type: null })
    const { checkpoint } = await adoptCheckpoint(theirs, run, { heads: 2, path })
    expect(trainedPath(await readCheckpointState(checkpoint))).toBe(path)
  })

  test.each([
    ['SiT-B/2', { kind: 'DiT', learnSigma: false }, "a SiT, this run's model is a DiT"],
    ['SiT-B/2', { convention: 'sit' }, "a SiT whose time runs by the convention repa, this run's by sit"],
  ] as const)('its script says %s: not %j', async (name, change, sentence) => {
    const { theirs, run } = await files(tinyModel, { model: name })
    await expect(adoptCheckpoint(theirs, run, { model: { ...SIZES, ...change } as never })).rejects.toThrow(
      new RangeError(`${theirs} is of ${sentence}${ADVICE}`),
    )
  })
})

test('a copy of a checkpoint that was only there to resume from is there to stay', async () => {
  const { own, run } = await files(tinyModel)
  const folder = temporaryFolder()
  const checkpoint = join(folder, '0000003')
  await convert(own, checkpoint)
  const state = join(checkpoint, 'state.json')
  await writeFile(state, JSON.stringify({ ...JSON.parse(await readFile(state, 'utf8')), resumeOnly: true }))
  await adoptCheckpoint(checkpoint, run)
  const [name] = await readdir(join(run, 'checkpoints'))
  expect(await readCheckpointState(join(run, 'checkpoints', name!))).not.toHaveProperty('resumeOnly')
})

test.each([
  { is: 'not there', before: false },
  { is: 'there and empty', before: true },
])('a run that does not begin leaves its folder as it was: $is', async ({ before }) => {
  const { own, run } = await files(tinyModel)
  if (before) await mkdir(run)
  const { abandon } = await adoptCheckpoint(own, run)
  expect(await readdir(run)).toEqual(['checkpoints'])
  await abandon()
  expect(existsSync(run)).toBe(before)
  if (before) expect(await readdir(run)).toEqual([])
})
