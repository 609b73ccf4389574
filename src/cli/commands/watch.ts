import { once } from 'node:events'
import { defineCommand } from '../command.ts'

export const watchCommand = defineCommand({
  name: 'watch',
  summary: "show the report of one or several runs live in a browser, while 'repa train' writes them",
  description:
    "Serves the page of 'repa report' on the loopback address, for this machine alone: new points, sample grids and evaluations come into the open page, which keeps what it was zoomed to. Runs may be stopped, resumed and begun again meanwhile. For a machine elsewhere, forward the port: ssh -L 7372:localhost:7372 HOST.",
  positionals: {
    runs: { placeholder: 'RUN', description: "a run's folder, as 'repa train --out RUN' writes it", repeated: true },
  },
  options: {
    port: {
      type: 'integer',
      min: 0,
      max: 65_535,
      default: 7372,
      description: 'port of the loopback address; 0 takes any that is free',
    },
    title: { type: 'string', description: "the page's heading" },
    samples: {
      type: 'integer',
      min: 0,
      default: 12,
      description: 'sample grids to show of each run, spread evenly over it',
    },
  },
  examples: [
    { command: 'repa watch runs/xl', description: 'then open http://127.0.0.1:7372/' },
    { command: 'repa watch runs/repa runs/vanilla --port 0', description: 'two runs side by side, on any free port' },
  ],
  async run({ runs, port, title, samples }, { out, signal }) {
    const { watch } = await import('../../report/watch/watch.ts')
    const watching = await watch(runs, {
      port,
      sampleLimit: samples,
      ...(title !== undefined && { title }),
      onProblem: (sentence) => (sentence === '' ? out.line('All files can be read again.') : out.warn(sentence)),
    })
    try {
      out.line(`${watching.url} shows ${runs.join(', ')}; Ctrl-C ends it.`)
      out.json({ url: watching.url, port: watching.port, runs })
      if (!signal.aborted) await once(signal, 'abort')
    } finally {
      await watching[Symbol.asyncDispose]()
    }
  },
})
