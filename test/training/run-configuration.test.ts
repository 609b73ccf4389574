import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { IN_USE_FILE } from '../../src/formats/folder-in-use.ts'
import { alignDepthOf, type ModelSetting, type TrainingOptions } from '../../src/training/configuration.ts'
import { type TrainOptions, train } from '../../src/training/run.ts'
import { resolveConfiguration } from '../../src/training/run-configuration.ts'
import { RUN_LAYOUT } from '../../src/training/run-layout.ts'
import { pictures, setup } from '../data/preparing.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { modelOf, tinyTrainer } from './tiny-trainer.ts'

const TINY = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const

test('a resumed run may find its data elsewhere, but not leave them', async () => {
  const out = temporaryFolder()
  const [before, after] = [join(out, 'before'), join(out, 'after')]
  writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: before, training: { model: 'SiT-S/4' } }))
  mkdirSync(before)
  const notices: string[] = []
  const resume = (data: string) =>
    resolveConfiguration({
      data,
      out,
      configuration: {},
      resume: true,
      onNotice: (sentence) => notices.push(sentence),
    })
  await resume(before)
  await expect(resume(after)).rejects.toThrow(`The run in ${out} trains on ${before}, not on ${after}; resume it with`)
  expect(notices).toEqual([])
  renameSync(before, after)
  await resume(after)
  expect(notices).toEqual([`${before} is not here any more: ${after} is taken for the same data.`])
})

test('mirror images that a file of settings leaves out are spoken of, and not those that the call does', async () => {
  const request = setup(pictures(4), { flip: true })
  await prepareDataset(request)
  const data = request.out
  const noticesOf = async (shared: TrainingOptions, configuration: TrainingOptions = {}) => {
    const notices: string[] = []
    const short = {
      model: TINY,
      batch: 2,
      steps: 1,
      samples: { count: 1, steps: 1, guidanceScale: 1 },
      ...configuration,
    }
    const out = join(temporaryFolder(), 'run')
    await train({ out, data, device: 'cpu', shared, configuration: short, onNotice: (text) => notices.push(text) })
    return notices
  }
  const left = 'The data have mirror images, and `flip: false` of the file of settings leaves them out.'
  expect(await noticesOf({ flip: false })).toContain(left)
  for (const said of [noticesOf({ flip: true }), noticesOf({ flip: false }, { flip: false }), noticesOf({})])
    expect(await said).not.toContain(left)
})

test('what a program of its own has saved without a configuration is resumed by that program alone', async () => {
  const out = temporaryFolder()
  await using trainer = await tinyTrainer(modelOf(), await tinyDataset(4), {})
  const checkpoint = await trainer.save(out)
  await expect(resolveConfiguration({ data: 'data', out, configuration: {}, resume: true })).rejects.toThrow(
    `${checkpoint} is of a program's own Trainer, which was given no configuration to keep`,
  )
})

test.each<TrainingOptions>([
  { steps: 7 },
  { checkpointEvery: 7 },
  { resumeEvery: 7 },
  { sampleEvery: 7 },
  { samples: { count: 7, steps: 7, guidanceScale: 7 } },
  { autoencoder: 'elsewhere' },
  { cudaGraph: true },
  { recompute: 'none' },
])('a resumed run may change what its weights do not depend on: %j', async (change) => {
  const out = temporaryFolder()
  writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training: { model: 'SiT-S/4' } }))
  const resume = (configuration: TrainingOptions) =>
    resolveConfiguration({ data: 'data', out, configuration, resume: true })
  expect(await resume(change)).toEqual({ ...(await resume({})), ...change })
})

test('a resumed run of text may find its caption encoder elsewhere, but not another', async () => {
  const out = temporaryFolder()
  const before = { file: join(out, 'before'), digest: '0'.repeat(64) }
  const training = { model: 'MMDiT-d12/2', captionEncoder: before }
  writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training }))
  const resume = async (captionEncoder: TrainingOptions['captionEncoder']) =>
    (await resolveConfiguration({ data: 'data', out, configuration: { captionEncoder }, resume: true })).captionEncoder
  expect(await resume(undefined)).toEqual(before)
  const after = { ...before, file: join(out, 'after') }
  expect(await resume({ file: after.file })).toEqual(after)
  expect(await resume(after)).toEqual(after)
  await expect(resume({ ...after, digest: '1'.repeat(64) })).rejects.toThrow(
    /has `captionEncoder` \{.*\}; a resumed run cannot change it to \{/,
  )
})

