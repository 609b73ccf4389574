/** Runs golden vectors: inputs and results of the reference PyTorch code, that every device must reproduce. */
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { requirePath } from '../configuration/path-argument.ts'
import { allowTf32Meanwhile, type Device, memoryStats, synchronize } from '../tensor/device.ts'
import { precisionPolicy } from '../training/precision.ts'
import type { Comparison } from './comparison.ts'
import { type GoldenPrecision, GoldenSet } from './golden-set.ts'
import { DATA_KINDS, RUNNERS } from './kinds/registry.ts'
import { type ManifestFile, type ManifestTensor, readManifest, type TensorRole } from './manifest.ts'
import { matchesGlob } from './name-glob.ts'

export interface VerifyOptions {
  /** Where to compute. */
  readonly device?: Device
  /**
   * In what models compute; default fp32. bf16, on a GPU, has wider tolerances, which the manifest states for some tensors of some
   * files: those are verified, and in tf32 too (golden-set.ts says within what).
   */
  readonly precision?: GoldenPrecision
  /** Patterns (`*`, `?`) of file kinds; default: all. */
  readonly kinds?: readonly string[]
  /** Patterns of case ids; default: all. */
  readonly cases?: readonly string[]
  /** Stops between two files. */
  readonly signal?: AbortSignal
  /** Called before each file. */
  readonly onFile?: (file: { readonly path: string; readonly index: number; readonly total: number }) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    device: z.string().optional(),
    precision: z.enum(['fp32', 'tf32', 'bf16'] satisfies GoldenPrecision[]).optional(),
    kinds: z.array(z.string()).optional(),
    cases: z.array(z.string()).optional(),
    signal: aSignal().optional(),
    onFile: aFunction().optional(),
  } satisfies Record<keyof VerifyOptions, z.ZodType>),
)

/** What came of one file. `data`: other files refer to it. `unknown`: nothing here can verify its kind. */
export type FileStatus = 'passed' | 'failed' | 'unknown' | 'data'

export interface FileReport {
  readonly case: string
  readonly file: string
  readonly kind: string
  readonly status: FileStatus
  readonly comparisons: readonly Comparison[]
  /** The comparison of the largest ratio; one that failed before any that passed. */
  readonly worst: Comparison | undefined
  /** Why the file failed, other than tensors outside their tolerance. */
  readonly problems: readonly string[]
  readonly notes: readonly string[]
  /** Intermediate tensors of the file that nothing here shows. */
  readonly notExposed: readonly string[]
  readonly seconds: number
}

export interface VerifyReport {
  readonly directory: string
  readonly device: Device
  /** Every selected file was verified, each of its tensors within its tolerance, and there was at least one. */
  readonly passed: boolean
  /** Files verified, not counting data. */
  readonly files: number
  readonly failed: number
  readonly compared: number
  readonly notExposed: number
  readonly unknownKinds: Readonly<Record<string, number>>
  /** Patterns that fit nothing. */
  readonly unmatched: readonly string[]
  readonly worst: { readonly file: string; readonly comparison: Comparison } | undefined
  readonly seconds: number
  readonly reports: readonly FileReport[]
}

/** Roles whose tensors must be compared for a file to pass. */
const RESULTS: ReadonlySet<TensorRole> = new Set(['output', 'loss', 'grad', 'state'])

interface Selected {
  readonly caseId: string
  readonly path: string
  readonly file: ManifestFile
}

/**
 * Verifies the files that a golden directory's manifest.json lists and the patterns select. Whatever is wrong with one
 * file is in its report and stops no other. A file that leaves memory on the device fails, so nothing else may use the device
 * meanwhile.
 *
 * @throws {ConfigurationError} for options that are none; {Error} where the manifest cannot be read or the device is not there; the signal's reason when aborted
 */
