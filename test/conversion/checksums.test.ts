import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { referenceCheckpoint } from './tiny-checkpoint.ts'

test.each(['torch checkpoint', 'folder', 'file'])(
  'a byte that changed in what was made of a %s is found',
  async (of) => {
    const folder = temporaryFolder()
    const [torch, checkpoint, file, output] = ['a.pt', '0000007', 'b.safetensors', 'c.safetensors'].map((name) =>
      join(folder, name),
    ) as [string, string, string, string]
    await writeTorchCheckpoint(torch, referenceCheckpoint())
    await convert(torch, checkpoint, { heads: 2 })
    await convert(checkpoint, file, { weights: 'ema' })
    if (of === 'file') await convert(file, output)
    else await convert(of === 'folder' ? checkpoint : torch, output, { weights: 'ema' })
    const bytes = readFileSync(output)
    const last = bytes.length - 1
    bytes[last] = bytes[last]! ^ 1
    writeFileSync(output, bytes)
    await expect(loadModel(output, { heads: 2 })).rejects.toThrow(/c\.safetensors: .*checksum/)
  },
)
