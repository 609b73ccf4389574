/** A path that is neither linear nor cosine, the original SiT's VP: where a file cannot say it, the conversion does. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { modelStatement } from '../../src/models/stated-model.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { referenceCheckpoint, tinyModel } from './tiny-checkpoint.ts'

/** With one head, as a reader of the tensors alone takes it to have. */
const model = { ...tinyModel, heads: 1 }
const { ema: weights } = referenceCheckpoint(model)
const METADATA = { path_type: 'VP' }
const STATED = { ...METADATA, ...modelStatement(model) }
const onPath = (file: string) =>
  `${file} was trained on the path VP, which is neither linear nor cosine: sampleTransportOde of the library has it.`

async function written(
  metadata: Readonly<Record<string, string>>,
): Promise<{ file: string; at: (name: string) => string }> {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder, name)
  const tensors = [...weights].map(([name, tensor]) => ({ name, ...tensor }))
  await writeSafetensors(at('vp.safetensors'), tensors, { metadata })
  return { file: at('vp.safetensors'), at }
}

test.each([
  ['stated', STATED],
  ['alone', METADATA],
])('with a model %s, no checkpoint is made of it', async (_, metadata) => {
  const { file, at } = await written(metadata)
  await expect(convert(file, at('folder'), metadata === STATED ? {} : { heads: 1 })).rejects.toThrow(
    new Error(
      `${file} was trained on the path VP, which is neither linear nor cosine, and no run here goes on with that; a .safetensors file or a ` +
        'torch file takes its weights.',
    ),
  )
})

test.each([
  [
    'stated',
    STATED,
    (_: string, bare: string) =>
      `${bare} holds tensors alone, of which a reader would take the model for another: path "linear", not "VP". A .safetensors file says ` +
      'what it is.',
  ],
  [
    'alone',
    METADATA,
    (file: string, bare: string) => `The metadata of ${file} (path_type) is left out: ${bare} has no place for it.`,
  ],
])('with a model %s, a bare state dict is said to have no place for it', async (_, metadata, sentence) => {
  const { file, at } = await written(metadata)
  const { notes } = await convert(file, at('bare.pt'))
  expect(notes).toEqual([onPath(file), sentence(file, at('bare.pt'))])
})

test('what has a place for it keeps it', async () => {
  const { file, at } = await written(STATED)
  const copy = at('copy.safetensors')
  expect(await convert(file, copy)).toMatchObject({ notes: [onPath(file)] })
  const told: string[] = []
  const { model, path } = await loadModel(copy, { onNotice: (sentence) => told.push(sentence) })
  model.dispose()
  expect({ path, told }).toEqual({ path: undefined, told: [onPath(copy)] })
})

test('a training on it is not gone on with, and its weights are taken', async () => {
  const { at } = await written({})
  const reference = referenceCheckpoint(model)
  await writeTorchCheckpoint(at('vp.pt'), { ...reference, args: { ...reference.args, path_type: 'VP' } })
  await expect(convert(at('vp.pt'), at('folder'))).rejects.toThrow('path_type is "VP"')
  expect(await convert(at('vp.pt'), at('ema.safetensors'))).toMatchObject({ notes: [onPath(at('vp.pt'))] })
})
