import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ExperimentOptions, runExperiment } from '../../bench/acceleration/experiment.ts'
import { ARMS, placesIn } from '../../bench/acceleration/places.ts'
import { publish } from '../../bench/acceleration/publication.ts'
import { rehearsal, SIZES, type Size } from '../../bench/acceleration/sizes.ts'
import { Output } from '../../src/cli/output.ts'
import { Progress } from '../../src/cli/progress.ts'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { RecordingStream } from '../cli/recording-stream.ts'
import { writeShapesZip } from '../end-to-end/shapes-zip.ts'

/** Small enough for seconds, large enough that every part has something to do. */
const SIZE: Size = {
  ...SIZES.small,
  model: { kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 4 },
  training: { steps: 4, batch: 8, learningRate: 1e-3, emaDecay: 0.5 },
  teacher: { method: 'mae', steps: 2, batch: 8, hidden: 24, depth: 1, heads: 2 },
  alignment: { alignDepth: 1, alignWeight: 0.5, projectorWidth: 32 },
  measureEvery: 2,
  measures: {
    heldOut: 8,
    samples: 12,
    samplerSteps: 2,
    batch: 6,
    probe: { images: 24, layer: 1, noise: 0.2, epochs: 2, batch: 16, learningRate: 1e-3 },
  },
}

const root = mkdtempSync(join(tmpdir(), 'repa-acceleration-'))
const images = join(root, 'shapes.zip')

beforeAll(() => writeShapesZip(images, { perClass: 16, size: 32 }))
afterAll(() => rmSync(root, { recursive: true }))

/** Labels of the progress that a call shows: what it made. */
interface Call {
  readonly labels: string[]
  readonly options: ExperimentOptions
}

function call(name: string, changes: Partial<ExperimentOptions> = {}, signal = new AbortController().signal): Call {
  const stream = new RecordingStream()
  const out = new Output({ stdout: stream, stderr: stream, env: {}, json: false, quiet: true })
  const labels: string[] = []
  return {
    labels,
    options: {
      name: 'small',
      size: SIZE,
      sources: { train: images, heldOut: images, test: images },
      judge: { name: 'hog' },
      teacher: 'hog',
      seeds: [0, 1],
      device: 'cpu',
      out: join(root, name),
      terminal: {
        out,
        signal,
        progress: (options) => {
          labels.push(options.label)
          return new Progress(out, options)
        },
      },
      ...changes,
    },
  }
}