describe('one model by two spellings', () => {
  const S8 = { kind: 'SiT', depth: 12, hidden: 384, heads: 6, patch: 8 } as const
  const WHOLE = { ...TINY, mlpRatio: 4, qkNorm: false, learnSigma: false, convention: 'repa', rope: false } as const
  const CASES: readonly (readonly [stored: ModelSetting, given: ModelSetting, setting: ModelSetting])[] = [
    [TINY, WHOLE, TINY],
    [WHOLE, TINY, TINY],
    ['SiT-S/8', S8, 'SiT-S/8'],
    [S8, 'SiT-S/8', 'SiT-S/8'],
    [{ patch: 4, heads: 2, hidden: 32, depth: 1, kind: 'SiT' }, TINY, TINY],
  ]

  test.each(CASES)('a run of %j goes on as one of %j', async (stored, given, setting) => {
    const out = temporaryFolder()
    writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training: { model: stored } }))
    const resume = (model: ModelSetting | undefined) =>
      resolveConfiguration({ data: 'data', out, configuration: { model }, resume: true })
    const resumed = await resume(given)
    expect(resumed.model).toEqual(setting)
    expect(resumed).toEqual(await resume(undefined))
    await expect(resume({ ...S8, depth: 2 })).rejects.toThrow(
      `has \`model\` ${JSON.stringify(setting)}; a resumed run cannot change it to {"kind":"SiT","depth":2,"hidden":384,"heads":6,"patch":8}.`,
    )
  })

  test.each(CASES)('a run begins as one of the same setting, by %j or by %j', async (...[one, other, setting]) => {
    for (const model of [one, other]) {
      const begun = await resolveConfiguration({ data: 'data', out: temporaryFolder(), configuration: { model } })
      expect(begun.model).toEqual(setting)
    }
  })

  test('the block that is aligned stays that of the spelling, by which its default goes', async () => {
    const out = temporaryFolder()
    for (const [model, block] of [[S8, 4] as const, ['SiT-S/8', 8] as const]) {
      writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training: { model } }))
      const resumed = await resolveConfiguration({ data: 'data', out, configuration: {}, resume: true })
      expect(alignDepthOf(resumed)).toBe(block)
      const begun = await resolveConfiguration({ data: 'data', out: temporaryFolder(), configuration: { model } })
      expect(alignDepthOf(begun)).toBe(block)
    }
  })
})

test('a torn config.json is refused as every text is that is not JSON, with what to do about it', async () => {
  const out = temporaryFolder()
  const file = join(out, RUN_LAYOUT.configuration)
  writeFileSync(file, '{"data":')
  const refused = resolveConfiguration({ data: 'data', out, configuration: {}, resume: true })
  await expect(refused).rejects.toThrow(ConfigurationError)
  await expect(refused).rejects.toThrow(`${file} is not JSON: `)
  await expect(refused).rejects.toThrow('; restore it, or begin a new run.')
})

test.each([
  ['a run', 'config.json', '{}', 'already holds a run; go on with it by `resume`, or choose another `out`.'],
  [
    'checkpoints without one',
    'checkpoints/0000004/state.json',
    '{}',
    "holds checkpoints already; go on from the newest by `resume` where it is a training run's, or choose another `out`.",
  ],
])('no run begins in a folder that holds %s', async (_, name, content, sentence) => {
  const out = temporaryFolder()
  writeTree(out, { [name]: content })
  const begun = resolveConfiguration({ data: 'data', out, configuration: {} })
  await expect(begun).rejects.toThrow(`${out} ${sentence}`)
})

test('a run begins where a killed one has left half of its first checkpoint', async () => {
  const out = temporaryFolder()
  writeTree(out, { 'checkpoints/0000004.partial-1/state.json': '{' })
  expect(await resolveConfiguration({ data: 'data', out, configuration: { batch: 3 } })).toMatchObject({ batch: 3 })
})

test('of two runs that begin in one folder, the later one is refused though the other has ended by then', async () => {
  const [data, out] = [await tinyDataset(4), temporaryFolder()]
  const begin = (steps: number, fit: TrainOptions['fit'] = async () => 'none') =>
    train({ data, out, device: 'cpu', configuration: { model: TINY, batch: 2, steps, recompute: 'auto' }, fit })
  const later = begin(2, async () => {
    await begin(1)
    return 'none'
  })
  await expect(later).rejects.toThrow(
    `${out} already holds a run; go on with it by \`resume\`, or choose another \`out\`.`,
  )
  expect(readdirSync(join(out, 'checkpoints'))).toEqual(['0000001'])
  expect(readdirSync(out)).not.toContain(IN_USE_FILE)
})

