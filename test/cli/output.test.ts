import { expect, test } from 'vitest'
import { Output } from '../../src/cli/output.ts'
import { tableLines } from '../../src/cli/table.ts'
import { RecordingStream } from './recording-stream.ts'

test('a table is aligned, numbers to the right, colours not counted', () => {
  const green = '\u001b[32mok\u001b[39m'
  expect(
    tableLines(
      [{ heading: 'case' }, { heading: 'error', align: 'right' }, { heading: 'state' }],
      [
        ['sit.forward', '1e-6', green],
        ['x', '12', 'bad'],
      ],
    ),
  ).toEqual(['case         error  state', `sit.forward   1e-6  ${green}`, 'x               12  bad'])
})

test.each([
  [{ json: false, quiet: false }, 'line\nwarning: careful\nasked for\n', ''],
  [{ json: true, quiet: false }, 'warning: careful\nasked for\n', '{"a":1}\n{"a":2}\n'],
  [{ json: false, quiet: true }, 'warning: careful\nasked for\n', ''],
  [{ json: true, quiet: true }, 'warning: careful\nasked for\n', '{"a":1}\n{"a":2}\n'],
])('%o', (flags, human, machine) => {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const out = new Output({ stdout, stderr, env: {}, ...flags })
  out.line('line')
  out.json({ a: 1 })
  out.warn('careful')
  out.log('asked for')
  out.json({ a: 2 })
  out.status('never shown without a terminal')
  out.close()
  expect([stderr.text, stdout.text]).toEqual([human, machine])
})
