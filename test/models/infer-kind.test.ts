import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const SIZE = { depth: 1, hidden: 64, heads: 1, patch: 2 } as const
const OPTIONS = { inputSize: [4, 4] as [number, number], classes: 3, projectorWidth: 8 }

/** A file with a model's tensors; the head's weights are 1, or 0 in the channels from `trained` on. */
async function written(name: string, model: DiT | SiT, trained: number): Promise<string> {
  const path = join(temporaryFolder(), name)
  const outputs = model.config.channels * (model.config.learnSigma ? 2 : 1)
  await writeSafetensors(
    path,
    model.entries.map(({ name: tensor, shape }) => {
      const width = shape.at(-1)!
      const size = shape.reduce((a, b) => a * b, 1)
      const isHead = tensor === 'final_layer.linear.weight'
      const values = Float32Array.from({ length: size }, (_, i) =>
        isHead && Math.floor(i / width) % outputs >= trained ? 0 : 1,
      )
      return { name: tensor, ...hostFloat32(values, shape) }
    }),
  )
  return path
}

const dit = (options: object = {}) => DiT.create(SIZE, { ...OPTIONS, ...options })
const sit = (options: object = {}) => SiT.create(SIZE, { ...OPTIONS, ...options })

test.each([
  ['weights.safetensors', dit(), 8, {}, 'DiT', 'its last 4 output channels were trained'],
  ['weights.safetensors', dit(), 4, {}, 'SiT', 'its last 4 output channels were never trained'],
  ['SiT-XL-2-256.safetensors', dit(), 8, {}, 'SiT', 'its name says so'],
  ['my_sit.safetensors', dit(), 8, {}, 'SiT', 'its name says so'],
  ['DiT-not-SiT.safetensors', dit(), 8, {}, 'DiT', 'its last 4 output channels were trained'],
  ['deposit.safetensors', dit(), 8, {}, 'DiT', 'its last 4 output channels were trained'],
  ['SiT.safetensors', dit({ alignWidths: [5], alignDepth: 1 }), 8, {}, 'DiT', 'it has projectors'],
  ['weights.safetensors', dit(), 8, { kind: 'SiT' }, 'SiT', undefined],
  ['weights.safetensors', dit(), 4, { kind: 'DiT' }, 'DiT', undefined],
  ['weights.safetensors', sit(), 4, {}, 'SiT', undefined],
] as const)('%s, %#: a %o', async (name, model, trained, options, kind, reason) => {
  using made = model
  const path = await written(name, made, trained)
  const sentences: string[] = []
  const { model: loaded } = await loadModel(path, {
    device: 'cpu',
    heads: 1,
    onNotice: (sentence) => sentences.push(sentence),
    ...options,
  })
  using _loaded = loaded
  expect(loaded.config.kind).toBe(kind)
  if (loaded.config.kind === 'SiT') {
    expect(loaded.config.convention).toBe(made.config.learnSigma ? 'sit' : 'repa')
  }
  if (reason === undefined) expect(sentences).toEqual([])
  else
    expect(sentences.join()).toMatch(
      new RegExp(`^${path.replaceAll('.', '\\.')} is taken for .*${reason}\\..*\`kind\``),
    )
})

test('a convention that is given counts', async () => {
  using model = sit()
  const path = await written('x.safetensors', model, 4)
  const { model: loaded } = await loadModel(path, { device: 'cpu', heads: 1, convention: 'sit' })
  expect(loaded.config).toMatchObject({ kind: 'SiT', convention: 'sit', learnSigma: false })
  loaded.dispose()
})
