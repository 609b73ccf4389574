import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { SiT } from '../../src/models/sit.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** A torch file with the weights of a model of two heads of 32 as its `ema`, and these arguments. */
async function written(args: Record<string, string | number | null>): Promise<string> {
  const path = join(temporaryFolder(), 'weights.pt')
  using model = SiT.create(
    { depth: 1, hidden: 64, heads: 2, patch: 2 },
    { inputSize: [4, 4], classes: 3, learnSigma: true },
  )
  const ema = new Map<string, HostTensor>()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    ema.set(entry.name, { ...(await view.toHost()), shape: entry.shape })
  }
  await writeTorchCheckpoint(path, { ema, args })
  return path
}

describe('the arguments of the script that trained a file', () => {
  test.each<readonly [Record<string, string | number | null>, object, RegExp[]]>([
    [{ model: 'SiT-S/2', num_heads: 2, path_type: 'cosine' }, { kind: 'SiT', heads: 2, path: 'cosine' }, []],
    [{ model: 'DiT-S/2', num_heads: 2 }, { kind: 'DiT', heads: 2, path: undefined }, []],
    // The original SiT's names.
    [{ model: 'SiT-S/2', num_heads: 2, path_type: 'GVP' }, { kind: 'SiT', heads: 2, path: 'cosine' }, []],
    [
      { model: 'SiT-S/2', num_heads: 2, path_type: 'VP' },
      { kind: 'SiT', heads: 2, path: undefined },
      [
        /weights\.pt was trained on the path VP, which is neither linear nor cosine: sampleTransportOde of the library has it\.$/,
      ],
    ],
    [
      { model: 'SiT-S/2', num_heads: 2, path_type: 'spiral' },
      { kind: 'SiT', heads: 2, path: undefined },
      [/weights\.pt was trained on the path spiral, which is neither linear nor cosine\.$/],
    ],
    // Of another script: they say nothing here.
    [
      { model: 3, num_heads: 'many', path_type: null },
      { kind: 'DiT', heads: 1, path: undefined },
      [/is taken for a DiT/, /does not tell how many attention heads it has: 1 assumed/],
    ],
  ])('%j', async (args, expected, notices) => {
    const told: string[] = []
    const { model, path } = await loadModel(await written(args), {
      device: 'cpu',
      onNotice: (sentence) => told.push(sentence),
    })
    using loaded = model
    expect({ kind: loaded.config.kind, heads: loaded.config.heads, path }).toEqual(expected)
    expect(told).toEqual(notices.map((pattern) => expect.stringMatching(pattern)))
  })

  test('count less than what is given', async () => {
    const file = await written({ model: 'DiT-S/2', num_heads: 2 })
    const { model } = await loadModel(file, { device: 'cpu', heads: 4, kind: 'SiT' })
    using loaded = model
    expect(loaded.config).toMatchObject({ kind: 'SiT', heads: 4 })
  })
})
