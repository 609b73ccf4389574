#!/usr/bin/env node
import type { Command } from './command.ts'
import { dispatch, EXIT } from './dispatch.ts'
import { describeLostOutput, Interruption } from './failure.ts'
import type { Output } from './output.ts'

const controller = new AbortController()
let running: { readonly output: Output; readonly command: Command } | undefined

// The first signal asks the command to save and stop. The handlers go with it, so the second one has its default effect:
// it kills.
const SIGNALS = ['SIGINT', 'SIGTERM'] as const
function stopHandlingSignals(): void {
  for (const name of SIGNALS) process.removeListener(name, interrupt)
}
function interrupt(signal: NodeJS.Signals): void {
  stopHandlingSignals()
  running?.output.line(`Stopping; a second signal stops at once${running.command.saves ? ', without saving' : ''}.`)
  controller.abort(new Interruption(`stopped by ${signal}`))
}
for (const name of SIGNALS) process.on(name, interrupt)

// A terminal has been closed: the command saves and stops where that was its own. Elsewhere (nohup, a log) it is to go on, and Node has
// undone nohup's way to say so, by which a process ignores the signal from its start. It may come twice, by the shell and by the system.
function hangUp(): void {
  if (process.stderr.isTTY && !controller.signal.aborted) interrupt('SIGHUP')
}
process.on('SIGHUP', hangUp)

/** A pipe whose reader has gone, or a terminal that is no more; on a disk EIO is the disk's own. */
const isGone = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'EPIPE' || (code === 'EIO' && process.stdout.isTTY === true)

// A reader that has seen enough (`| head`) is no failure: the command stops as if it had been interrupted, without a word. Of whatever else
// (a full disk) the output is lost: the command saves and stops as well, and fails.
let lostOutput: NodeJS.ErrnoException | undefined
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (!isGone(error)) lostOutput ??= error
  controller.abort(new Interruption(isGone(error) ? 'the reader of stdout has gone' : 'stdout cannot be written'))
})
// Nobody reads the human's lines any more (`2>&1 | head`), or their disk is full: that is no reason to stop a long job.
process.stderr.on('error', () => {})

/** Waits until all is written, or its error has been told. Writes nothing of its own: a device may refuse even no bytes. */
async function drain(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise((resolve) => stream.write('', resolve))
  await new Promise((resolve) => setImmediate(resolve))
}

const status = await dispatch(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  onOutput: (output, command) => {
    running = { output, command }
    if (!command.endsAtOnce) return
    stopHandlingSignals()
    if (process.stderr.isTTY) process.removeListener('SIGHUP', hangUp)
  },
})
// Leave at once, whatever threads or timers a library has left behind, but not before all is written.
process.exitCode = status
await drain(process.stdout)
if (lostOutput !== undefined) process.stderr.write(`repa: ${describeLostOutput(lostOutput)}\n`)
await drain(process.stderr)
const hasItsOwnFailure = status !== EXIT.done && status !== EXIT.interrupted
process.exit(lostOutput === undefined || hasItsOwnFailure ? status : EXIT.failed)
