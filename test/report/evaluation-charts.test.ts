import { describe, expect, test } from 'vitest'
import { chartWidths } from '../../src/report/chart-widths.ts'
import { renderEvaluations } from '../../src/report/evaluation-charts.ts'
import { type Evaluation, EvaluationSchema } from '../../src/report/evaluations.ts'

const fid = (step: number | undefined, value: number, more: object = {}): Evaluation =>
  EvaluationSchema.parse({
    kind: 'fid',
    step,
    network: 'inception',
    reference: 'a/ref.npz',
    sampleImages: 10,
    fid: value,
    ...more,
  })
const probe = (step: number | undefined, noise: number[], layers: Record<number, number>): Evaluation =>
  EvaluationSchema.parse({
    kind: 'probe',
    step,
    testImages: 10,
    points: noise.flatMap((t) =>
      Object.entries(layers).map(([layer, accuracy]) => ({
        layer: Number(layer),
        noise: t,
        accuracy: accuracy * (1 - t),
      })),
    ),
  })
const cknna = (more: object, point: object = {}): Evaluation =>
  EvaluationSchema.parse({
    kind: 'cknna',
    encoder: 'hog',
    images: 10,
    neighbours: 10,
    points: [1, 2].map((layer) => ({ layer, noise: 0, cknna: 0.1 * layer, ...point })),
    ...more,
  })

/** Every chart's title, and the names and values of its lines. */
function charts(...runs: Evaluation[][]) {
  const { markup } = renderEvaluations(
    runs.map((evaluations) => ({ evaluations })),
    ['aligned', 'vanilla'].slice(0, runs.length),
  )
  return [
    ...markup.matchAll(
      /data-chart="([^"]*)"[\s\S]*?<p>([\s\S]*?)<span[\s\S]*?<script type="application\/json">(.*?)<\/script>/g,
    ),
  ].map(([, title, description, json]) => ({
    title,
    description,
    references: JSON.parse(json!).references,
    values: JSON.parse(json!).values,
    lines: JSON.parse(json!).series.map((own: { name: string; age: number; x: number[]; y: number[] }) => [
      own.name,
      own.age,
      Object.fromEntries(own.x.map((x, i) => [x, own.y[i]])),
    ]),
  }))
}

/** The cells of a table, row by row. */
function tableOf(markup: string): (string | undefined)[][] {
  return [...markup.matchAll(/<tr.*?<\/tr>/gs)].map(([row]) =>
    [...row.matchAll(/<(t[hd])(?: class="words")?>(?:<i[^>]*><\/i>)?(?:<span[^>]*>)?(.*?)(?:<\/span>)?<\/\1>/g)].map(
      ([, , cell]) => cell,
    ),
  )
}

test('nothing evaluated, nothing shown', () => {
  expect(renderEvaluations([{ evaluations: [] }], ['r']).markup).toBe('')
})

