import { createReadStream } from 'node:fs'
import * as z from 'zod'
import { type Metrics, type MetricsRow, MetricsTable } from './metrics-table.ts'

/** JSON has no NaN or infinity: a value that was not finite is written as null. */
const value = z.number().nullable()
// Not a strict object: a report must be able to read runs of a later version that logs more.
const MetricsLine = z.object({
  step: z.int().nonnegative(),
  loss: value,
  /** Pretraining an encoder has none. */
  denoising: value.optional(),
  vb: value.optional(),
  velocityCosine: value.optional(),
  alignment: value.optional(),
  attentionAlignment: value.optional(),
  selfAlignment: value.optional(),
  dispersive: value.optional(),
  contrastive: value.optional(),
  classToken: value.optional(),
  /** Pretraining by DINO. */
  view_information: value.optional(),
  teacher_entropy: value.optional(),
  teacher_kl_uniform: value.optional(),
  gradNorm: value,
  lr: value,
  imagesPerSecond: value,
  seconds: value,
  skipped: z.int().nonnegative().optional(),
})

/**
 * Reads `metrics.jsonl` as a stream. A step that stands there several times (a run resumed from before it) counts as its
 * last line says. A last line that was cut off in the middle of writing is ignored.
 *
 * @throws Error naming the file and the line that is no JSON or not of the right form; ENOENT where there is no file.
 */
export async function readMetrics(file: string, signal?: AbortSignal): Promise<Metrics> {
  const table = new MetricsTable()
  let number = 0
  for await (const { text, complete } of linesOf(file, signal)) {
    number++
    if (text.trim() === '') continue
    const line = parseMetricsLine(text, complete, `${file}:${number}`)
    if (line !== undefined) table.append(line)
  }
  return table.metrics()
}

/**
 * One line of `metrics.jsonl`; undefined for one that is not complete and no JSON yet.
 *
 * @throws Error naming `where` for a line that is no JSON or not of the right form.
 */
export function parseMetricsLine(text: string, complete: boolean, where: string): MetricsRow | undefined {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    if (!complete) return undefined
    throw new Error(`${where}: expected a JSON object, got '${text.slice(0, 60)}'; remove the line.`)
  }
  const checked = MetricsLine.safeParse(json)
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]!
  const field = issue.path.length > 0 ? `'${issue.path.join('.')}': ` : ''
  throw new Error(`${where}: ${field}${issue.message}; expected a line as 'repa train' writes it.`)
}

/** Lines of a UTF-8 file; `complete` is false for a last line without its newline. */
async function* linesOf(
  file: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ text: string; complete: boolean }> {
  let rest = ''
  for await (const chunk of createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 18, signal })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const text of lines) yield { text, complete: true }
  }
  if (rest !== '') yield { text: rest, complete: false }
}