export async function verify(directory: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  requirePath(directory, 'the folder of verify')
  parseConfiguration(optionsSchema(), options, 'the options of verify')
  const { device = 'cpu', precision = 'fp32', kinds = ['*'], cases = ['*'], signal, onFile } = options
  const started = performance.now()
  const manifest = await readManifest(directory)
  memoryStats(device)
  const { tf32 } = precisionPolicy(precision, device)
  const set = new GoldenSet(directory, manifest, precision)
  using _products = allowTf32Meanwhile(device, tf32)
  const selected: Selected[] = manifest.cases.flatMap(({ id, files }) =>
    cases.some((pattern) => matchesGlob(id, pattern))
      ? Object.entries(files).flatMap(([path, file]) =>
          kinds.some((pattern) => matchesGlob(file.kind, pattern)) && isStated(file, set)
            ? [{ caseId: id, path, file }]
            : [],
        )
      : [],
  )
  // What cannot be verified comes last, after everything else has run.
  const isUnknown = ({ file }: Selected) => !RUNNERS.has(file.kind) && !DATA_KINDS.has(file.kind)
  const ordered = [...selected.filter((entry) => !isUnknown(entry)), ...selected.filter(isUnknown)]
  const reports: FileReport[] = []
  for (const [index, entry] of ordered.entries()) {
    signal?.throwIfAborted()
    onFile?.({ path: entry.path, index, total: ordered.length })
    reports.push(await verifyFile(set, entry, device))
  }
  const verified = reports.filter(({ status }) => status !== 'data')
  const failed = verified.filter(({ status }) => status !== 'passed').length
  return {
    directory,
    device,
    passed: failed === 0 && verified.length > 0,
    files: verified.length,
    failed,
    compared: reports.reduce((count, { comparisons }) => count + comparisons.length, 0),
    notExposed: reports.reduce((count, { notExposed }) => count + notExposed.length, 0),
    unknownKinds: countKinds(reports.filter(({ status }) => status === 'unknown')),
    unmatched: [
      ...kinds.filter((pattern) => !manifest.cases.some((entry) => hasKind(Object.values(entry.files), pattern))),
      ...cases.filter((pattern) => !manifest.cases.some(({ id }) => matchesGlob(id, pattern))),
    ],
    worst: worstOf(reports),
    seconds: (performance.now() - started) / 1000,
    reports,
  }
}

/** Whether the manifest says how close a tensor must come in the set's precision; what needs no tolerance counts for fp32. */
const isStatedTensor = (tensor: ManifestTensor | undefined, { precision }: GoldenSet) =>
  precision === 'fp32' || tensor?.tol_bf16 !== undefined

const isStated = ({ tensors }: ManifestFile, set: GoldenSet) =>
  set.precision === 'fp32' || Object.values(tensors).some((tensor) => isStatedTensor(tensor, set))

const hasKind = (files: readonly ManifestFile[], pattern: string) =>
  files.some(({ kind }) => matchesGlob(kind, pattern))

function worstComparison(comparisons: readonly Comparison[]): Comparison | undefined {
  return comparisons.reduce<Comparison | undefined>(
    (worst, next) => (worst === undefined || isWorse(next, worst) ? next : worst),
    undefined,
  )
}

/** A tensor that failed by its mean alone is worse than any that passed. */
function isWorse(a: Comparison, b: Comparison): boolean {
  return a.passed === b.passed ? a.ratio > b.ratio : !a.passed
}

function worstOf(reports: readonly FileReport[]): VerifyReport['worst'] {
  let worst: VerifyReport['worst']
  for (const { file, worst: comparison } of reports) {
    if (comparison && (worst === undefined || isWorse(comparison, worst.comparison))) worst = { file, comparison }
  }
  return worst
}

function countKinds(reports: readonly FileReport[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { kind } of reports) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

async function verifyFile(set: GoldenSet, { caseId, path, file: spec }: Selected, device: Device): Promise<FileReport> {
  const started = performance.now()
  const comparisons: Comparison[] = []
  const problems: string[] = []
  const notes: string[] = []
  const runner = RUNNERS.get(spec.kind)
  const isData = DATA_KINDS.has(spec.kind)
  const liveBefore = memoryStats(device).liveBytes
  try {
    if (runner) {
      await using file = set.file(path)
      for await (const finding of runner(file, device)) {
        if ('note' in finding) notes.push(finding.note)
        else if (isStatedTensor(spec.tensors[finding.tensor], set)) comparisons.push(finding)
      }
    } else if (isData) {
      await set.requireIntact(path)
    } else {
      problems.push(`nothing here verifies files of kind ${spec.kind}`)
    }
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error))
  }
  const compared = new Set(comparisons.map(({ tensor }) => tensor))
  const left = runner ? Object.entries(spec.tensors).filter(([name]) => !compared.has(name)) : []
  if (runner && problems.length === 0) {
    const missed = left.flatMap(([name, tensor]) =>
      RESULTS.has(tensor.role) && isStatedTensor(tensor, set) ? [name] : [],
    )
    if (missed.length > 0) problems.push(`nothing was computed for ${listed(missed)}`)
    // What must be refused has a note of how it was.
    if (comparisons.length + notes.length === 0) problems.push('nothing of it was compared')
    await synchronize(device)
    const leaked = memoryStats(device).liveBytes - liveBefore
    if (leaked !== 0) problems.push(`${leaked} bytes were left on the device`)
  }
  const failed = problems.length > 0 || comparisons.some(({ passed }) => !passed)
  return {
    case: caseId,
    file: path,
    kind: spec.kind,
    status: failed ? (runner || isData ? 'failed' : 'unknown') : isData ? 'data' : 'passed',
    comparisons,
    worst: worstComparison(comparisons),
    problems,
    notes,
    notExposed: left.flatMap(([name, { role }]) => (role === 'intermediate' ? [name] : [])),
    seconds: (performance.now() - started) / 1000,
  }
}

function listed(names: readonly string[]): string {
  const more = names.length > 8 ? ` and ${names.length - 8} more` : ''
  return names.slice(0, 8).join(', ') + more
}