describe('sample quality', () => {
  test('by step, in the order of the steps; one without a step is in no curve', () => {
    const shown = charts([fid(200, 5), fid(100, 9), fid(undefined, 1)], [fid(100, 20)])
    expect(shown.map(({ title }) => title)).toEqual(['FID'])
    expect(shown[0]!.lines).toEqual([
      ['aligned', 0, { 100: 9, 200: 5 }],
      ['vanilla', 0, { 100: 20 }],
    ])
  })

  test('what was measured beside the distance', () => {
    const shown = charts([1, 2].map((step) => fid(step, 5, { sfid: 6, is: 7, precision: 0.5, recall: null })))
    expect(shown.map(({ title }) => title)).toEqual(['FID', 'sFID', 'Inception Score', 'Precision'])
  })

  test('how many samples there were', () => {
    const described = (...counts: number[]) =>
      charts(counts.map((sampleImages, i) => fid(i, 5, { sampleImages })))[0]!.description
    expect(described(50_000, 50_000)).toMatch(/^50,000 samples against ref.npz, in the features of Inception\./)
    expect(described(10_000, 200, 1000)).toMatch(/^200 to 10,000 samples against/)
  })

  test('other features and references are charts of their own', () => {
    const shown = charts(
      [1, 2].flatMap((step) => [
        fid(step, 5),
        fid(step, 70, { network: 'hog' }),
        fid(step, 6, { reference: 'b/other.zip' }),
        fid(step, 6, { reference: 'data/cifar/images' }),
      ]),
    )
    expect(shown.map(({ title }) => title)).toEqual([
      'FID, inception against ref.npz',
      'Fréchet distance, hog against ref.npz',
      'FID, inception against other.zip',
      'FID, inception against cifar/images',
    ])
  })

  test('references of one name are told apart by their paths', () => {
    const shown = charts(
      [1, 2].flatMap((step) => [
        fid(step, 5),
        fid(step, 6, { reference: 'b/ref.npz' }),
        fid(step, 7, { reference: './a/ref.npz', network: 'hog' }),
      ]),
    )
    expect(shown.map(({ title }) => title)).toEqual([
      'FID, inception against a/ref.npz',
      'FID, inception against b/ref.npz',
      'Fréchet distance, hog against a/ref.npz',
    ])
  })

  describe('samples that were made in several ways are lines of their own, named by what differs', () => {
    const sampled = (settings: object, more: object = {}) => ({
      sampling: { mode: 'sde', steps: 250, path: 'linear', guidanceScale: 1.8, seed: 0, classes: null, ...settings },
      ...more,
    })
    const named = (...runs: Evaluation[][]) =>
      charts(...runs)[0]!.lines.map(([name, , points]: [string, number, object]) => [name, points])

    test.each<[string, ways: object[], names: string[]]>([
      [
        'guidance',
        [sampled({ guidanceScale: 10 }), sampled({ guidanceScale: 1.5 }), sampled({ guidanceScale: 1 })],
        ['no guidance', 'guidance 1.5', 'guidance 10'],
      ],
      [
        'the times of guidance',
        [sampled({ guidanceLow: 0, guidanceHigh: 0.7 }), sampled({ guidanceLow: 0.1, guidanceHigh: 1 })],
        ['guided from t = 0, guided to t = 0.7', 'guided from t = 0.1, guided to t = 1'],
      ],
      [
        'the sampler: what an SDE does not have is no difference of its own',
        [sampled({}), sampled({ mode: 'ode', solver: 'heun' }), sampled({ mode: 'ode', solver: 'euler' })],
        ['ODE, Euler', 'ODE, Heun', 'SDE'],
      ],
      ['steps', [sampled({ steps: 1000 }), sampled({ steps: 50 })], ['50 sampling steps', '1,000 sampling steps']],
      [
        'respacings',
        [sampled({ steps: 'ddim50' }), sampled({ steps: 250 })],
        ['250 sampling steps', 'respacing ddim50'],
      ],
      ['weights', [sampled({ weights: 'model' }), sampled({ weights: 'ema' })], ['EMA weights', 'weights without EMA']],
      ['precision', [sampled({ precision: 'fp32' }), sampled({ precision: 'bf16' })], ['bf16', 'fp32']],
      ['seeds', [sampled({ seed: 10 }), sampled({ seed: 9 })], ['seed 9', 'seed 10']],
      [
        'classes',
        [sampled({}), sampled({ classes: [1, 2] }), sampled({ classes: Array.from({ length: 1000 }, (_, i) => i) })],
        ['classes drawn at random', 'classes 0 to 999', 'classes 1, 2'],
      ],
      [
        'captions',
        [
          sampled({ prompts: 40_504, captionEncoder: 'clip-vit-L' }),
          sampled({ prompts: 1, captionEncoder: 'clip-vit-B' }),
        ],
        ['1 caption, encoded by clip-vit-B', '40,504 captions, encoded by clip-vit-L'],
      ],
      [
        'autoencoders',
        [
          sampled({ autoencoder: null }),
          sampled({ autoencoder: 'a/vae-ema.safetensors', autoencoderTile: null }),
          sampled({ autoencoder: 'a/vae-ema.safetensors', autoencoderTile: 64 }),
        ],
        [
          'latents not decoded',
          'decoded by vae-ema.safetensors, whole images',
          'decoded by vae-ema.safetensors, tiles of 64',
        ],
      ],
      [
        'the number of samples, on which the distance depends',
        [
          sampled({}, { sampleImages: 50_000 }),
          sampled({}, { sampleImages: 5000 }),
          sampled({}, { sampleImages: null }),
        ],
        ['unknown number of samples', '5,000 samples', '50,000 samples'],
      ],
      ['a setting of another version', [sampled({ warp: 2 }), sampled({ warp: 1 })], ['warp 1', 'warp 2']],
      ['a setting of which some say nothing', [sampled({ precision: 'bf16' }), sampled({})], ['bf16', '']],
      [
        'files, where that is all that is known',
        [{ samples: 'a/cfg-4.npz' }, { samples: 'a/cfg-1.5.npz' }],
        ['cfg-1.5.npz', 'cfg-4.npz'],
      ],
      [
        'folders of one name',
        [{ samples: 'cfg-4/samples' }, { samples: 'cfg-1.5/samples' }],
        ['cfg-1.5/samples', 'cfg-4/samples'],
      ],
      ['whether anything is known', [{ samples: 'old.npz' }, sampled({})], ['', 'sampling not recorded']],
    ])('%s', (_, ways, names) => {
      const shown = named(ways.flatMap((way, i) => [fid(100, 10 + i, way), fid(200, 20 + i, way)]))
      expect(shown.map(([name]: [string]) => name)).toEqual(
        names.map((name) => (name === '' ? 'aligned' : `aligned, ${name}`)),
      )
      expect(shown.map(([, points]: [string, object]) => Object.keys(points))).toEqual(names.map(() => ['100', '200']))
    })

    test('of several runs, each with the ways that it has', () => {
      const [one, two] = [sampled({ guidanceScale: 1.5 }), sampled({ guidanceScale: 4 })]
      expect(named([fid(100, 9, one), fid(100, 7, two), fid(200, 5, two)], [fid(100, 20, one)])).toEqual([
        ['aligned, guidance 1.5', { 100: 9 }],
        ['aligned, guidance 4', { 100: 7, 200: 5 }],
        ['vanilla, guidance 1.5', { 100: 20 }],
      ])
    })

    test('one way has no name, whatever files its samples are, and the last of two measurements counts', () => {
      expect(
        named([fid(100, 9, sampled({}, { samples: 'a.npz' })), fid(200, 7, sampled({}, { samples: 'b.npz' }))]),
      ).toEqual([['aligned', { 100: 9, 200: 7 }]])
      expect(named([fid(100, 9, { samples: 'a.npz' }), fid(200, 7, { samples: 'b.npz' })])).toEqual([
        ['aligned', { 100: 9, 200: 7 }],
      ])
      expect(named([fid(100, 9, sampled({})), fid(100, 8, sampled({})), fid(200, 7, sampled({}))])).toEqual([
        ['aligned', { 100: 8, 200: 7 }],
      ])
    })

    test('the legend names them, and they are drawn differently', () => {
      const ways = [1.5, 4, 7, 9, 12].map((guidanceScale) => sampled({ guidanceScale }))
      const { markup } = renderEvaluations(
        [{ evaluations: ways.flatMap((way) => [fid(1, 5, way), fid(2, 4, way)]) }],
        ['aligned'],
      )
      const legend = markup.match(/<ul class="legend">(.*?)<\/ul>/s)![1]!
      expect([...legend.matchAll(/<\/i>([^<]*)/g)].map(([, name]) => name)).toEqual(
        [1.5, 4, 7, 9, 12].map((scale) => `aligned, guidance ${scale}`),
      )
      const keys = [...legend.matchAll(/class="(key [^"]*)"/g)].map(([, style]) => style)
      const paths = [...markup.matchAll(/class="trend ([^"]*)"/g)].map(([, style]) => style)
      expect(new Set(keys).size).toBe(5)
      expect(keys).toEqual(paths.map((style) => `key ${style}`))
    })

    test('a step that was measured in two ways is two rows of the table', () => {
      const evaluations = [fid(300, 5, sampled({ guidanceScale: 4 })), fid(300, 7, sampled({ guidanceScale: 1 }))]
      const { markup } = renderEvaluations([{ evaluations }], ['aligned'])
      expect(tableOf(markup)).toEqual([
        ['Run', 'Step', 'Sampling', 'FID'],
        ['aligned', '300', 'no guidance', '7.00'],
        ['aligned', '300', 'guidance 4', '5.00'],
      ])
    })
  })

  test.each<[string, Evaluation[][], expected: string | undefined]>([
    [
      'reached sooner',
      [
        [fid(50, 40), fid(100, 19), fid(400, 8)],
        [fid(50, 50), fid(400, 20)],
      ],
      'aligned needs 100 steps for what vanilla reaches in 400: 4.0 times fewer.',
    ],
    [
      // The distance of fewer samples is larger.
      'measured with another number of samples',
      [
        [fid(50, 40), fid(100, 19), fid(400, 8)],
        [fid(50, 50, { sampleImages: 9 }), fid(400, 20, { sampleImages: 9 })],
      ],
      undefined,
    ],
    [
      'measured in two ways, of which one is better with the one and one with the other',
      [
        [1.5, 4].flatMap((guidanceScale) => [
          fid(100, guidanceScale === 4 ? 19 : 30, { sampling: { guidanceScale } }),
          fid(400, guidanceScale === 4 ? 8 : 29, { sampling: { guidanceScale } }),
        ]),
        [1.5, 4].flatMap((guidanceScale) => [
          fid(200, 25, { sampling: { guidanceScale } }),
          fid(400, 20, { sampling: { guidanceScale } }),
        ]),
      ],
      'vanilla, guidance 1.5 needs 200 steps for what aligned, guidance 1.5 reaches in 400: 2.0 times fewer. ' +
        'aligned, guidance 4 needs 100 steps for what vanilla, guidance 4 reaches in 400: 4.0 times fewer.',
    ],
    [
      'better with the other',
      [
        [fid(100, 30), fid(400, 20)],
        [fid(200, 15), fid(400, 10)],
      ],
      'vanilla needs 200 steps for what aligned reaches in 400: 2.0 times fewer.',
    ],
    ['only at the end', [[fid(100, 30), fid(400, 8)], [fid(400, 20)]], undefined],
    ['one run', [[fid(100, 9), fid(200, 8)]], undefined],
  ])('how many fewer steps: %s', (_, runs, expected) => {
    const { description } = charts(...runs)[0]!
    if (expected === undefined) expect(description).not.toContain('fewer')
    else expect(description).toContain(expected)
  })
})

