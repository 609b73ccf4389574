/** `torch.file` and `torch.must-fail`: what `torch.save` wrote, and archives that must be refused. */
import * as z from 'zod'
import { FileFormatError } from '../../formats/errors.ts'
import { TorchCheckpoint, type TorchValue } from '../../formats/torch-checkpoint.ts'
import { TorchTensor } from '../../formats/torch-tensor.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'
import type { GoldenFile } from '../golden-set.ts'
import type { ManifestTensor } from '../manifest.ts'
import type { Runner } from './kind.ts'
import { refusalOf } from './refusal.ts'

const torchArguments = z.object({ expected: z.string(), prefix: z.string().default('') })

/**
 * Every tensor of the file against the expected one of its dotted path, behind the prefix; none may be missing on either
 * side. Half-precision tensors are expected widened to float32.
 */
export const torchFile: Runner = async function* (file) {
  const { expected: expectedPath, prefix } = file.args(torchArguments)
  await using expected = file.set.file(expectedPath)
  await file.set.requireIntact(file.path)
  await using checkpoint = await TorchCheckpoint.open(file.absolutePath)
  const found = new Map(leavesOf(checkpoint.value))
  for (const name of expectedNames(file, expected, prefix)) {
    const leaf = found.get(name.slice(prefix.length))
    if (leaf === undefined) throw new Error(`${file.absolutePath} has no tensor ${name.slice(prefix.length)}.`)
    found.delete(name.slice(prefix.length))
    const { dtype } = expected.tensors[name]!
    const stored = leaf instanceof TorchTensor ? await checkpoint.read(leaf) : scalarOf(leaf, dtype)
    const actual = dtype === 'F32' ? widened(stored) : stored
    yield await expected.compare(name, actual, { sameDtype: true })
  }
  for (const [name, leaf] of found) {
    if (leaf instanceof TorchTensor) throw new Error(`${expectedPath} expects no tensor ${prefix}${name}.`)
  }
}

/** Names behind the prefix; without one, those that no other file of the case has for its own. */
function expectedNames(file: GoldenFile, expected: GoldenFile, prefix: string): string[] {
  const names = Object.keys(expected.tensors).filter((name) => name.startsWith(prefix))
  const others = file.siblings(file.spec.kind).flatMap((path) => {
    const other = file.set.file(path).args(torchArguments)
    return other.expected === expected.path && other.prefix.length > prefix.length ? [other.prefix] : []
  })
  return names.filter((name) => !others.some((other) => name.startsWith(other)))
}

/** Tensors and numbers by their dotted path: keys of dictionaries, indices of lists. */
function* leavesOf(value: TorchValue, path = ''): Generator<[string, TorchTensor | number]> {
  if (value instanceof TorchTensor || typeof value === 'number') {
    yield [path, value]
    return
  }
  const entries = value instanceof Map || Array.isArray(value) ? value.entries() : []
  for (const [key, item] of entries) yield* leavesOf(item, path === '' ? String(key) : `${path}.${String(key)}`)
}

/** A number of a pickle has no dtype: it takes that of the tensor that is expected for it. */
function scalarOf(value: number, dtype: ManifestTensor['dtype']): HostTensor {
  const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer)
  if (dtype === 'I64' && Number.isSafeInteger(value)) {
    return { dtype: 'i64', shape: [], data: bytes(BigInt64Array.of(BigInt(value))) }
  }
  if (dtype === 'F64') return { dtype: 'f64', shape: [], data: bytes(Float64Array.of(value)) }
  return hostFloat32(Float32Array.of(value), [])
}

function widened(tensor: HostTensor): HostTensor {
  const isHalf = tensor.dtype === 'f16' || tensor.dtype === 'bf16'
  return isHalf ? hostFloat32(toFloat32(tensor), tensor.shape) : tensor
}

export const torchMustFail: Runner = async function* (file) {
  await file.set.requireIntact(file.path)
  yield await refusalOf(file, [FileFormatError], async () => {
    await using checkpoint = await TorchCheckpoint.open(file.absolutePath)
    for (const [, leaf] of leavesOf(checkpoint.value)) if (leaf instanceof TorchTensor) await checkpoint.read(leaf)
  })
}
