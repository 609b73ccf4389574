import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { Interruption } from '../../../src/cli/failure.ts'
import { metricsLine, PNG, RunFolders } from '../../report/run-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

const files = { 'config.json': { model: 'SiT-S/2' }, 'metrics.jsonl': [metricsLine(1), metricsLine(2)] }

test('writes RUN/report.html and nothing else', async () => {
  await using folders = await RunFolders.create()
  const run = await folders.add('first', files)
  const result = await repa('report', run)
  const page = join(run, 'report.html')
  expect(result).toMatchObject({ status: 0, stdout: '' })
  expect(result.stderr).toMatch(new RegExp(`^${page}: first \\(step 2\\), [\\d.]+ KiB\\n$`))
  expect(await readFile(page, 'utf8')).toContain('<title>first</title>')
  expect((await readdir(run)).sort()).toEqual(['config.json', 'metrics.jsonl', 'report.html', 'samples'])
})

test('--out, --title, --json, several runs', async () => {
  await using folders = await RunFolders.create()
  const runs = [await folders.add('a', files), await folders.add('b', { 'config.json': {} })]
  const out = join(folders.root, 'both.html')
  const result = await repa('report', ...runs, '--out', out, '--title', 'A & B', '--json')
  const page = await readFile(out, 'utf8')
  expect(page).toContain('<title>A &amp; B</title>')
  expect(result).toMatchObject({ status: 0, stderr: '' })
  expect(JSON.parse(result.stdout)).toEqual({
    report: out,
    bytes: Buffer.byteLength(page),
    runs: [
      { name: 'a', steps: 2 },
      { name: 'b', steps: 0 },
    ],
  })
})

test('interrupted in a long log, it writes nothing', async () => {
  await using folders = await RunFolders.create()
  const line = (step: number) => `${JSON.stringify(metricsLine(step))}\n`
  const run = await folders.add('long', {
    ...files,
    'metrics.jsonl': Array.from({ length: 100_000 }, (_, i) => line(i)).join(''),
  })
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Interruption('stopped by SIGINT')), 20)
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(['report', run], { stdout, stderr, env: {}, signal: controller.signal })
  expect({ status, stderr: stderr.text }).toEqual({ status: 130, stderr: '' })
  expect(await readdir(run)).not.toContain('report.html')
})

test('--samples', async () => {
  await using folders = await RunFolders.create()
  const grids = { 'samples/0000001.png': PNG, 'samples/0000002.png': PNG }
  const run = await folders.add('drawn', { ...files, ...grids })
  expect(await repa('report', run, '--samples', '1')).toMatchObject({ status: 0 })
  expect(await readFile(join(run, 'report.html'), 'utf8')).toContain('1 of 2 grids are shown')
})

test('what is no run is named, and nothing is written', async () => {
  await using folders = await RunFolders.create()
  const out = join(folders.root, 'page.html')
  expect(await repa('report', folders.root, '--out', out)).toEqual({
    status: 1,
    stdout: '',
    stderr: `repa report: ${folders.root}: not a run's folder, it has no config.json; give the folder of a training run.\n`,
  })
  const run = await folders.add('a', files)
  const missing = join(folders.root, 'no/such/folder/page.html')
  expect(await repa('report', run, '--out', missing)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(
      /^repa report: Cannot write .*no\/such\/folder\/page\.html: the folder that it is to lie in is not there; make it, or choose another \(ENOENT\)\.\n$/,
    ),
  })
  expect((await readdir(folders.root)).sort()).toEqual(['a'])
})
