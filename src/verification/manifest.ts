/** The index of a golden directory, `manifest.json` in the format "golden-1": what was computed, and how closely it must match. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { FileAccessError } from '../formats/errors.ts'

/** Compare |a − b| ≤ atol + rtol·|b|, b being the stored value. */
const toleranceSchema = z.strictObject({ atol: z.number().nonnegative(), rtol: z.number().nonnegative() })

/** What a tensor is to its file: given, shown on the way, or the result. */
const ROLES = ['param', 'input', 'noise', 'intermediate', 'output', 'loss', 'grad', 'state'] as const

const DTYPES = ['F64', 'F32', 'BF16', 'F16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL'] as const

const tensorSchema = z.object({
  dtype: z.enum(DTYPES),
  shape: z.array(z.int().nonnegative()),
  role: z.enum(ROLES),
  desc: z.string().default(''),
  tol: toleranceSchema.optional(),
  /** For models that compute in bf16. */
  tol_bf16: toleranceSchema.optional(),
})

const fileSchema = z.object({
  kind: z.string().min(1),
  args: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((args) => args ?? {}),
  bytes: z.int().nonnegative(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits')
    .optional(),
  tensors: z.record(z.string(), tensorSchema).default({}),
})

const caseSchema = z.object({
  id: z.string().min(1),
  hyper: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((hyper) => hyper ?? {}),
  /** By path, relative to the directory. */
  files: z.record(z.string(), fileSchema),
})

const manifestSchema = z.object({ format: z.literal('golden-1'), cases: z.array(caseSchema) })

export type Tolerance = z.output<typeof toleranceSchema>
export type TensorRole = (typeof ROLES)[number]
export type ManifestTensor = z.output<typeof tensorSchema>
export type ManifestFile = z.output<typeof fileSchema>
export type ManifestCase = z.output<typeof caseSchema>
export type Manifest = z.output<typeof manifestSchema>

/** @throws {Error} where there is no manifest, it is no JSON, or it does not fit the format. */
export async function readManifest(directory: string): Promise<Manifest> {
  const path = join(directory, 'manifest.json')
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new FileAccessError('read', path, cause)
  })
  const manifest = parseConfiguration(manifestSchema, parseJson(text, path), path)
  const seen = new Set<string>()
  for (const file of manifest.cases.flatMap(({ files }) => Object.keys(files))) {
    // What a manifest lists lies below it; others' weights, which arguments name, need not.
    if (/^[/\\]|^[a-z]:|\\/i.test(file) || file.split('/').includes('..')) {
      throw new Error(`${path} lists the file ${JSON.stringify(file)}; a path must stay below the manifest's folder.`)
    }
    if (seen.has(file)) throw new Error(`${path} lists the file ${file} twice.`)
    seen.add(file)
  }
  return manifest
}
