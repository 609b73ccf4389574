// What Nsight Compute's command line says of kernels (`ncu --csv`), read: https://docs.nvidia.com/nsight-compute/NsightComputeCli/.

/** Lines of CSV as fields; quotes are doubled within quotes. What is no CSV, ncu's own messages, comes out as one field. */
function rowsOf(text) {
  return text
    .split('\n')
    .filter((line) => line.startsWith('"'))
    .map((line) => [...line.matchAll(/"((?:[^"]|"")*)"(?:,|$)/g)].map(([, field]) => field.replaceAll('""', '"')))
}

/** A number with thousands in groups, or nothing, which counts as 0. */
const numberOf = (field) => Number(field?.replaceAll(',', '') || 0) || 0

/**
 * What `--page source --print-source sass` says: for each kernel a line with its name, one with the columns' names, and one for each
 * instruction.
 *
 * @returns {{ kernel: string, instructions: { address: string, source: string, executed: number, samples: number, reasons: Record<string, number> }[] }[]}
 */
export function readSourcePage(text) {
  const kernels = []
  let name = ''
  let columns = []
  for (const row of rowsOf(text)) {
    if (row.length === 2) {
      if (row[0] === 'Kernel Name' || row[0] === 'Function Name') name = row[1]
    } else if (row.includes('Address') && row.includes('Source')) {
      columns = row
      kernels.push({ kernel: name, instructions: [] })
    } else if (row.length === columns.length) {
      const field = (column) => row[columns.indexOf(column)]
      const reasons = {}
      // Those of warps that were not issued stand in columns of their own, and are among these.
      for (const [i, column] of columns.entries())
        if (column.startsWith('stall_') && !/not.issued/i.test(column) && numberOf(row[i]))
          reasons[column.slice('stall_'.length)] = numberOf(row[i])
      kernels.at(-1).instructions.push({
        address: field('Address'),
        source: field('Source').trim(),
        executed: numberOf(field('Instructions Executed')),
        samples: numberOf(field(columns.find((column) => column.startsWith('Warp Stall Sampling (All')))),
        reasons,
      })
    }
  }
  return kernels
}

/**
 * What `--page raw --print-units base` says: a line with the metrics' names, one with their units, and one for each launch.
 *
 * @returns {{ kernel: string, metrics: Record<string, number> }[]}  `metrics`: those of the names that the report has
 */
export function readRawPage(text, names) {
  const [columns, , ...launches] = rowsOf(text)
  if (!columns) return []
  const field = (row, column) => row[columns.indexOf(column)]
  return launches
    .filter((row) => row.length === columns.length)
    .map((row) => ({
      kernel: field(row, 'Kernel Name'),
      metrics: Object.fromEntries(
        names.filter((name) => columns.includes(name)).map((name) => [name, numberOf(field(row, name))]),
      ),
    }))
}

/** Adds the counts of each key. */
function total(counts) {
  const sums = {}
  for (const count of counts) for (const [key, value] of Object.entries(count)) sums[key] = (sums[key] ?? 0) + value
  return sums
}

const mostFirst = (counts) => Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a))

/** Where a kernel's warps waited: for what in all, and at which instructions, those of a hundredth of the samples or more, in their order. */
export function whereItWaits({ kernel, instructions }) {
  const samples = instructions.reduce((sum, instruction) => sum + instruction.samples, 0)
  return {
    kernel,
    instructions: instructions.length,
    executed: instructions.reduce((sum, instruction) => sum + instruction.executed, 0),
    samples,
    reasons: mostFirst(total(instructions.map(({ reasons }) => reasons))),
    hottest: instructions
      .map((instruction, index) => ({ index, ...instruction, reasons: mostFirst(instruction.reasons) }))
      .filter((instruction) => samples > 0 && instruction.samples >= samples / 100),
  }
}
