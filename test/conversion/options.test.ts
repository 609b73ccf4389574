/** What a program without types may ask a conversion for: refused in a sentence before a file is written, for it would hold something else. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { convert } from '../../src/conversion/convert.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { referenceCheckpoint } from './tiny-checkpoint.ts'

test.each<[wrong: Record<string, unknown>, sentence: string]>([
  [{ weights: 'emma' }, 'weights is "emma": expected one of "ema"|"model"; did you mean "ema"?'],
  [{ weigths: 'model' }, 'there is no setting "weigths"; did you mean "weights"?'],
  [{ key: 1 }, 'key is 1: expected string.'],
  [{ inert: 'a.B' }, 'inert is "a.B": expected array.'],
  [{ heads: 0 }, 'heads is 0: expected number to be >0.'],
  [{ alignDepth: 1.5 }, 'alignDepth is 1.5: expected int.'],
  [{ kind: 'Sit' }, 'kind is "Sit": expected one of "SiT"|"DiT"; did you mean "SiT"?'],
  [{ force: 'yes' }, 'force is "yes": expected boolean.'],
  [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
])('convert with %j', async (wrong, sentence) => {
  const folder = temporaryFolder()
  const path = join(folder, '0000007.pt')
  await writeTorchCheckpoint(path, referenceCheckpoint())
  for (const name of ['out.safetensors', 'out.pt', 'out']) {
    await expect(convert(path, join(folder, name), wrong)).rejects.toThrow(
      new ConfigurationError(`the conversion's options: ${sentence}`),
    )
  }
  expect(await readdir(folder)).toEqual(['0000007.pt'])
})

test.each<[wrong: Record<string, unknown>, sentence: string]>([
  [{ head: 2 }, 'there is no setting "head"; did you mean "heads"?'],
  [{ weights: 'model' }, 'there is no setting "weights".'],
  [{ alignDepth: 0 }, 'alignDepth is 0: expected number to be >0.'],
])('adoptCheckpoint with %j', async (wrong, sentence) => {
  const folder = temporaryFolder()
  const [path, run] = [join(folder, '0000007.pt'), join(folder, 'run')]
  await writeTorchCheckpoint(path, referenceCheckpoint())
  await expect(adoptCheckpoint(path, run, wrong)).rejects.toThrow(
    new ConfigurationError(`the adoption's options: ${sentence}`),
  )
  expect(existsSync(run)).toBe(false)
})
