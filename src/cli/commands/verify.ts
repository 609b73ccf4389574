import { formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import type { FileReport, VerifyReport } from '../../verification/verify.ts'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

export const verifyCommand = defineCommand({
  name: 'verify',
  summary: 'compare this build with golden vectors of the reference PyTorch code',
  description:
    'Computes what the files that DIR/manifest.json lists hold, from their inputs, and compares tensor by tensor. Fails if any is outside its tolerance, if a selected file is damaged or of a kind that is not known, or if nothing was selected.',
  positionals: { directory: { placeholder: 'DIR', description: 'the folder of manifest.json' } },
  options: {
    kind: {
      type: 'list',
      placeholder: 'K,…',
      description: "kinds of files to verify, '*' standing for anything: 'sit.*,sampler.*'; by default all",
    },
    precision: {
      type: 'enum',
      values: ['bf16', 'tf32', 'fp32'],
      default: 'fp32',
      description:
        "what models compute in; bf16, on a GPU, is verified at the wider tolerances that the manifest states for it, tf32 at those of fp32 and an eighth of bf16's",
    },
    case: { type: 'list', placeholder: 'GLOB,…', description: 'cases to verify, as patterns; by default all' },
    all: { type: 'boolean', default: false, description: "list every tensor, not only each file's worst" },
  },
  examples: [
    { command: 'repa verify golden', description: 'everything' },
    { command: "repa verify golden --kind 'sit.*,sampler.*' --all", description: 'the SiT, tensor by tensor' },
  ],
  async run({ directory, kind, precision, case: cases, all }, { device, out, signal, progress }) {
    // Loaded here, so that `repa verify --help` does not wait for it.
    const [{ verify }, { resolveDevice }] = await Promise.all([
      import('../../verification/verify.ts'),
      import('../../tensor/device.ts'),
    ])
    let shown: ReturnType<typeof progress> | undefined
    const report = await verify(directory, {
      device: resolveDevice(device),
      precision,
      ...(kind && { kinds: kind }),
      ...(cases && { cases }),
      signal,
      onFile: ({ path, index, total }) => {
        shown ??= progress({ label: 'verify', unit: 'files', total })
        shown.update(index, { file: path })
      },
    }).finally(() => out.status(''))
    if (out.isJson) out.json(report)
    else printReport(out, report, all)
    if (!report.passed) throw new Error(failureOf(report))
  },
})

function printReport(out: Output, report: VerifyReport, all: boolean): void {
  const columns = [
    { heading: 'case' },
    { heading: 'kind' },
    { heading: 'file' },
    { heading: 'tensor' },
    { heading: 'error', align: 'right' },
    { heading: 'tolerance', align: 'right' },
    { heading: 'ratio', align: 'right' },
    { heading: 'time', align: 'right' },
  ] as const
  const run = report.reports.filter(({ status }) => status === 'passed' || status === 'failed')
  const rows = run.flatMap((file) => rowsOf(out, file, all))
  if (rows.length > 0) out.table(columns, rows)
  for (const { file, notes, comparisons } of run) {
    if (all || comparisons.length > 0) for (const note of notes) out.line(`${file}: ${note}`)
  }
  for (const file of run) for (const line of complaintsOf(file)) out.line(`${out.style.red('failed')} ${line}`)
  for (const [kind, count] of Object.entries(report.unknownKinds)) {
    out.line(`${out.style.red('failed')} ${kind} (${count}): nothing here verifies files of this kind`)
  }
  const { worst } = report
  const parts = [
    `${formatCount(report.files)} files, ${formatCount(report.compared)} tensors compared`,
    ...(worst
      ? [`worst ratio ${formatSignificant(worst.comparison.ratio, 3)} at ${worst.file} ${worst.comparison.tensor}`]
      : []),
    ...(report.notExposed > 0 ? [`${formatCount(report.notExposed)} intermediates not exposed`] : []),
  ]
  out.line(`${parts.join(', ')}; ${formatCount(report.failed)} failed (${formatDuration(report.seconds)})`)
  for (const pattern of report.unmatched) out.warn(`the pattern '${pattern}' fits nothing in the manifest.`)
}

function rowsOf({ style }: Output, file: FileReport, all: boolean): string[][] {
  const { case: caseId, kind, comparisons, worst, status } = file
  const shown = all ? comparisons : comparisons.filter((comparison) => comparison === worst)
  const name = file.file.slice(file.file.lastIndexOf('/') + 1)
  const time = formatDuration(file.seconds)
  if (shown.length === 0) {
    const verdict = status === 'passed' ? style.green('ok') : style.red(status)
    return [[caseId, kind, name, verdict, '', '', '', time]]
  }
  return shown.map((comparison, row) => {
    const { tensor, error, tolerance, ratio, passed } = comparison
    const number = (value: number) => formatSignificant(value, 3)
    const colour = passed ? style.green : style.red
    return [caseId, kind, name, tensor, number(error), number(tolerance), colour(number(ratio)), row === 0 ? time : '']
  })
}

/** What is wrong with a file, a line each. */
function complaintsOf({ file, problems, comparisons }: FileReport): string[] {
  const outside = comparisons.filter(({ passed }) => !passed)
  return [
    ...problems.map((problem) => `${file}: ${problem}`),
    ...outside.map((comparison) => {
      const { tensor, problem, ratio, worstIndex, actual, expected } = comparison
      const why =
        problem ?? `${actual} at [${worstIndex}], expected ${expected}: ${formatSignificant(ratio, 3)} × its tolerance`
      return `${file} ${tensor}: ${why}`
    }),
  ]
}

/** The last line: what failed, in one sentence. */
function failureOf({ reports, files, failed, unknownKinds }: VerifyReport): string {
  if (files === 0) return 'nothing to verify was selected; see the kinds and cases of manifest.json.'
  const known = reports.filter(({ status }) => status === 'failed').map(({ file }) => file)
  const unknown = Object.entries(unknownKinds).map(([kind, count]) => `${kind} (${count})`)
  const parts: string[] = []
  if (known.length > 0) parts.push(`${known.slice(0, 3).join(', ')}${known.length > 3 ? ', …' : ''}`)
  if (unknown.length > 0) parts.push(`of kinds that nothing here verifies: ${unknown.join(', ')}`)
  return `${failed} of ${files} files failed: ${parts.join('; ')}.`
}
