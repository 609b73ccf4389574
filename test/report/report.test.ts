import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { renderReport } from '../../src/report/report.ts'
import { readRun } from '../../src/report/run.ts'
import { metricsLine, PNG, type RunFiles, RunFolders } from './run-folder.ts'

async function page(...runs: RunFiles[]): Promise<string> {
  await using folders = await RunFolders.create()
  const data = []
  for (const [i, files] of runs.entries()) {
    data.push(await readRun(await folders.add(`run-${'abc'[i]}`, { 'config.json': {}, ...files })))
  }
  return renderReport(data)
}

/** Titles of the page's charts, in order. */
function chartTitles(html: string): string[] {
  return [...html.matchAll(/<figure class="card chart[^>]*>\s*<figcaption><h3>([^<]*)/g)].map(([, title]) => title!)
}

const FID = { kind: 'fid', network: 'inception', reference: 'ref.npz', sampleImages: 50_000, fid: 8, is: 141.2 }
const CLIP = { kind: 'clip', network: 'ViT-L/14', images: 100, cosine: 0.25345 }
const PROBE = {
  kind: 'probe',
  step: 1000,
  testImages: 100,
  points: [
    { layer: 4, noise: 0, accuracy: 0.5 },
    { layer: 8, noise: 0, accuracy: 0.703 },
  ],
}

const lines = (count: number, changes: (step: number) => object = () => ({})) =>
  Array.from({ length: count }, (_, i) => metricsLine(i + 1, changes(i + 1)))

describe('the same of any run', () => {
  const runs: [string, RunFiles[]][] = [
    ['a run that has just begun', [{}]],
    ['one step', [{ 'metrics.jsonl': lines(1) }]],
    ['five steps', [{ 'metrics.jsonl': lines(5) }]],
    ['all values equal', [{ 'metrics.jsonl': lines(50, () => ({ loss: 0, gradNorm: 0, lr: 0, imagesPerSecond: 0 })) }]],
    ['nothing finite', [{ 'metrics.jsonl': lines(50, () => ({ loss: null, gradNorm: null, lr: null })) }]],
    ['huge and tiny values', [{ 'metrics.jsonl': lines(99, (i) => ({ loss: 10 ** (i - 50), lr: 1e-300 })) }]],
    ['three runs, one of them empty', [{ 'metrics.jsonl': lines(300) }, {}, { 'metrics.jsonl': lines(30) }]],
  ]
  test.each(runs)('%s: nothing is asked for from outside, no number is broken', async (_, files) => {
    const html = await page(...files)
    expect(html).toMatch(/^<!doctype html>/)
    expect(html.match(/\s(?:src|href|action|srcset)="(?!data:)[^"]*"/g)).toBeNull()
    expect(html).not.toMatch(/url\(|@import|https?:/)
    expect(html.replace(/<script>[\s\S]*<\/script>/, '')).not.toMatch(/NaN|Infinity|undefined|\[object/)
    const policy = html.match(/script-src &#39;sha256-([^&]+)&#39;/)![1]
    const script = html.match(/<script>([\s\S]*?)<\/script>/)![1]!
    expect(createHash('sha256').update(script).digest('base64')).toBe(policy)
    for (const [, json] of html.matchAll(/<script type="application\/json">([\s\S]*?)<\/script>/g)) JSON.parse(json!)
  })
})

test('charts of a run without and with alignment', async () => {
  expect(chartTitles(await page({ 'metrics.jsonl': lines(9) }))).toEqual([
    'Loss',
    'Gradient norm',
    'Throughput',
    'Learning rate',
  ])
  const aligned = await page({ 'metrics.jsonl': lines(9, () => ({ alignment: -0.3 })) })
  expect(chartTitles(aligned).slice(0, 3)).toEqual(['Loss', 'Denoising loss', 'Alignment loss'])
})

test.each<[string, object, sum: string, charts: [title: string, width: string][]]>([
  ['alone', {}, 'Mean squared error of the prediction.', []],
  [
    'with alignment and a learned variance',
    { alignment: -0.3, vb: 0.1 },
    'What is minimised: denoising plus variational bound plus weighted alignment.',
    [
      ['Denoising loss', 'third'],
      ['Variational bound', 'third'],
      ['Alignment loss', 'third'],
    ],
  ],
  [
    'with self-alignment',
    { selfAlignment: 0.3, selfAlignWeight: 0.2 },
    'What is minimised: denoising plus weighted self-alignment.',
    [
      ['Denoising loss', 'half'],
      ['Self-alignment loss', 'half'],
    ],
  ],
  [
    'with dispersion',
    { dispersive: -0.7 },
    'What is minimised: denoising plus weighted dispersive loss.',
    [
      ['Denoising loss', 'half'],
      ['Dispersive loss', 'half'],
    ],
  ],
  [
    'with the cosine of velocities',
    { velocityCosine: 0.9, alignment: -0.3 },
    'What is minimised: denoising plus weighted cosine loss plus weighted alignment.',
    [
      ['Denoising loss', 'third'],
      ['Cosine loss of the velocity', 'third'],
      ['Alignment loss', 'third'],
    ],
  ],
  [
    'with contrast',
    { alignment: -0.3, contrastive: 2.1 },
    'What is minimised: denoising plus weighted alignment minus weighted contrast.',
    [
      ['Denoising loss', 'third'],
      ['Alignment loss', 'third'],
      ['Contrast', 'third'],
    ],
  ],
])('the loss and its parts: denoising %s', async (_, logged, sum, charts) => {
  const html = await page({ 'metrics.jsonl': lines(9, () => logged) })
  const shown = [...html.matchAll(/<figure class="card chart (\w+) [^>]*>\s*<figcaption><h3>([^<]*)<\/h3><p>([^<]*)/g)]
  expect(shown[0]!.slice(1).map((text) => text.trim())).toEqual(['full', 'Loss', sum])
  expect(shown.slice(1, -3).map(([, width, title]) => [title, width])).toEqual(charts)
  const tiles = [...html.matchAll(/class="label">([^<]*)/g)].map(([, label]) => label)
  expect(tiles.slice(2, -2).length).toBe(charts.length)
})

test('DINO’s loss says nothing of a collapse: what does is beside it', async () => {
  const measured = { denoising: undefined, view_information: 0.7, teacher_entropy: 5.5, teacher_kl_uniform: 0.9 }
  const html = await page({ 'metrics.jsonl': lines(9, () => measured) })
  expect(chartTitles(html)).toEqual([
    'Loss',
    'View information',
    'Teacher’s entropy',
    'Teacher’s preferences',
    'Gradient norm',
    'Throughput',
    'Learning rate',
  ])
  expect(html).toMatch(/class="label">View information<\/span><span class="value">0\.700</)
  expect(html).toContain('<p>What is minimised.')
})

test.each<[what: string, logged: readonly object[], loss: string]>([
  [
    'aligned training',
    [{}, { alignment: -0.3 }],
    'What is minimised: denoising plus weighted alignment; of run-c, the loss of its own objective.',
  ],
  ['training', [{}], 'Mean squared error of the prediction; of run-b, the loss of its own objective.'],
  [
    'training and another pretraining',
    [{}, { denoising: undefined }],
    'Mean squared error of the prediction; of run-b and run-c, the loss of their own objectives.',
  ],
])('beside %s the loss of an encoder’s pretraining is what that minimises', async (_, logged, loss) => {
  const runs = [...logged, { denoising: undefined }]
  const html = await page(...runs.map((own) => ({ 'metrics.jsonl': lines(9, () => own) })))
  expect(html).toContain(`<h3>Loss</h3><p>${loss}`)
})

test.each([
  ['equal seeds', { training: { seed: 0 } }, true, 'The same noise and classes'],
  ['other seeds', { training: { seed: 1 } }, true, 'The runs differ in seed, and so may their noise and classes.'],
  ['other data', { data: 'cifar20', training: { seed: 0 } }, true, 'The runs differ in data folder, and so may'],
  ['other data and seeds', { data: 'x', training: { seed: 1 } }, true, 'The runs differ in seed and data folder, and'],
  [
    'captions and classes',
    { training: { seed: 0, captionEncoder: { file: 'c' } } },
    true,
    'The runs differ in conditioning',
  ],
  ['a run that draws none', { data: 'cifar20' }, false, 'The same noise and classes'],
] as const)('what samples have in common: %s', async (_, config, draws, remark) => {
  const drawing = { 'config.json': { data: 'cifar10', training: { seed: 0 } }, 'samples/0000001.png': PNG }
  const other = { 'config.json': { data: 'cifar10', ...config }, ...(draws && { 'samples/0000001.png': PNG }) }
  const html = await page(drawing, other)
  expect(html).toContain(remark)
  expect(html.includes('The same noise and classes')).toBe(remark === 'The same noise and classes')
})

test('grids of captions are not said to be of classes', async () => {
  const config = { data: 'coco', training: { seed: 0, captionEncoder: { file: 'c' } } }
  const html = await page({ 'config.json': config, 'samples/0000001.png': PNG })
  expect(html).toContain('The same noise and captions, drawn again')
})

test('grids of two sizes, as the demo leaves them, are not said to be of one noise', async () => {
  const larger = encodePng(new Uint8Array(16 * 16 * 3), 16, 16, 3)
  const html = await page({ 'samples/0000001.png': PNG, 'samples/0000002.png': larger })
  expect(html).toContain('grids of other sizes may be of other noise and classes')
})

test('headline numbers', async () => {
  const html = await page({
    'config.json': { model: 'SiT-B/2' },
    'metrics.jsonl': lines(1000, (i) => ({ loss: 0.25, seconds: i <= 600 ? i : i - 600, skipped: i < 500 ? 0 : 3 })),
    'evaluation/0000500.json': { ...FID, step: 500, fid: 12 },
    'evaluation/0001000.json': { ...FID, step: 1000, fid: 8.41 },
    'evaluation/probe.json': PROBE,
    'evaluation/samples-clip.json': { ...CLIP, step: 1000, samples: 'samples', sampling: { guidanceScale: 2 } },
    'evaluation/real-clip.json': { ...CLIP, data: 'data/coco256-val', cosine: 0.26 },
  })
  const tiles = [...html.matchAll(/class="label">([^<]*)<\/span><span class="value">([^<]*)/g)].map((m) => m.slice(1))
  expect(tiles).toEqual([
    ['Steps', '1,000'],
    ['Loss', '0.2500'],
    ['Images/s', '100'],
    // 600 s, and 400 s after it was resumed.
    ['Training time', '16 min 40 s'],
    ['Skipped steps', '3'],
    ['FID', '8.41'],
    ['IS', '141.2'],
    ['CLIP score of real images (ViT-L/14)', '26.00'],
    ['CLIP score (ViT-L/14)', '25.35'],
    ['Probing', '70.3 %'],
  ])
  expect(html).toContain('guidance 2, step 1,000')
  expect(html).toContain('SiT-B/2, step 1,000')
})

test.each([1, 2])('the loss of a run that has diverged is said to be an old one, among %i runs', async (count) => {
  const files = { 'metrics.jsonl': lines(100, (i) => (i < 40 ? { loss: 0.25 } : { loss: null })) }
  const html = await page(...Array.from({ length: count }, () => files))
  expect(html.match(/>0\.2500(?:<\/span>)? ?<span class="remark">at step 39, not finite since</g)).toHaveLength(count)
})

test('what layers know is headed by the newest checkpoint, whichever file comes last', async () => {
  const probed = (step: number, accuracy: number) => ({ ...PROBE, step, points: [{ layer: 8, noise: 0, accuracy }] })
  const html = await page({ 'evaluation/a.json': probed(1000, 0.4), 'evaluation/b.json': probed(500, 0.7) })
  expect(html).toContain('<span class="value">40.0 %</span><span class="remark">layer 8, step 1,000</span>')
})

describe('of samples that were made in several ways', () => {
  const scaled = (guidanceScale: number, fid: number, more: object = {}) => ({
    ...FID,
    step: 1000,
    sampling: { mode: 'sde', steps: 250, guidanceScale },
    fid,
    ...more,
  })
  /** An older checkpoint that came out lower, once in a way of its own, and three ways of the newest. */
  const evaluations = {
    'evaluation/a.json': scaled(1.8, 2, { step: 500 }),
    'evaluation/b.json': scaled(1.8, 9, { is: 200 }),
    'evaluation/c.json': scaled(4, 8.41, { is: 300 }),
    'evaluation/d.json': scaled(1, 12, { is: 100 }),
    'evaluation/e.json': scaled(6, 3, { step: 500 }),
  }

  test('the headline is the lowest distance of the newest checkpoint, and says which way that is', async () => {
    const html = await page(evaluations)
    const tiles = [
      ...html.matchAll(
        /class="label">([^<]*)<\/span><span class="value">([^<]*)<\/span>(?:<span class="remark">([^<]*))?/g,
      ),
    ]
    expect(tiles.map((tile) => tile.slice(1))).toEqual([
      ['FID', '8.41', 'lowest of 3, guidance 4, step 1,000'],
      ['IS', '300.0', 'guidance 4, step 1,000'],
    ])
  })

  test('the headlines of several runs say it too', async () => {
    const html = await page(evaluations, { 'evaluation/a.json': scaled(1.8, 20) })
    const rows = [...html.matchAll(/<tr><th><i[^>]*><\/i><span class="run-name">([^<]*)<\/span><\/th>(.*?)<\/tr>/g)]
    const cells = rows.map(([, name, row]) => [name, ...[...row!.matchAll(/<td>(.*?)<\/td>/g)].map(([, cell]) => cell)])
    const remark = (words: string) => ` <span class="remark">${words}</span>`
    expect(cells).toEqual([
      ['run-a', `8.41${remark('guidance 4')}`, `300.0${remark('guidance 4')}`],
      ['run-b', `20.0${remark('guidance 1.8')}`, `141.2${remark('guidance 1.8')}`],
    ])
  })

  test('another reference is another headline', async () => {
    const html = await page({
      'evaluation/a.json': scaled(1.8, 9),
      'evaluation/b.json': scaled(1.8, 7, { reference: 'val.npz', is: null }),
      'evaluation/c.json': scaled(1.8, 70, { network: 'hog', is: null }),
    })
    const tiles = [...html.matchAll(/class="label">([^<]*)<\/span><span class="value">([^<]*)/g)].map((m) => m.slice(1))
    expect(tiles).toEqual([
      ['FID against ref.npz', '9.00'],
      ['IS against ref.npz', '141.2'],
      ['FID against val.npz', '7.00'],
      ['Fréchet distance (hog)', '70.0'],
    ])
  })
})

test('what the loss came from is what was logged first, which the trend has smoothed away', async () => {
  const html = await page({ 'metrics.jsonl': lines(2000, (i) => ({ loss: 1 / i })) })
  expect(html).toContain('<span class="remark">from 1.00</span>')
})

test('several runs: what differs between the configurations comes first', async () => {
  const html = await page(
    { 'config.json': { model: 'SiT-B/2', optimizer: { lr: 1e-4, betas: [0.9, 0.999] }, align: { depth: 4 } } },
    { 'config.json': { model: 'SiT-B/2', optimizer: { lr: 2e-4, betas: [0.9, 0.999] } } },
  )
  const table = html.match(/<table class="settings">[\s\S]*?<\/table>/)![0]
  const rows = [...table.matchAll(/<tr><th>([^<]*)<\/th>(.*?)<\/tr>/g)].map(([, path, cells]) => [
    path,
    ...cells!
      .replace(/<\/td>/g, '')
      .replace(/<[^t][^>]*>/g, '')
      .split('<td>')
      .slice(1),
  ])
  expect(rows.slice(-2)).toEqual([
    ['optimizer.lr', '0.0001', '0.0002'],
    ['align.depth', '4', 'not set'],
  ])
  expect(html).toContain('What is the same (2)')
})

const FREE = { kind: 'SiT', depth: 2, hidden: 48, heads: 3, patch: 4 }

test.each([
  ['defaults that are written out', { ...FREE, mlpRatio: 4, qkNorm: false }, FREE],
  ["a preset's own sizes", { kind: 'SiT', depth: 12, hidden: 384, heads: 6, patch: 8 }, 'SiT-S/8'],
])('one model by two spellings does not differ: %s', async (_, model, other) => {
  const html = await page(
    { 'config.json': { data: 'd', training: { model, steps: 2 } } },
    { 'config.json': { data: 'd', training: { model: other, steps: 3 } } },
  )
  const [differing] = html.match(/<table class="settings">[\s\S]*?<\/table>/)!
  expect([...differing!.matchAll(/<tr><th>([^<]*)<\/th><td>/g)].map((match) => match[1])).toEqual(['training.steps'])
})

test('equal configurations are said to be equal', async () => {
  expect(await page({ 'config.json': { a: 1 } }, { 'config.json': { a: 1 } })).toContain('configurations are equal')
})

test('encoders read as the command line spells them', async () => {
  const encoders = [{ name: 'hog' }, { name: 'dinov2-vit-b', file: 'weights.pth' }]
  const html = await page({ 'config.json': { data: 'd', training: { encoders } } })
  expect(html).toContain('<dt>encoders</dt><dd>hog, dinov2-vit-b=weights.pth</dd>')
  expect(await page({ 'config.json': { training: { encoders: [] } } })).toContain('<span class="absent">none</span>')
})

test('sample grids are embedded as they are', async () => {
  const html = await page({ 'samples/0000010.png': PNG, 'samples/0020000.png': PNG })
  const sources = [...html.matchAll(/src="data:image\/png;base64,([^"]*)"/g)].map(([, data]) => data)
  expect(sources).toEqual([Buffer.from(PNG).toString('base64'), Buffer.from(PNG).toString('base64')])
  expect(html).toContain('Step 20,000')
})

test('hostile text stays text', async () => {
  const attack = `"'></script><script>alert(1)</script><img src=x onerror=alert(1)><!--`
  const config = { [attack]: attack, section: { [attack]: [attack, { deep: attack }] }, model: attack }
  await using folders = await RunFolders.create()
  const directory = await folders.add('r', { 'config.json': config, 'metrics.jsonl': lines(5) })
  const run = {
    ...(await readRun(directory)),
    name: attack,
    evaluations: [{ ...FID, kind: 'fid' as const, step: 1, network: attack, reference: attack }],
  }
  const other = { ...run, config: {}, name: `${attack}2` }
  for (const html of [renderReport([run], { title: attack }), renderReport([run, other])]) {
    expect(html.match(/<script\b[^>]*>/g)!.filter((tag) => tag !== '<script type="application/json">')).toEqual([
      '<script>',
    ])
    expect(html).not.toContain('<img')
    expect(html).not.toContain('<!--')
    expect(html).toContain('&quot;&#39;&gt;&lt;/script&gt;')
    const data = html.match(/<script type="application\/json">([\s\S]*?)<\/script>/)![1]!
    expect(JSON.parse(data).series[0].name).toBe(attack)
  }
})

test('a run of 400,000 steps gives a page below 5 MB, its spikes kept', () => {
  const count = 400_000
  const column = (value: (i: number) => number) => Float64Array.from({ length: count }, (_, i) => value(i))
  const noise = (i: number) => Math.sin(i * 12.9898) * 0.1
  const loss = column((i) => 0.5 + 1 / (1 + i / 1000) + noise(i))
  loss[123_456] = 1.9
  const metrics = {
    step: column((i) => i + 1),
    columns: {
      loss,
      denoising: loss,
      vb: loss,
      velocityCosine: column(() => Number.NaN),
      alignment: column((i) => -0.6 + noise(i)),
      attentionAlignment: column(() => Number.NaN),
      selfAlignment: column(() => Number.NaN),
      dispersive: column(() => Number.NaN),
      contrastive: column(() => Number.NaN),
      classToken: column(() => Number.NaN),
      view_information: column(() => Number.NaN),
      teacher_entropy: column(() => Number.NaN),
      teacher_kl_uniform: column(() => Number.NaN),
      gradNorm: column((i) => 1 + noise(i)),
      lr: column((i) => Math.min(1, i / 10_000) * 1e-4),
      imagesPerSecond: column((i) => 1000 * (1 + noise(i))),
      seconds: column((i) => i),
      skipped: column(() => 0),
    },
  }
  const run = { directory: '/r', config: {}, metrics, samples: { shown: [], available: 0 }, evaluations: [] }
  const html = renderReport(['a', 'b', 'c'].map((name) => ({ ...run, name })))
  // 2^19 points of eight characters (a float32 and a uint16 in base64), and the drawings.
  expect(Buffer.byteLength(html)).toBeLessThan(5_000_000)
  // The spike lies at 123,457 of 400,000 steps: 308.6 of 1000 units across, and far above its neighbours.
  const raw = html.match(/<path class="raw run-0 age-0" d="([^"]*)"/)![1]!
  const points = raw.slice(1).split(' ').map(Number)
  const at = points.findIndex((x, i) => i % 2 === 0 && Math.abs(x - 308.6) < 0.1)
  const nearby = points.slice(at - 20, at + 20).filter((_, i) => i % 2 === 1)
  expect(points[at + 1]).toBe(Math.min(...nearby))
})

test('no run is an error', () => {
  expect(() => renderReport([])).toThrow(/at least one run/)
})
