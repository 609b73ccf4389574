import { describe, expect, test } from 'vitest'
import { distinctNames, readRun } from '../../src/report/run.ts'
import { metricsLine, PNG, RunFolders } from './run-folder.ts'

test('reads all of a run', async () => {
  await using folders = await RunFolders.create()
  const directory = await folders.add('xl', {
    'config.json': { model: 'SiT-XL/2', optimizer: { lr: 1e-4 } },
    'metrics.jsonl': [metricsLine(1, { alignment: -0.1 }), metricsLine(2, { alignment: null, skipped: 1 })],
    'samples/0000100.png': PNG,
    'samples/0001000.png': PNG,
    'samples/notes.txt': 'not a grid',
    'samples/12.png': 'not padded: not a grid of ours',
    'evaluation/b.json': {
      kind: 'probe',
      checkpoint: 'runs/xl/checkpoints/0000900',
      testImages: 10,
      points: [{ layer: 8, noise: 0.5, accuracy: 0.7 }],
    },
    'evaluation/a.json': { kind: 'fid', network: 'hog', reference: 'r.zip', sampleImages: 10, fid: 8.5 },
    'evaluation/c.json': {
      kind: 'fid',
      network: 'hog',
      reference: 'r.zip',
      sampleImages: 10,
      fid: 8.5,
      checkpoint: 'r',
      step: 7,
      sampling: { mode: 'sde', guidanceScale: 1.8, classes: null },
    },
    'evaluation/notes.txt': 'not an evaluation',
  })
  const run = await readRun(`${directory}/`)
  expect(run).toMatchObject({ name: 'xl', directory, config: { model: 'SiT-XL/2' } })
  expect(run.evaluations.map((own) => [own.kind, 'step' in own ? own.step : undefined])).toEqual([
    ['fid', undefined],
    ['probe', 900],
    ['fid', 7],
  ])
  expect([...run.metrics.step]).toEqual([1, 2])
  expect([...run.metrics.columns.alignment]).toEqual([-0.1, Number.NaN])
  expect([...run.metrics.columns.skipped]).toEqual([Number.NaN, 1])
  expect(run.samples.available).toBe(2)
  expect(run.samples.shown.map(({ step, width, height }) => [step, width, height])).toEqual([
    [100, 16, 8],
    [1000, 16, 8],
  ])
})

test.each([
  ['runs/xl/checkpoints/0000900/', 900],
  ['runs\\xl\\checkpoints\\0000900', 900],
  ['0000900', 900],
  ['weights-0000900', undefined],
  ['runs/xl/checkpoints/0000900/model.safetensors', undefined],
])('of the checkpoint %s the step is %s', async (checkpoint, step) => {
  await using folders = await RunFolders.create()
  const evaluation = { kind: 'fid', network: 'hog', reference: 'r.zip', sampleImages: 10, fid: 8.5, checkpoint }
  const run = await readRun(await folders.add('xl', { 'config.json': {}, 'evaluation/a.json': evaluation }))
  expect(run.evaluations).toMatchObject([{ ...evaluation, ...(step !== undefined && { step }) }])
  expect('step' in run.evaluations[0]!).toBe(step !== undefined)
})

test('a run that has just begun has only its configuration', async () => {
  await using folders = await RunFolders.create()
  const run = await readRun(await folders.add('new', { 'config.json': {} }))
  expect(run.metrics.step.length).toBe(0)
  expect(run.samples).toEqual({ shown: [], available: 0 })
  expect(run.evaluations).toEqual([])
})

describe('metrics.jsonl', () => {
  const line = (step: number, loss: number) => `${JSON.stringify(metricsLine(step, { loss }))}\n`

  test.each<[string, string, [step: number, loss: number][]]>([
    ['empty', '', []],
    ['blank lines', `\n${line(1, 5)}\n`, [[1, 5]]],
    ['a torn last line', `${line(1, 5)}{"step":2,"lo`, [[1, 5]]],
    ['a whole last line without its newline', line(1, 5).trimEnd(), [[1, 5]]],
    ['Windows line ends', line(1, 5).replace('\n', '\r\n'), [[1, 5]]],
    [
      'a resumed run: the later line of a step wins',
      line(1, 5) + line(2, 4) + line(3, 3) + line(2, 40) + line(3, 30) + line(4, 20),
      [
        [1, 5],
        [2, 40],
        [3, 30],
        [4, 20],
      ],
    ],
    [
      'resumed twice',
      line(1, 1) + line(2, 2) + line(2, 20) + line(3, 3) + line(2, 200),
      [
        [1, 1],
        [2, 200],
        [3, 3],
      ],
    ],
    ['a value that was not finite', `${JSON.stringify(metricsLine(1, { loss: null }))}\n`, [[1, Number.NaN]]],
    ['a metric of a later version', `${JSON.stringify(metricsLine(1, { loss: 2, later: [1] }))}\n`, [[1, 2]]],
  ])('%s', async (_, text, expected) => {
    await using folders = await RunFolders.create()
    const { metrics } = await readRun(await folders.add('r', { 'config.json': {}, 'metrics.jsonl': text }))
    expect(Array.from(metrics.step, (step, i) => [step, metrics.columns.loss[i]])).toEqual(expected)
  })

  test('lines are found across the boundaries of what is read at once', async () => {
    await using folders = await RunFolders.create()
    const count = 5000
    const lines = Array.from({ length: count }, (_, i) => metricsLine(i + 1, { note: 'ä'.repeat(i % 97) }))
    const { metrics } = await readRun(await folders.add('r', { 'config.json': {}, 'metrics.jsonl': lines }))
    expect(metrics.step).toEqual(Float64Array.from({ length: count }, (_, i) => i + 1))
  })
})

