import { crc32 } from 'node:zlib'
import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { type AtomicWriteOptions, atomicWriteOptions, writeAtomically } from './atomic-file.ts'
import { CHECKSUM_KEY, FORMAT_KEY, serialiseHeader } from './safetensors-header.ts'
import { sourceByteLength, sourcePieces, type TensorSource } from './tensor-source.ts'

export interface SafetensorsSource extends TensorSource {
  readonly name: string
}

export interface WriteSafetensorsOptions extends AtomicWriteOptions {
  /** Where there is any metadata, `format` is among it: `pt`, unless another is given. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Store every tensor's CRC-32 (that of zlib, over its bytes in the file) in the metadata, key `crc32`. Default: false. */
  readonly checksum?: boolean
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...atomicWriteOptions(),
    metadata: z.record(z.string(), z.string()).optional(),
    checksum: z.boolean().optional(),
  } satisfies Record<keyof WriteSafetensorsOptions, z.ZodType>),
)

/**
 * Writes a safetensors file, the tensors in the given order, one at a time: at most one fetched tensor, or a piece, is in memory. The
 * file appears under its name only when it is whole.
 *
 * @throws {ConfigurationError} for options that are none; RangeError or TypeError for entries that contradict themselves, FileAccessError where
 *   the system refuses
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<SafetensorsSource>,
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  parseConfiguration(optionsSchema(), options, 'the options of writeSafetensors')
  const tensors = [...entries].map((entry) => ({ ...entry, byteLength: sourceByteLength(entry, quoted(entry)) }))
  const names = new Set<string>()
  for (const { name } of tensors) {
    if (typeof name !== 'string') throw new TypeError(`A tensor has the name ${name}; a text was expected.`)
    if (name === '__metadata__') throw new RangeError('"__metadata__" cannot be the name of a tensor.')
    if (names.has(name)) throw new RangeError(`Two tensors have the name ${JSON.stringify(name)}.`)
    names.add(name)
  }
  if (options.checksum && options.metadata && Object.hasOwn(options.metadata, CHECKSUM_KEY)) {
    throw new RangeError(`The metadata cannot hold "${CHECKSUM_KEY}" of its own when checksums are asked for.`)
  }
  const checksums = tensors.map(() => 0)
  const header = () => {
    const table = checksums.map((sum, i) => `${JSON.stringify(tensors[i]!.name)}:"${hex(sum)}"`).join(',')
    const stated = options.checksum ? { ...options.metadata, [CHECKSUM_KEY]: `{${table}}` } : (options.metadata ?? {})
    return serialiseHeader(
      tensors.map(({ name, dtype, shape, byteLength }) => [name, dtype, shape, byteLength]),
      Object.keys(stated).length > 0 ? { [FORMAT_KEY]: 'pt', ...stated } : {},
    )
  }
  // The header comes first but holds the checksums of what follows. All of them have eight digits, so its length is
  // known beforehand and it can be written last.
  const headerBytes = header().length
  await writeAtomically(path, options, async (file) => {
    await file.skip(headerBytes)
    for (const [i, tensor] of tensors.entries()) {
      for await (const piece of sourcePieces(tensor, quoted(tensor))) {
        if (options.checksum) checksums[i] = crc32(piece, checksums[i])
        await file.append(piece)
      }
    }
    await file.writeAt(header(), 0)
  })
}

function quoted(entry: SafetensorsSource): string {
  return `Tensor ${JSON.stringify(entry.name)}`
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, '0')
}
