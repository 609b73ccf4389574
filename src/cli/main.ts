#!/usr/bin/env node
import { dispatch } from './dispatch.ts'
import { Interruption } from './failure.ts'
import type { Output } from './output.ts'

const controller = new AbortController()
let output: Output | undefined

// The first signal asks the command to save and stop. The handlers go with it, so the second one has its default effect:
// it kills.
const SIGNALS = ['SIGINT', 'SIGTERM'] as const
function interrupt(signal: NodeJS.Signals): void {
  for (const name of SIGNALS) process.removeListener(name, interrupt)
  output?.line('Stopping; a second signal stops at once, without saving.')
  controller.abort(new Interruption(`stopped by ${signal}`))
}
for (const name of SIGNALS) process.on(name, interrupt)

// A terminal has been closed: the command saves and stops where that was its own. Elsewhere (nohup, a log) it is to go on, and Node has
// undone nohup's way to say so, by which a process ignores the signal from its start. It may come twice, by the shell and by the system.
process.on('SIGHUP', () => {
  if (process.stderr.isTTY && !controller.signal.aborted) interrupt('SIGHUP')
})

/** A pipe whose reader has gone, or a terminal that is no more. */
const isGone = ({ code }: NodeJS.ErrnoException): boolean => code === 'EPIPE' || code === 'EIO'

// A reader that has seen enough (`| head`) is no failure: the command stops as if it had been interrupted, without a word.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (!isGone(error)) throw error
  controller.abort(new Interruption('the reader of stdout has gone'))
})
// Nobody reads the human's lines any more (`2>&1 | head`): that is no reason to stop a long job.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (!isGone(error)) throw error
})

const status = await dispatch(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  onOutput: (out) => {
    output = out
  },
})
// Leave at once, whatever threads or timers a library has left behind, but not before all is written.
process.exitCode = status
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)))
