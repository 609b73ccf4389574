import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The shared folder of golden vectors and real images. */
export const SHARED = process.env.REPA_SHARED ?? join(import.meta.dirname, '../../../shared')

export const GOLDEN = join(SHARED, 'golden')

export interface GoldenTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** Reads every tensor of a safetensors file of the golden folder. */
export function goldenTensors(path: string): Map<string, GoldenTensor> {
  const file = readFileSync(join(GOLDEN, path))
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    file.toString('utf8', 8, start),
  )
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [from, to],
          },
        ]) => [
          name,
          // A copy, so that float32 data is aligned.
          { dtype, shape, bytes: Uint8Array.from(file.subarray(start + from, start + to)) },
        ],
      ),
  )
}

interface ManifestFile {
  readonly kind: string
  readonly tensors?: Readonly<Record<string, { role: string; tol?: { atol: number; rtol: number } }>>
}

/** The files of one golden case, from the manifest. */
export function goldenCase(id: string): Map<string, ManifestFile> {
  const manifest: { cases: { id: string; files: Record<string, ManifestFile> }[] } = JSON.parse(
    readFileSync(join(GOLDEN, 'manifest.json'), 'utf8'),
  )
  const found = manifest.cases.find((entry) => entry.id === id)
  if (!found) throw new Error(`The golden manifest has no case '${id}'.`)
  return new Map(Object.entries(found.files))
}

/** The largest absolute difference of two arrays of the same length. */
export function maxDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} values against ${expected.length}.`)
  let max = 0
  for (let i = 0; i < actual.length; i++) max = Math.max(max, Math.abs(actual[i]! - expected[i]!))
  return max
}
