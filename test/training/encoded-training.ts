/** Small trainings on latents that were prepared, or are made of every batch's images. */
import { join } from 'node:path'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import type { Autoencoder } from '../../src/models/autoencoder.ts'
import { SiT } from '../../src/models/sit.ts'
import type { Device } from '../../src/tensor/device.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { syntheticImage } from '../data/synthetic-image.ts'
import { random } from '../reference/array.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { BATCH, digestOf, SIZE, steps } from './tiny-trainer.ts'

export const SAMPLES = 2 * BATCH

/** Pictures of this size, in two classes; with `latents` encoded by it. */
export async function prepared(size: number, latents?: Autoencoder): Promise<string> {
  const root = temporaryFolder()
  const source = join(root, 'source')
  const picture = (i: number) => encodePng(syntheticImage(size, size, i + 1).data, size, size, 3)
  writeTree(
    source,
    Object.fromEntries(Array.from({ length: SAMPLES }, (_, i) => [`class${i % 2}/${i}.png`, picture(i)])),
  )
  const out = join(root, 'data')
  await prepareDataset({ source, out, size, flip: true, ...(latents && { latents }) })
  return out
}

/** A model of an autoencoder's latents. */
export function modelFor(data: Dataset, device: Device): SiT {
  const [channels, height, width] = data.latentShape
  const patch = height > 2 ? SIZE.patch : 1
  const options = { channels, inputSize: [height, width] as [number, number], classes: 2, projectorWidth: 16, device }
  const model = SiT.create({ ...SIZE, patch }, options)
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
  return model
}

/** Four steps in fp32: their losses, and a digest of all that they leave. */
export async function trained(
  path: string,
  autoencoder: Autoencoder | undefined,
  device: Device,
  options: Partial<TrainerOptions>,
) {
  const data = await Dataset.open(path)
  using model = modelFor(autoencoder ? data.encoded(autoencoder) : data, device)
  await using trainer = new Trainer({
    model,
    data,
    autoencoder,
    batch: BATCH,
    learningRate: 1e-3,
    precision: 'fp32',
    ...options,
  })
  const losses = (await steps(trainer, 4)).map(({ loss, alignment }) => [loss, alignment])
  return { losses, digest: await digestOf(trainer) }
}
