/** A DiT has no path: `--path` of one does nothing. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { train } from '../../../src/training/run.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

test.each<[command: string, more: readonly string[]]>([
  ['probe', ['--epochs', '1']],
  ['cknna', ['--encoder', 'hog', '--neighbours', '3']],
])('evaluate %s', async (command, more) => {
  const data = await tinyDataset(12)
  for (const kind of ['SiT', 'DiT'] as const) {
    const out = join(temporaryFolder(), 'run')
    const model = { kind, depth: 1, hidden: 16, heads: 2, patch: 2 }
    await train({ data, out, configuration: { model, batch: 2, steps: 1 }, device: 'cpu' })
    const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
    const words = ['evaluate', command, '--checkpoint', out, '--data', data, '--path', 'cosine', '--quiet', ...more]
    const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
    if (kind === 'SiT') expect({ status, stdout: stdout.text }).toMatchObject({ status: 0 })
    else {
      expect({ status, stderr: stderr.text }).toEqual({
        status: 2,
        stderr: `repa evaluate ${command}: --path cosine is of a SiT, not of a DiT; leave it out.\n`,
      })
    }
  }
})
