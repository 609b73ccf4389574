/** A file of weights alone shows its grid by its positions: 9 × 16 tokens are as many as 12 × 12. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const SIZE = { depth: 1, hidden: 64, heads: 1 } as const

/** A file with a model's positions, times `factor`, and zeros. */
async function written(model: SiT, factor: number): Promise<string> {
  const path = join(temporaryFolder(), 'weights.safetensors')
  const entry = model.entries.find(({ name }) => name === 'pos_embed')!
  using view = model.arena.view('weights', entry)
  const positions = (await view.data()).map((value) => factor * value)
  await writeSafetensors(
    path,
    model.entries.map(({ name, shape }) => {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1))
      return { name, ...hostFloat32(name === 'pos_embed' ? positions : values, shape) }
    }),
  )
  return path
}

test.each<
  [
    what: string,
    inputSize: [number, number],
    patch: number,
    options: Partial<SiTOptions>,
    factor: number,
    read: [number, number],
  ]
>([
  ['a landscape', [9, 16], 1, {}, 1, [9, 16]],
  ['a portrait', [16, 9], 1, {}, 1, [16, 9]],
  ['a square', [12, 12], 1, {}, 1, [12, 12]],
  ['one of no square number of tokens', [6, 10], 2, {}, 1, [6, 10]],
  [
    'one with a class token',
    [9, 16],
    1,
    { classTokenWidth: 8, alignWidths: [8], alignDepth: 1, projectorWidth: 8 },
    1,
    [9, 16],
  ],
  ['one of LightningDiT’s blocks', [9, 16], 1, { norm: 'rmsNorm', ffn: 'swiglu', rope: true }, 1, [9, 16]],
  ['one of positions of its own', [9, 16], 1, {}, 0.5, [12, 12]],
])('%s', async (_, inputSize, patch, options, factor, read) => {
  using model = SiT.create({ ...SIZE, patch }, { inputSize, classes: 3, ...options })
  const path = await written(model, factor)
  const { model: loaded } = await loadModel(path, { heads: 1 })
  using _loaded = loaded
  expect(loaded.config.inputSize).toEqual(read)
  const folder = join(temporaryFolder(), 'checkpoint')
  await convert(path, folder, { heads: 1 })
  expect((await readCheckpointState(folder)).model.inputSize).toEqual(read)
})
