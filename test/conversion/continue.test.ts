import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { convert } from '../../src/conversion/convert.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { writeNpy } from '../../src/formats/npy.ts'
import { SiT } from '../../src/models/sit.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { temporaryFolder, writeTree } from '../data/temporary-folder.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../formats/golden-folder.ts'

/** As wide as the golden model's projector gives. */
const encoder: Encoder = {
  name: 'constant',
  width: 8,
  features: (images, [rows, columns]) => Tensor.full([images.shape[0]!, rows * columns, 8], 0.5, 'cpu'),
  [Symbol.dispose]() {},
}

/** Two samples of 8 x 8 latents in the reference's layout. */
async function tinyDataset(): Promise<string> {
  const root = temporaryFolder()
  const png = encodePng(new Uint8Array(3 * 64 * 64).fill(90), 64, 64, 3)
  const listing = (names: string[]) => JSON.stringify({ labels: names.map((name, i) => [name, 4 * i]) })
  const images = ['00000/img00000000.png', '00000/img00000001.png']
  const latents = ['00000/img-mean-std-00000000.npy', '00000/img-mean-std-00000001.npy']
  writeTree(root, {
    'images/dataset.json': listing(images),
    'vae-sd/dataset.json': listing(latents),
    'vae-sd/00000/': '',
    ...Object.fromEntries(images.map((name) => [`images/${name}`, png])),
  })
  for (const [i, name] of latents.entries()) {
    const moments = Float32Array.from({ length: 8 * 8 * 8 }, (_, j) => Math.sin(j + i) + (j >= 256 ? 1.5 : 0))
    await writeNpy(join(root, 'vae-sd', name), hostFloat32(moments, [8, 8, 8]))
  }
  return root
}

describe.skipIf(!haveGolden)(`training goes on from the reference's checkpoint${goldenSuffix}`, () => {
  test('Trainer restores the folder, makes a step and saves what converts back', async () => {
    const folder = temporaryFolder()
    const reference = join(folder, '0000003')
    await convert(join(goldenFolder, 'pt/repa-ckpt.pt'), reference, { heads: 2, alignDepth: 1 })
    const { model: config } = await readCheckpointState(reference)
    using model = SiT.fromConfig(config, 'cpu')
    const data = await Dataset.open(await tinyDataset())
    await using trainer = new Trainer({ model, data, align: { encoder, depth: 1 }, batch: 2 })
    await trainer.restore(reference)
    expect(trainer.step).toBe(3)
    const steps = []
    for await (const step of trainer.run({ steps: 4 })) steps.push(step)
    expect(steps).toHaveLength(1)
    expect(steps[0]).toMatchObject({ index: 4, finite: true, skipped: 0 })
    expect(Number.isFinite(steps[0]!.loss)).toBe(true)
    const saved = await trainer.save(folder)
    expect(await readCheckpointState(saved)).toMatchObject({ step: 4, updates: 4, model: config })
    const { kind, tensors } = await convert(saved, join(folder, '0000004.pt'))
    expect({ kind, tensors }).toEqual({ kind: 'training checkpoint', tensors: 4 * 38 - 2 })
  })
})
