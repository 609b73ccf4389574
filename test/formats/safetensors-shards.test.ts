import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { fileDigest } from '../../src/formats/file-digest.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { openSafetensors } from '../../src/formats/safetensors-shards.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { openWeights } from '../../src/models/weights-file.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { expectSameTensor, patternTensor } from './tensors.ts'

const FIRST = 'model-00001-of-00002.safetensors'
const SECOND = 'model-00002-of-00002.safetensors'
const TENSORS = {
  'b.weight': { ...patternTensor('f32', [2, 3], 1), shard: FIRST },
  'a.weight': { ...patternTensor('bf16', [4], 2), shard: SECOND },
  'c.bias': { ...patternTensor('i64', [], 3), shard: FIRST },
}

/** What save_pretrained leaves of a model that it cuts in two; `map` changes what the index says. */
async function shards(map: Record<string, unknown> = {}): Promise<{ folder: string; index: string }> {
  const folder = temporaryFolder()
  for (const shard of [FIRST, SECOND]) {
    const its = Object.entries(TENSORS).filter(([, tensor]) => tensor.shard === shard)
    const entries = its.map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data }))
    await writeSafetensors(join(folder, shard), entries, { metadata: { format: 'pt' } })
  }
  const index = join(folder, 'model.safetensors.index.json')
  const places = Object.entries(TENSORS).map(([name, { shard }]) => [name, shard])
  const json = { metadata: { total_size: 40 }, weight_map: { ...Object.fromEntries(places), ...map } }
  await writeFile(index, JSON.stringify(json))
  return { folder, index }
}

test('the shards of an index are read as one file', async () => {
  const { index } = await shards()
  const file = await openSafetensors(index)
  try {
    expect([...file.tensors.keys()]).toEqual(Object.keys(TENSORS))
    for (const [name, tensor] of Object.entries(TENSORS)) {
      const { dtype, shape } = tensor
      expect(file.tensors.get(name)).toMatchObject({ dtype, shape })
      expectSameTensor(await file.read(name), tensor, name)
      const pieces: Uint8Array[] = []
      for await (const piece of file.pieces(name)) pieces.push(Uint8Array.from(piece))
      expect(Buffer.concat(pieces)).toEqual(Buffer.from(tensor.data))
    }
    await expect(file.read('d')).rejects.toThrow(`${index}: there is no tensor "d".`)
  } finally {
    await file.close()
  }
  await using weights = await openWeights(index)
  expect(weights.names).toEqual(Object.keys(TENSORS))
  expectSameTensor(await weights.read('a.weight'), TENSORS['a.weight'], 'a.weight')
})

test('and are made one', async () => {
  const { folder, index } = await shards()
  const output = join(folder, 'whole.safetensors')
  expect(await convert(index, output)).toMatchObject({ kind: 'tensors', tensors: 3, notes: [] })
  await using file = await SafetensorsFile.open(output)
  for (const [name, tensor] of Object.entries(TENSORS)) expectSameTensor(await file.read(name), tensor, name)
})

test('their digest is of the index and of every shard', async () => {
  const { folder, index } = await shards()
  const first = await fileDigest(index)
  expect(await fileDigest((await shards()).index)).toBe(first)
  const path = join(folder, SECOND)
  const bytes = await readFile(path)
  bytes[bytes.length - 1]! ^= 1
  await writeFile(path, bytes)
  const second = await fileDigest(index)
  expect(second).not.toBe(first)
  await writeFile(index, `${await readFile(index, 'utf8')}\n`)
  expect(await fileDigest(index)).not.toBe(second)
})

test.each([
  ['../model.safetensors', 'the tensor "d" is said to lie in "../model.safetensors"; expected the name of a'],
  ['model.bin', 'expected the name of a .safetensors file beside the index'],
  [FIRST, `the tensor "d" is said to lie in ${FIRST}, which has none of that name.`],
  ['model-3.safetensors', 'Cannot read'],
  [7, 'the index of shards has no "weight_map"'],
])('an index that places a tensor in %o is refused', async (place, message) => {
  const { index } = await shards({ d: place })
  await expect(openSafetensors(index)).rejects.toThrow(message)
})

test.each([
  ['{', 'the index of shards is not valid JSON'],
  ['[]', 'the index of shards has no "weight_map"'],
  ['{"metadata": {}}', 'the index of shards has no "weight_map"'],
])('%s is no index', async (text, message) => {
  const index = join(temporaryFolder(), 'model.safetensors.index.json')
  await writeFile(index, text)
  await expect(openSafetensors(index)).rejects.toThrow(message)
  await expect(fileDigest(index)).rejects.toThrow(message)
})

test('one of them is not taken for the whole', async () => {
  const { folder } = await shards()
  await expect(openWeights(join(folder, FIRST))).rejects.toThrow(
    'this is one of 2 shards; name model.safetensors.index.json, which lies beside them.',
  )
  const only = join(folder, 'model-00001-of-00001.safetensors')
  await writeSafetensors(only, [{ name: 'a', ...patternTensor('f32', [1], 1) }])
  await using file = await openWeights(only)
  expect(file.names).toEqual(['a'])
})

test('an index that is not there', async () => {
  const index = join(temporaryFolder(), 'model.safetensors.index.json')
  await expect(openWeights(index)).rejects.toMatchObject({ name: 'FileAccessError', code: 'ENOENT' })
})