const DIGEST = createHash('sha256').update('weights').digest('hex')
const withDigest = (encoders: readonly object[]) => encoders.map((encoder) => ({ ...encoder, sha256: DIGEST }))

/** A run's folder that was aligned with an encoder of this file, and a call that goes on with another one. */
function resumable(noted: { sha256?: string } = {}) {
  const out = temporaryFolder()
  const at = (name: string) => join(out, name)
  const weights = at('encoder.pth')
  writeFileSync(weights, 'weights')
  const training = { model: 'SiT-S/4', encoders: [{ name: 'dinov2-vit-b', file: weights, ...noted }] }
  writeFileSync(at(RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training }))
  const notices: string[] = []
  const resume = (encoders: TrainingOptions['encoders']) =>
    resolveConfiguration({
      data: 'data',
      out,
      configuration: { encoders },
      resume: true,
      onNotice: (sentence) => notices.push(sentence),
    })
  return { at, weights, notices, resume }
}

describe("a resumed run's encoders", () => {
  test('may lie elsewhere: the same bytes, or where nobody can compare any more', async () => {
    const { at, weights, notices, resume } = resumable()
    writeFileSync(at('copy.pth'), 'weights')
    const copy = [{ name: 'dinov2-vit-b' as const, file: at('copy.pth') }]
    expect((await resume(copy)).encoders).toEqual(withDigest(copy))
    expect(notices).toEqual([])
    renameSync(weights, at('moved.pth'))
    const moved = [{ name: 'dinov2-vit-b' as const, file: at('moved.pth') }]
    expect((await resume(moved)).encoders).toEqual(withDigest(moved))
    expect(notices).toEqual([`${weights} is not here any more: ${at('moved.pth')} is taken for the same weights.`])
  })

  test('stay as they were where none are given', async () => {
    const { weights, resume } = resumable()
    expect((await resume(undefined)).encoders).toEqual(withDigest([{ name: 'dinov2-vit-b', file: weights }]))
  })

  test('are what the run noted of them, wherever they lie', async () => {
    const { at, weights, notices, resume } = resumable({ sha256: DIGEST })
    const moved = [{ name: 'dinov2-vit-b' as const, file: at('moved.pth') }]
    renameSync(weights, at('moved.pth'))
    expect((await resume(moved)).encoders).toEqual(withDigest(moved))
    expect(notices).toEqual([])
    writeFileSync(at('moved.pth'), 'other weights')
    const others =
      /moved\.pth holds other weights than the run's dinov2-vit-b: SHA-256 [0-9a-f]{12}…, not [0-9a-f]{12}…; pass/
    await expect(resume(moved)).rejects.toThrow(others)
    // The same path, other bytes.
    writeFileSync(weights, 'newer weights')
    await expect(resume(undefined)).rejects.toThrow(/encoder\.pth holds other weights than the run's dinov2-vit-b/)
  })

  test('are noted when a run begins', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'encoder.pth')
    writeFileSync(file, 'weights')
    const encoders = [{ name: 'hog' as const }, { name: 'dinov2-vit-b' as const, file }]
    const { encoders: noted } = await resolveConfiguration({ data: 'data', out: folder, configuration: { encoders } })
    expect(noted).toEqual([{ name: 'hog' }, { name: 'dinov2-vit-b', file, sha256: DIGEST }])
  })

  test.each<readonly [string, TrainingOptions['encoders']]>([
    ['others', [{ name: 'dinov2-vit-b', file: 'OTHER' }]],
    ['one of another name', [{ name: 'dinov2-vit-l', file: 'SAME' }]],
    ['one more', [{ name: 'dinov2-vit-b', file: 'SAME' }, { name: 'hog' }]],
    ['one of no file', [{ name: 'dinov2-vit-b' }]],
    ['none', []],
  ])('may not be %s', async (_, encoders) => {
    const { at, weights, resume } = resumable()
    writeFileSync(at('other.pth'), 'other weights')
    const files: Readonly<Record<string, string>> = { OTHER: at('other.pth'), SAME: weights }
    const given = encoders!.map(({ name, file }) => ({ name, ...(file !== undefined && { file: files[file]! }) }))
    await expect(resume(given)).rejects.toThrow(/has `encoders` \[.*\]; a resumed run cannot change it to \[/)
  })
})
