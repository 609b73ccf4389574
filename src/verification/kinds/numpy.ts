/** `numpy.file`: arrays that NumPy wrote, .npy and .npz. */
import { basename, extname } from 'node:path/posix'
import * as z from 'zod'
import { readNpy } from '../../formats/npy.ts'
import { NpzFile } from '../../formats/npz.ts'
import type { HostTensor } from '../../tensor/host-tensor.ts'
import type { GoldenFile } from '../golden-set.ts'
import type { Runner } from './kind.ts'

const numpyArguments = z.object({ expected: z.string() })

/** Every array of the file against the expected tensor for it. */
export const numpyFile: Runner = async function* (file) {
  const { expected: expectedPath } = file.args(numpyArguments)
  await using expected = file.set.file(expectedPath)
  await file.set.requireIntact(file.path)
  const missing = new Set(tensorsNaming(expected, file))
  for await (const [array, tensor] of arraysOf(file)) {
    const name = expectedName(expected, file, array)
    missing.delete(name)
    yield await expected.compare(name, tensor, { sameDtype: true })
  }
  if (missing.size > 0) throw new Error(`${file.absolutePath} does not hold ${[...missing].join(', ')}.`)
}

/** The arrays with their names; that of a .npy file has none. */
async function* arraysOf(file: GoldenFile): AsyncGenerator<[string | undefined, HostTensor]> {
  if (extname(file.path) === '.npy') {
    yield [undefined, await readNpy(file.absolutePath)]
    return
  }
  await using archive = await NpzFile.open(file.absolutePath)
  for (const name of archive.names) yield [name, await archive.read(name)]
}

/** Expected tensors are `STEM.ARRAY`, or `STEM` for a .npy file; a description that names a file settles whose it is. */
function expectedName(expected: GoldenFile, file: GoldenFile, array: string | undefined): string {
  const named = tensorsNaming(expected, file)
  const fits = (name: string) => (array === undefined ? !name.includes('.') : name.endsWith(`.${array}`))
  const own = named.filter(fits)
  const candidates = own.length > 0 ? own : Object.keys(expected.tensors).filter(fits)
  if (candidates.length !== 1) {
    const what = array === undefined ? 'its array' : `its array ${array}`
    throw new Error(`${file.path}: ${expected.path} has ${candidates.length} tensors for ${what}; expected one.`)
  }
  return candidates[0]!
}

function tensorsNaming(expected: GoldenFile, file: GoldenFile): string[] {
  const name = basename(file.path)
  return Object.entries(expected.tensors).flatMap(([tensor, { desc }]) =>
    desc.split(' ').includes(name) ? [tensor] : [],
  )
}