describe('refuses', () => {
  const config = { 'config.json': '{}' }
  const good = JSON.stringify(metricsLine(1))
  test.each<[string, Record<string, string>, RegExp]>([
    ['no configuration', {}, /r: not a run's folder, it has no config\.json; give the folder of a training run/],
    ['a torn configuration', { 'config.json': '{"a"' }, /config\.json is not JSON: /],
    ['a configuration that is an array', { 'config.json': '[]' }, /config\.json: expected a JSON object: /],
    [
      'a line that is no JSON',
      { ...config, 'metrics.jsonl': `${good}\nhello\n${good}\n` },
      /metrics\.jsonl:2: .*got 'hello'; /,
    ],
    [
      'a last line that is whole but no JSON',
      { ...config, 'metrics.jsonl': `${good}\n{"step"\n` },
      /metrics\.jsonl:2: /,
    ],
    ['a line without a step', { ...config, 'metrics.jsonl': '{"loss":1}\n' }, /metrics\.jsonl:1: 'step': /],
    ['a step that is no count', { ...config, 'metrics.jsonl': '{"step":-1}\n' }, /metrics\.jsonl:1: 'step': /],
    [
      'a loss in words',
      { ...config, 'metrics.jsonl': `${good.replace(/"loss":[^,]+/, '"loss":"low"')}\n` },
      /:1: 'loss': /,
    ],
    ['a grid that is no PNG', { ...config, 'samples/0000001.png': 'GIF89a' }, /0000001\.png: expected a PNG image; /],
    ['a torn evaluation', { ...config, 'evaluation/x.json': '' }, /evaluation\/x\.json is not JSON: /],
    [
      'an evaluation of another kind',
      { ...config, 'evaluation/x.json': '{"kind":"taste"}' },
      /evaluation\/x\.json: 'kind': .*expected what 'repa evaluate/,
    ],
    [
      'an evaluation with a share above one',
      {
        ...config,
        'evaluation/x.json': '{"kind":"probe","testImages":1,"points":[{"layer":1,"noise":0,"accuracy":70.3}]}',
      },
      /x\.json: 'points\.0\.accuracy': /,
    ],
    [
      'an evaluation that says more than is known',
      {
        ...config,
        'evaluation/x.json': '{"kind":"fid","network":"hog","reference":"r","sampleImages":1,"fid":1,"kid":2}',
      },
      /x\.json: .*kid/,
    ],
  ])('%s', async (_, files, message) => {
    await using folders = await RunFolders.create()
    await expect(readRun(await folders.add('r', files))).rejects.toThrow(message)
  })
})

test('of many sample grids some are read, first and last among them', async () => {
  await using folders = await RunFolders.create()
  const grids = Object.fromEntries(
    Array.from({ length: 25 }, (_, i) => [`samples/${String(i * 100).padStart(7, '0')}.png`, PNG]),
  )
  const directory = await folders.add('r', { 'config.json': {}, ...grids })
  for (const [sampleLimit, steps] of [
    [5, [0, 600, 1200, 1800, 2400]],
    [1, [2400]],
    [0, []],
  ] as const) {
    const { samples } = await readRun(directory, { sampleLimit })
    expect(samples.available).toBe(25)
    expect(samples.shown.map(({ step }) => step)).toEqual(steps)
  }
})

test.each([
  [
    ['/r/a', '/r/b'],
    ['a', 'b'],
  ],
  [
    ['/x/a', '/y/a'],
    ['x/a', 'y/a'],
  ],
  [
    ['/1/x/a', '/2/x/a', '/r/b'],
    ['1/x/a', '2/x/a', 'b'],
  ],
  [
    ['/r/a', '/r/a'],
    ['r/a', 'r/a (2)'],
  ],
])('distinctNames(%j) = %j', (directories, names) => {
  const runs = directories.map((directory) => ({ directory, name: directory.split('/').at(-1)! }))
  expect(distinctNames(runs)).toEqual(names)
})
