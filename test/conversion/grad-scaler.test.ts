/** A run's loss scale on its way through a torch file, where torch's GradScaler keeps its own. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { TorchCheckpoint } from '../../src/formats/torch-checkpoint.ts'
import { type WritableTorchValue, writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { type CheckpointState, readCheckpointState } from '../../src/training/checkpoint.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { referenceCheckpoint, tinyModel } from './tiny-checkpoint.ts'

/** The state of the folder that a training checkpoint with this scaler becomes; `run` is where. */
async function converted(
  scaler?: WritableTorchValue,
): Promise<{ folder: string; run: string; state: CheckpointState }> {
  const folder = temporaryFolder()
  const [path, run] = [join(folder, 'in.pt'), join(folder, 'run')]
  await writeTorchCheckpoint(path, { ...referenceCheckpoint(tinyModel), ...(scaler !== undefined && { scaler }) })
  await convert(path, run, { heads: 2 })
  return { folder, run, state: await readCheckpointState(run) }
}

/** torch.amp.GradScaler().state_dict() after 1,234 steps at the scale that it begins with. */
const TORCH = { scale: 65536, growth_factor: 2, backoff_factor: 0.5, growth_interval: 2000, _growth_tracker: 1234 }

test.each([
  ["torch's", TORCH, { scale: 65536, steps: 1234 }],
  ['one that is not enabled', {}, undefined],
  ['none', undefined, undefined],
])('a scaler is read: %s', async (_, scaler, lossScaling) => {
  expect((await converted(scaler)).state.lossScaling).toEqual(lossScaling)
})

test('a scaler that is none is refused', async () => {
  await expect(converted({ ...TORCH, scale: 0 })).rejects.toThrow(/in\.pt: scaler.*scale/)
})

test.each([
  ['a scale', { scale: 1024, steps: 17 }, new Map(Object.entries({ ...TORCH, scale: 1024, _growth_tracker: 17 }))],
  ['none', undefined, undefined],
])('%s comes back from a torch file as it was', async (_, lossScaling, written) => {
  const { folder, run, state } = await converted()
  const path = join(run, 'state.json')
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), lossScaling }))
  const [file, again] = [join(folder, 'back.pt'), join(folder, 'again')]
  await convert(run, file)
  {
    await using opened = await TorchCheckpoint.open(file)
    expect((opened.value as Map<string, unknown>).get('scaler')).toEqual(written)
  }
  await convert(file, again)
  expect(await readCheckpointState(again)).toEqual({ ...state, ...(lossScaling && { lossScaling }) })
})