test('sample quality of a single step is a table', () => {
  const { markup } = renderEvaluations(
    [{ evaluations: [fid(300, 5, { recall: 0.25 })] }, { evaluations: [fid(undefined, 7)] }, { evaluations: [] }],
    ['aligned', 'vanilla', 'new'],
  )
  expect(markup).not.toContain('<svg')
  expect(tableOf(markup)).toEqual([
    ['Run', 'Step', 'FID', 'Recall'],
    ['aligned', '300', '5.00', '0.250'],
    ['vanilla', '–', '7.00', '–'],
  ])
  // Statistics of a reference alone say nothing of samples.
  const alone = EvaluationSchema.parse({ ...fid(300, 5), fid: null })
  expect(renderEvaluations([{ evaluations: [alone] }], ['r']).markup).toBe('')
})

test.each([
  [1, ['full']],
  [2, ['half', 'half']],
  [3, ['third', 'third', 'third']],
  [4, ['half', 'half', 'half', 'half']],
  [5, ['third', 'third', 'third', 'half', 'half']],
  [7, ['third', 'third', 'third', 'half', 'half', 'half', 'half']],
])('%i charts fill their rows', (count, widths) => {
  expect(chartWidths(count)).toEqual(widths)
})

describe('features', () => {
  test('by layer, at each noise level, by noise level and by step', () => {
    const shown = charts(
      [probe(100, [0, 0.5], { 1: 0.2, 2: 0.4 }), probe(200, [0, 0.5], { 1: 0.3, 2: 0.6 })],
      [probe(200, [0, 0.5], { 1: 0.1, 2: 0.2 })],
    )
    expect(shown.map(({ title, lines }) => [title, lines])).toEqual([
      [
        'Linear probing, t = 0',
        [
          ['aligned, step 100', 3, { 1: 0.2, 2: 0.4 }],
          ['aligned, step 200', 0, { 1: 0.3, 2: 0.6 }],
          ['vanilla', 0, { 1: 0.1, 2: 0.2 }],
        ],
      ],
      [
        'Linear probing, t = 0.5',
        [
          ['aligned, step 100', 3, { 1: 0.1, 2: 0.2 }],
          ['aligned, step 200', 0, { 1: 0.15, 2: 0.3 }],
          ['vanilla', 0, { 1: 0.05, 2: 0.1 }],
        ],
      ],
      [
        'Linear probing by noise level',
        [
          ['aligned, step 100', 3, { 0: 0.4, 0.5: 0.2 }],
          ['aligned, step 200', 0, { 0: 0.6, 0.5: 0.3 }],
          ['vanilla', 0, { 0: 0.2, 0.5: 0.1 }],
        ],
      ],
      [
        'Linear probing by step',
        [
          ['aligned', 0, { 100: 0.4, 200: 0.6 }],
          ['vanilla', 0, { 200: 0.2 }],
        ],
      ],
    ])
  })

  test('one legend names the lines of all charts of a measure but of that by step, whose lines are others', () => {
    const { markup } = renderEvaluations(
      [
        { evaluations: [probe(100, [0, 0.5], { 1: 0.2, 2: 0.4 }), probe(200, [0, 0.5], { 1: 0.3, 2: 0.6 })] },
        { evaluations: [probe(200, [0, 0.5], { 1: 0.1, 2: 0.2 })] },
        { evaluations: [] },
      ],
      ['aligned', 'vanilla', 'new'],
    )
    const legends = [...markup.matchAll(/<ul class="legend">(.*?)<\/ul>/gs)].map(([, lines]) =>
      [...lines!.matchAll(/<\/i>([^<]*)/g)].map(([, name]) => name),
    )
    expect(legends).toEqual([
      ['aligned, step 100', 'aligned, step 200', 'vanilla'],
      ['aligned', 'vanilla'],
    ])
  })

  test.each([
    ['a measure', probe(100, [0], { 1: 0.2 }), ['Linear probing']],
    [
      'a measure, and one that is folded up,',
      cknna({}, { platonicCknna: 0.2 }),
      ['CKNNA to hog', 'CKNNA to hog (platonic-rep)'],
    ],
  ])('%s of one chart has one heading', (_, evaluation, headings) => {
    const { markup } = renderEvaluations([{ evaluations: [evaluation] }], ['r'])
    expect([...markup.matchAll(/<(h3|summary)>(.*?)<\/\1>/g)].map(([, , heading]) => heading)).toEqual(headings)
    expect(markup.match(/<figure /g)).toHaveLength(headings.length)
    expect(markup.match(/<figcaption><p>By layer, of clean images\./g)).toHaveLength(headings.length)
  })

  test('a measure of several charts has a heading for each besides its own', () => {
    const { markup } = renderEvaluations([{ evaluations: [probe(100, [0, 0.5], { 1: 0.2 })] }], ['r'])
    expect([...markup.matchAll(/<h3>(.*?)<\/h3>/g)].map(([, heading]) => heading)).toEqual([
      'Linear probing',
      'Linear probing, t = 0',
      'Linear probing, t = 0.5',
      'Linear probing by noise level',
    ])
  })

  test('values to judge probes by: chance where the classes are known, and encoders that were probed', () => {
    const known = (evaluation: Evaluation, more: object) => EvaluationSchema.parse({ ...evaluation, ...more })
    const own = known(probe(100, [0, 0.5], { 1: 0.2, 2: 0.4 }), { classes: 10 })
    const encoder = EvaluationSchema.parse({
      kind: 'encoder-probe',
      encoder: 'dinov2-vit-b',
      testImages: 9,
      accuracy: 0.8,
    })
    const references = (...runs: Evaluation[][]) => charts(...runs).map(({ title, references }) => [title, references])
    const [chance, known80] = [
      { name: 'chance', value: 0.1 },
      { name: 'dinov2-vit-b', value: 0.8 },
    ]
    expect(references([own, encoder], [own, encoder, cknna({})])).toEqual([
      ['Linear probing, t = 0', [known80, chance]],
      ['Linear probing, t = 0.5', [known80, chance]],
      ['Linear probing by noise level', [known80, chance]],
      ['CKNNA to hog', []],
    ])
    expect(charts([own, encoder])[0]!.lines.map(([name]: [string]) => name)).toEqual(['aligned, step 100'])
    expect(charts([own, encoder])[0]!.values).toEqual([0, 0.8])
    // Guessing among ten and among a hundred are two things.
    expect(references([own, known(own, { classes: 100 })])[0]![1]).toEqual([])
    expect(references([probe(100, [0], { 1: 0.2 })])[0]![1]).toEqual([])
  })

  test('the two formulas of CKNNA and other encoders are charts of their own', () => {
    const both = cknna({}, { platonicCknna: 0.5, mutualKnn: 0.1 })
    const shown = charts([both, cknna({ encoder: 'dinov2-vit-g' })])
    expect(shown.map(({ title }) => title)).toEqual([
      'CKNNA to hog',
      'CKNNA to hog (platonic-rep)',
      'CKNNA to dinov2-vit-g',
    ])
    expect(shown[1]!.lines).toEqual([['aligned', 0, { 1: 0.5, 2: 0.5 }]])
  })
})
