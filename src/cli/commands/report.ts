import { join } from 'node:path'
import { writeWhole } from '../../formats/atomic-file.ts'
import { formatBytes, formatCount } from '../../report/quantity.ts'
import { defineCommand } from '../command.ts'

export const reportCommand = defineCommand({
  name: 'report',
  summary: 'write one self-contained HTML page about one or several runs',
  description:
    "Curves, sample grids over time, what 'repa evaluate' left in RUN/evaluation, and the configuration; of several runs, their curves in one chart, their samples in one matrix and what differs between their configurations.",
  positionals: {
    runs: { placeholder: 'RUN', description: "a run's folder, as 'repa train --out RUN' wrote it", repeated: true },
  },
  options: {
    out: {
      type: 'string',
      placeholder: 'FILE.html',
      description: 'the page; by default RUN/report.html, for several runs report.html here',
    },
    title: { type: 'string', description: "the page's heading" },
    samples: {
      type: 'integer',
      min: 0,
      default: 12,
      description: 'sample grids to embed of each run, spread evenly over it',
    },
  },
  examples: [
    { command: 'repa report runs/xl', description: 'runs/xl/report.html' },
    {
      command: 'repa report runs/repa runs/vanilla --out comparison.html',
      description: 'with and without alignment, side by side',
    },
  ],
  async run({ runs: directories, out: file, title, samples }, { out, signal }) {
    // Loaded here, so that `repa report --help` does not wait for it.
    const [{ renderReport }, { readRuns }] = await Promise.all([
      import('../../report/report.ts'),
      import('../../report/run.ts'),
    ])
    const runs = await readRuns(directories, { sampleLimit: samples, signal })
    // A signal may have come after the last log was read, and drawing a long run takes seconds.
    signal.throwIfAborted()
    const page = renderReport(runs, { ...(title !== undefined && { title }), writtenAt: new Date() })
    const path = file ?? (directories.length === 1 ? join(directories[0]!, 'report.html') : 'report.html')
    const bytes = Buffer.from(page)
    // A browser that reloads never sees half a page.
    await writeWhole(path, bytes)

    const described = runs.map(({ name, metrics }) => ({ name, steps: metrics.step.at(-1) ?? 0 }))
    const summary = described.map(({ name, steps }) => `${name} (step ${formatCount(steps)})`).join(', ')
    out.line(`${path}: ${summary}, ${formatBytes(bytes.length)}`)
    out.json({ report: path, bytes: bytes.length, runs: described })
  },
})
