import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { goldenFolder, haveGolden } from '../shared-folder.ts'
import { type NdArray, sizeOf, type Tolerance } from './array.ts'

/** The folder of golden vectors, or undefined where there is none. */
export const goldenDirectory: string | undefined = haveGolden ? goldenFolder : undefined

const Manifest = z.object({
  cases: z.array(
    z.object({
      id: z.string(),
      group: z.string(),
      hyper: z.looseObject({ grad_order: z.array(z.string()).optional() }).optional(),
      files: z.record(
        z.string(),
        z.object({
          kind: z.string(),
          args: z.record(z.string(), z.unknown()).nullish(),
          tensors: z
            .record(
              z.string(),
              z.object({ role: z.string(), tol: z.object({ atol: z.number(), rtol: z.number() }).optional() }),
            )
            .optional(),
        }),
      ),
    }),
  ),
})

/** One file of the golden set: its tensors, its arguments and what the manifest tolerates. */
export interface GoldenFile {
  readonly path: string
  readonly kind: string
  readonly args: Readonly<Record<string, unknown>>
  readonly gradOrder: readonly string[]
  tolerance(tensor: string): Tolerance
  /** Names of the tensors that have a role such as `output`, `loss` or `grad`. */
  names(...roles: string[]): string[]
  tensors(): Map<string, NdArray>
}

/** The files of one kind, as the manifest lists them; empty where there is no golden folder. */
export function goldenFiles(kind: string): GoldenFile[] {
  if (!goldenDirectory) return []
  const directory = goldenDirectory
  const manifest = Manifest.parse(JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')))
  return manifest.cases.flatMap((entry) =>
    Object.entries(entry.files)
      .filter(([, file]) => file.kind === kind)
      .map(([path, file]) => ({
        path,
        kind,
        args: file.args ?? {},
        gradOrder: entry.hyper?.grad_order ?? [],
        tolerance: (tensor) => {
          const tolerance = file.tensors?.[tensor]?.tol
          if (!tolerance) throw new Error(`The manifest gives no tolerance for ${tensor} of ${path}.`)
          return tolerance
        },
        names: (...roles) =>
          Object.entries(file.tensors ?? {})
            .filter(([, tensor]) => roles.includes(tensor.role))
            .map(([name]) => name),
        tensors: () => readSafetensors(join(directory, path)),
      })),
  )
}

/** A golden file's tensors by its path under the golden folder. */
export function goldenTensors(path: string): Map<string, NdArray> {
  if (!goldenDirectory) throw new Error('There is no golden folder.')
  return readSafetensors(join(goldenDirectory, path))
}

const Entry = z.object({
  dtype: z.enum(['F32', 'F64', 'I64', 'I32']),
  shape: z.array(z.number()),
  data_offsets: z.tuple([z.number(), z.number()]),
})

/**
 * Not the product's reader: what the references are compared with must not pass through the code that they are to judge.
 * The format is 8 bytes of header length, a JSON header, then the data (https://github.com/huggingface/safetensors).
 */
function readSafetensors(path: string): Map<string, NdArray> {
  const bytes = readFileSync(path)
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0))
  const { __metadata__: _, ...header } = z
    .record(z.string(), z.unknown())
    .parse(JSON.parse(bytes.toString('utf8', 8, headerEnd)))
  const tensors = new Map<string, NdArray>()
  for (const [name, value] of Object.entries(header)) {
    const { dtype, shape, data_offsets } = Entry.parse(value)
    const view = new DataView(bytes.buffer, bytes.byteOffset + headerEnd + data_offsets[0])
    const read = {
      F32: (i: number) => view.getFloat32(4 * i, true),
      F64: (i: number) => view.getFloat64(8 * i, true),
      I64: (i: number) => Number(view.getBigInt64(8 * i, true)),
      I32: (i: number) => view.getInt32(4 * i, true),
    }[dtype]
    tensors.set(name, { shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, i) => read(i)) })
  }
  return tensors
}
