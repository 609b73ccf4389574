/** What computes in half precision reads a copy of the weights: whoever gives them other values makes that anew. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { ALONE } from '../../src/distributed/world.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { native } from '../../src/native.ts'
import { stateSource } from '../../src/nn/state-dict.ts'
import type { Device } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { loadInitialWeights } from '../../src/training/initial-weights.ts'
import { beginAlike } from '../../src/training/shared-beginning.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES } from '../tensor/devices.ts'
import { BATCH, modelOf } from '../training/tiny-trainer.ts'

const dataset = async () => Dataset.open(await tinyDataset(2 * BATCH))

/** Of step 0. */
async function checkpointOn(device: Device): Promise<string> {
  using model = modelOf({}, device)
  model.initialise(1)
  await using trainer = new Trainer({ model, data: await dataset(), batch: BATCH })
  return trainer.save(temporaryFolder())
}

/** Gives a model that computes in bf16 other weights, its average among them. */
type Change = (model: AnyTransformer) => Promise<void> | void

const CHANGES: readonly (readonly [by: string, change: Change])[] = [
  ['drawing them', (model) => model.initialise(2)],
  [
    'a state dict',
    (model) => {
      const tensors = model.entries.map(({ name, shape }) => {
        const elements = shape.reduce((product, size) => product * size, 1)
        return [name, hostFloat32(new Float32Array(elements).fill(0.5), shape)] as const
      })
      return model.load(stateSource(new Map(tensors), 'halves'))
    },
  ],
  [
    'going on from a checkpoint',
    async (model) => {
      await using trainer = new Trainer({ model, data: await dataset(), batch: BATCH, precision: 'bf16' })
      await trainer.restore(await checkpointOn(model.device))
    },
  ],
  [
    'beginning from a checkpoint',
    async (model) => {
      await loadInitialWeights(model, await checkpointOn(model.device), { path: 'linear', onNotice: () => {} })
    },
  ],
  [
    'beginning with those of another process',
    async (model) => {
      const broadcast = () => native().fill(model.arena.array('weights').handle, 0.5)
      const settings = { step: 0, batch: BATCH, accumulate: 1, seed: 0, learningRate: 0 }
      await beginAlike({ ...ALONE, size: 2, broadcast }, model, await dataset(), settings)
    },
  ],
  [
    'running the average',
    (model) => {
      native().fill(model.arena.array('ema').handle, 0.5)
      model.arena.use('ema')
    },
  ],
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || device === 'cpu')(`the weights' copy in bf16 on ${device} follows`, () => {
    test.each(CHANGES)('%s', async (_, change) => {
      using model = modelOf({}, device)
      model.computeIn('bf16')
      const before = await bytesOf(model)
      await change(model)
      expect(await bytesOf(model)).not.toEqual(before)
      using weights = cast(model.arena.array(model.arena.role), 'bf16')
      expect(await bytesOf(model)).toEqual((await weights.toHost()).data)
    })
  })
}

const bytesOf = async ({ arena }: AnyTransformer): Promise<Uint8Array> => (await arena.compute!.toHost()).data
