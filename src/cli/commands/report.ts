import { join } from 'node:path'
import { writeAtomically } from '../../formats/atomic-file.ts'
import { formatBytes, formatCount } from '../../report/quantity.ts'
import type { RunData } from '../../report/run.ts'
import { defineCommand } from '../command.ts'

export const reportCommand = defineCommand({
  name: 'report',
  summary: 'write one self-contained HTML page about one or several runs',
  description:
    'Curves, sample grids over time and the configuration; of several runs, their curves in one chart and what differs between their configurations.',
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
    const [{ renderReport }, { readRun }] = await Promise.all([
      import('../../report/report.ts'),
      import('../../report/run.ts'),
    ])
    const runs: RunData[] = []
    for (const directory of directories) {
      signal.throwIfAborted()
      runs.push(await readRun(directory, { sampleLimit: samples }))
    }
    const page = renderReport(runs, { ...(title !== undefined && { title }), writtenAt: new Date() })
    const path = file ?? (directories.length === 1 ? join(directories[0]!, 'report.html') : 'report.html')
    const bytes = Buffer.from(page)
    // A browser that reloads never sees half a page.
    await writeAtomically(path, {}, (file) => file.append(bytes))

    const described = runs.map(({ name, metrics }) => ({ name, steps: metrics.step.at(-1) ?? 0 }))
    const summary = described.map(({ name, steps }) => `${name} (step ${formatCount(steps)})`).join(', ')
    out.line(`${path}: ${summary}, ${formatBytes(bytes.length)}`)
    out.json({ report: path, bytes: bytes.length, runs: described })
  },
})