const denoising = async (run: string): Promise<number[]> =>
  (await readFile(join(run, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { denoising: number }).denoising)

describe('the experiment', () => {
  test('measures both runs of every seed at the same steps, and makes nothing twice', async () => {
    const first = call('whole')
    const result = await runExperiment(first.options)
    expect(result.runs.map(({ seed, arm, points }) => [seed, arm, points.map(({ step }) => step)])).toEqual(
      [0, 1].flatMap((seed) => ARMS.map((arm) => [seed, arm, [2, 4]])),
    )
    const values = result.runs.flatMap(({ points }) => points.flatMap(({ loss, distance }) => [loss, distance]))
    expect(values.every((value) => Number.isFinite(value) && value > 0)).toBe(true)
    // Trained on other data order, noise and weights.
    expect(result.runs[0].points).not.toEqual(result.runs[2]!.points)
    const again = call('whole')
    expect((await runExperiment(again.options)).runs).toEqual(result.runs)
    expect(again.labels.filter((label) => !label.startsWith('measure'))).toEqual([])
  })

  test('an interrupted one goes on to the numbers of an unbroken one', async () => {
    const unbroken = await runExperiment(call('unbroken', { seeds: [0] }).options)
    const controller = new AbortController()
    const { options } = call('broken', { seeds: [0] }, controller.signal)
    const { progress } = options.terminal
    const stopping = {
      ...options.terminal,
      progress: (about: Parameters<typeof progress>[0]) => {
        if (about.label === 'measure seed 0, aligned') controller.abort(new Error('stopped'))
        return progress(about)
      },
    }
    await expect(runExperiment({ ...options, terminal: stopping })).rejects.toThrow('stopped')
    const places = placesIn(options.out)
    await expect(stat(places.result)).rejects.toThrow('ENOENT')
    const { runs } = await runExperiment(call('broken', { seeds: [0] }).options)
    expect(runs).toEqual(unbroken.runs)
  })

  test('a teacher that is not there is named', async () => {
    const { options } = call('nobody', { teacher: { file: join(root, 'none.safetensors') } })
    await expect(runExperiment(options)).rejects.toThrow('none.safetensors')
  })

  test('a teacher is trained on the images, and can then be given as a file', async () => {
    const { options } = call('taught', { seeds: [0], teacher: 'trained' })
    const taught = await runExperiment(options)
    expect(taught.teacher).toMatchObject({ name: 'vit', weights: expect.stringMatching(/^[0-9a-f]{64}$/) })
    const file = join(placesIn(options.out).teacher, 'encoder.safetensors')
    const given = await runExperiment(call('given', { seeds: [0], teacher: { file } }).options)
    expect(given.teacher).toEqual(taught.teacher)
    expect(given.runs).toEqual(taught.runs)
  })
})

describe('a folder with an experiment', () => {
  const again = (changes: Partial<ExperimentOptions> = {}) =>
    runExperiment(call('there', { seeds: [0], ...changes }).options)
  const places = placesIn(join(root, 'there'))
  const otherImages = join(root, 'others.zip')

  beforeAll(async () => {
    await writeShapesZip(otherImages, { perClass: 16, size: 31 })
    await again()
  })

  test.each<readonly [string, Partial<ExperimentOptions>]>([
    ['size', { size: { ...SIZE, measureEvery: 1 } }],
    ['maxImages', { maxImages: 4 }],
    ['teacher', { teacher: 'trained' }],
    ['device', { device: 'cuda:0' }],
    ['judge', { judge: { name: 'hog', file: otherImages } }],
    ['sources', { sources: { train: images, heldOut: images, test: otherImages } }],
  ])('refuses another one: %s', async (name, changes) => {
    await expect(again(changes)).rejects.toThrow(`settings.json is of an experiment with other settings (${name})`)
  })

  test('refuses to go on where it does not say whose numbers it holds', async () => {
    const text = await readFile(places.settings, 'utf8')
    const { judge: _, sources: __, ...before } = JSON.parse(text)
    await writeFile(places.settings, JSON.stringify(before))
    await expect(again()).rejects.toThrow('(judge, sources), or does not say them; give another --out')
    await writeFile(places.settings, text)
  })

  test('keeps a file of statistics that cannot be read, and names it', async () => {
    const whole = await readFile(places.statistics)
    await writeFile(places.statistics, whole.subarray(0, 20))
    await expect(again()).rejects.toThrow('statistics.safetensors')
    expect(await readFile(places.statistics)).toHaveLength(20)
    await writeFile(places.statistics, whole)
  })
})

describe('two runs of a seed', () => {
  test('differ in nothing but the alignment', async () => {
    // With a weight of 0 nothing may be left of it: not in the first weights, the data, the noise, the times or the dropped labels.
    const size = { ...SIZE, alignment: { ...SIZE.alignment, alignWeight: 0 } }
    const { options } = call('weightless', { seeds: [3], size })
    await runExperiment(options)
    const places = placesIn(options.out)
    const [vanilla, aligned] = await Promise.all(ARMS.map((arm) => denoising(places.run(3, arm))))
    expect(vanilla).toHaveLength(4)
    expect(aligned).toEqual(vanilla)
  })

  test('have the same first loss, and others once the alignment has had its say', async () => {
    const { options } = call('weighted', { seeds: [3] })
    await runExperiment(options)
    const places = placesIn(options.out)
    const [vanilla, aligned] = (await Promise.all(ARMS.map((arm) => denoising(places.run(3, arm))))) as [
      number[],
      number[],
    ]
    expect(aligned[0]).toBe(vanilla[0])
    expect(aligned.at(-1)).not.toBe(vanilla.at(-1))
  })
})

describe('publication', () => {
  test('writes tables, figures and the result where the README has their place', async () => {
    const { options } = call('published')
    const result = await runExperiment(options)
    const folder = join(root, 'publication')
    await mkdir(folder)
    const places = placesIn(options.out)
    await publish(result, places, folder)
    const readme = await readFile(join(folder, 'README.md'), 'utf8')
    expect(readme).toContain('| seed 1 |')
    expect(readme).toContain('| mean ± deviation of 2 |')
    expect(readme).toContain('](small-curves.svg)')
    const svg = await readFile(join(folder, 'small-curves.svg'), 'utf8')
    expect(svg).not.toMatch(/NaN|Infinity|undefined/)
    const picture = await decodeImage(await readFile(join(folder, 'small-samples.png')), 'small-samples.png')
    // Two measurements of 5 × 2 images of 32 pixels, bordered and doubled; the runs one above the other.
    expect([picture.width, picture.height]).toEqual([2 * (2 * 172 + 6), 2 * (2 * 70 + 6)])
    expect(JSON.parse(await readFile(join(folder, 'small.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(result)))
    // A second time replaces the section and leaves the rest alone.
    await publish(result, places, folder)
    expect(await readFile(join(folder, 'README.md'), 'utf8')).toBe(readme)
    await expect(publish({ ...result, size: 'other' }, places, folder)).rejects.toThrow('no place for the size other')
  })
})

test.each(Object.entries(SIZES))('the size %s measures at its last step, its rehearsal too', (_, size) => {
  for (const { training, measureEvery } of [size, rehearsal(size)]) expect(training.steps % measureEvery).toBe(0)
  expect(size.alignment.alignDepth).toBeLessThan(size.model.depth)
})
