/** What a program without types may give the writers and readers: an error before anything is written, never a file that nothing can read. */
import { constants } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileAccessError } from '../../src/formats/errors.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { TorchCheckpoint } from '../../src/formats/torch-checkpoint.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const TENSOR = { name: 'a', dtype: 'f32', shape: [1], data: new Uint8Array(4) }
const { name: _, ...NAMELESS } = TENSOR
const floats = new Float32Array([1])

const cases: [what: string, entries: unknown, options: unknown, sentence: RegExp][] = [
  ['a number in the metadata', [TENSOR], { metadata: { step: 100 } }, /writeSafetensors: metadata\.step is 100/],
  ['undefined in it', [TENSOR], { metadata: { step: undefined } }, /metadata\.step is missing/],
  ['a misspelt option', [TENSOR], { checksums: true }, /"checksums".*"checksum"\?/],
  ['no options at all', [TENSOR], null, /the options of writeSafetensors: the value is null: expected object/],
  ['a tensor without a name', [NAMELESS], {}, /A tensor has the name undefined; a text was expected/],
  ['a number for a name', [{ ...TENSOR, name: 3 }], {}, /A tensor has the name 3; a text/],
  ['numbers for bytes', [{ ...TENSOR, data: floats }], {}, /"a" gives its bytes as Float32Array; expected Uint8Array/],
  [
    'a function that gives numbers',
    [{ ...TENSOR, data: async () => floats }],
    {},
    /as Float32Array; expected Uint8Arr/,
  ],
  [
    'pieces of numbers',
    [
      {
        ...TENSOR,
        async *pieces() {
          yield floats
        },
      },
    ],
    {},
    /as Float32Array; expected Uint8Array/,
  ],
]

test.each(cases)('writeSafetensors refuses %s and leaves no file', async (_what, entries, options, sentence) => {
  const folder = temporaryFolder()
  const path = join(folder, 'a.safetensors')
  await expect(writeSafetensors(path, entries as never, options as never)).rejects.toThrow(sentence)
  expect(existsSync(path)).toBe(false)
})

test('writeTorchCheckpoint refuses a misspelt option and a tensor of a device', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'a.pt')
  await expect(writeTorchCheckpoint(path, { a: 1 }, { fsyc: true } as never)).rejects.toThrow(/"fsyc".*"fsync"\?/)
  using tensor = Tensor.from(floats, [1], 'cpu')
  await expect(writeTorchCheckpoint(path, { a: tensor } as never)).rejects.toThrow(/await tensor\.toHost\(\)/)
  await expect(writeSafetensors(path, [Object.assign(tensor, { name: 'a' })] as never)).rejects.toThrow(/toHost\(\)/)
  expect(existsSync(path)).toBe(false)
})

test('a checkpoint reads its own tensors alone, and is asked by an array of keys', async () => {
  const folder = temporaryFolder()
  const paths = ['a', 'b'].map((name) => join(folder, `${name}.pt`))
  for (const [i, path] of paths.entries()) {
    await writeTorchCheckpoint(path, { w: { dtype: 'u8', shape: [1], data: Uint8Array.of(i) } })
  }
  await expect(TorchCheckpoint.open(paths[0]!, { inertGlobal: ['x'] } as never)).rejects.toThrow(/"inertGlobals"\?/)
  await using first = await TorchCheckpoint.open(paths[0]!)
  await using second = await TorchCheckpoint.open(paths[1]!)
  const foreign = second.stateDict().get('w')!
  expect((await second.read(foreign)).data).toEqual(Uint8Array.of(1))
  await expect(first.read(foreign)).rejects.toThrow('this tensor belongs to another checkpoint')
  await expect(first.pieces(foreign).next()).rejects.toThrow('this tensor belongs to another checkpoint')
  await expect(first.read('w' as never)).rejects.toThrow(/expected one of its tensors, as stateDict\(\) gives them/)
  expect(() => first.stateDict('w' as never)).toThrow(
    /the path of a state dict: the value is "w": expected an array of keys/,
  )
})

test('a pipe that nobody writes to is refused, not waited for', async () => {
  const pipe = join(temporaryFolder(), 'pipe')
  execFileSync('mkfifo', [pipe])
  const refused = new FileAccessError('read', pipe, new Error('it is not a regular file'))
  await expect(SafetensorsFile.open(pipe)).rejects.toThrow(refused)
  await expect(TorchCheckpoint.open(pipe)).rejects.toThrow(refused)
})

test.skipIf(constants.MAX_LENGTH > 2 ** 40)('more bytes than this Node holds at once are refused by name', async () => {
  const path = join(temporaryFolder(), 'large.safetensors')
  const floats = constants.MAX_LENGTH / 4 + 1
  const header = Buffer.from(JSON.stringify({ a: { dtype: 'F32', shape: [floats], data_offsets: [0, 4 * floats] } }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  await writeFile(path, Buffer.concat([length, header]))
  await truncate(path, 8 + header.length + 4 * floats)
  await using file = await SafetensorsFile.open(path)
  await expect(file.read('a')).rejects.toThrow(
    `Cannot read ${path}: Node ${process.version} holds ${constants.MAX_LENGTH} bytes at once, and ${4 * floats} are needed`,
  )
})
