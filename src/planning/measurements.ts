/** What `repa bench step` has measured: the files of `bench/results/`, which hold its reports as they are, among other things. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { DEFAULT_SIZE } from '../benchmark/image-size.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { PRECISIONS, type Precision } from '../training/precision.ts'

/** The package's own, beside `dist/` or `src/`. */
const FOLDER = fileURLToPath(new URL('../../bench/results', import.meta.url))

// Loose: the files say more than a plan reads.
const fileSchema = z.looseObject({ date: z.iso.date(), machine: z.string() })

const reportSchema = z.looseObject({
  model: z.string(),
  /** The first files do not say it. */
  size: z.int().positive().default(DEFAULT_SIZE),
  batch: z.int().positive(),
  device: z.string(),
  threads: z.int().positive().optional(),
  processes: z.int().positive().default(1),
  /** `repa bench step` on a CPU measures in fp32 and does not say so. */
  precision: z.enum(PRECISIONS).default('fp32'),
  ours: z.looseObject({ imagesPerSecond: z.number().positive(), flops: z.number().positive() }),
})

/** A measured training step. */
export interface MeasuredStep {
  /** `2026-11-26-cpu-step.json`. */
  readonly file: string
  readonly date: string
  readonly machine: string
  readonly model: string
  /** Side of the images in pixels. */
  readonly size: number
  readonly batch: number
  readonly device: string
  readonly threads: number | undefined
  readonly precision: Precision
  readonly imagesPerSecond: number
  /** FLOP/s, as benchmark/flops.ts counts a step. */
  readonly flops: number
}

/** Every measured step, the newest file first. Throws where a file says neither when nor where it was measured. */
export async function measuredSteps(folder = FOLDER): Promise<MeasuredStep[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json'))
  const files = await Promise.all(
    names.map(async (file) => {
      const path = join(folder, file)
      const json: unknown = JSON.parse(await readFile(path, 'utf8'))
      return { file, json, ...parseConfiguration(fileSchema, json, path) }
    }),
  )
  files.sort((a, b) => b.date.localeCompare(a.date) || b.file.localeCompare(a.file))
  return files.flatMap(({ file, date, machine, json }) =>
    reportsIn(json).map(({ model, size, batch, device, threads, precision, ours }) => {
      const { imagesPerSecond, flops } = ours
      return { file, date, machine, model, size, batch, device, threads, precision, imagesPerSecond, flops }
    }),
  )
}

/** The reports in a value, at any depth. Those beside a busy process, with a route, or of several GPUs are of another question. */
function reportsIn(value: unknown): z.output<typeof reportSchema>[] {
  if (typeof value !== 'object' || value === null) return []
  const report = reportSchema.safeParse(value)
  if (report.success) {
    const { data } = report
    return 'beside' in data || 'route' in data || data.processes > 1 ? [] : [data]
  }
  return Object.values(value).flatMap(reportsIn)
}
