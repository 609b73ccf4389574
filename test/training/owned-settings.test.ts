/** Settings of what a training may be without, where they are right all the same. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'
import { requireOwners } from '../../src/training/owned-settings.ts'
import { resolveConfiguration } from '../../src/training/run-configuration.ts'
import { RUN_LAYOUT } from '../../src/training/run-layout.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const HOG = { encoders: [{ name: 'hog' }] } satisfies TrainingOptions

describe('what a training has takes settings', () => {
  test.each<TrainingOptions>([
    { ...HOG, alignWeight: 0.7, alignDepth: 2, projectorWidth: 32, alignSpatialNorm: 0.6, alignUntil: 9 },
    { ...HOG, alignLoss: 'nt-xent', alignTemperature: 0.2, projector: 'conv' },
    { ...HOG, alignAttentionWeight: 0.5, alignAttentionBlocks: 2, alignAttentionHeads: 3 },
    { dispersiveWeight: 0.5, dispersiveTemperature: 2, dispersiveDepth: 2 },
    { selfAlignWeight: 0.2, selfAlignDepth: 2, selfAlignTeacherDepth: 3, selfAlignTimeOffset: 0.5, alignUntil: 9 },
    // Self-alignment is of that block then.
    { selfAlignWeight: 0.2, alignDepth: 2 },
    { routeTokens: 0.5, routeFrom: 3, routeTo: 9 },
  ])('%j', (settings) => {
    requireOwners(settings, trainingSchema.parse(settings))
  })
})

test("a training takes what another's config.json says though it is the default of what is not there", () => {
  const configuration = trainingSchema.parse({})
  requireOwners(configuration, configuration)
})

const begin = (given: Pick<Parameters<typeof resolveConfiguration>[0], 'configuration' | 'shared'>) =>
  resolveConfiguration({ data: 'data', out: temporaryFolder(), ...given })

test('a file has what an alignment is of for trainings with an encoder and without', async () => {
  const shared = { alignWeight: 0.7, alignDepth: 2, projectorWidth: 32 }
  expect(await begin({ configuration: {}, shared })).toMatchObject({ ...shared, encoders: [] })
  expect(await begin({ configuration: { ...HOG, alignDepth: 1 }, shared })).toMatchObject({
    ...HOG,
    alignWeight: 0.7,
    alignDepth: 1,
    projectorWidth: 32,
  })
  await expect(begin({ configuration: shared })).rejects.toThrow(
    '`alignWeight` 0.7 is of the alignment with an encoder',
  )
})

test('a file has no other settings of what is not there', async () => {
  const shared = { selfAlignDepth: 2 }
  await expect(begin({ configuration: {}, shared })).rejects.toThrow('selfAlignDepth 2 is of self-alignment')
  expect(await begin({ configuration: { selfAlignWeight: 0.2 }, shared })).toMatchObject(shared)
})

test('a setting that is undefined is none, and leaves that of the file', async () => {
  const shared = { batch: 3 }
  expect(await begin({ configuration: { batch: undefined, alignDepth: undefined }, shared })).toMatchObject(shared)
})

test('a run that has had settings which did nothing goes on', async () => {
  const out = temporaryFolder()
  const training = { alignDepth: 2, alignWeight: 0.7, projectorWidth: 32, dispersiveDepth: 2, selfAlignTimeOffset: 0.5 }
  writeFileSync(join(out, RUN_LAYOUT.configuration), JSON.stringify({ data: 'data', training }))
  const resume = { data: 'data', out, resume: true }
  expect(await resolveConfiguration({ ...resume, configuration: {} })).toMatchObject(training)
  expect(await resolveConfiguration({ ...resume, configuration: training })).toMatchObject(training)
  const other = resolveConfiguration({ ...resume, configuration: { dispersiveDepth: 3 } })
  await expect(other).rejects.toThrow('has `dispersiveDepth` 2; a resumed run cannot change it to 3')
})
