import { availableParallelism, cpus } from 'node:os'
import * as z from 'zod'
import { Dataset } from '../../src/data/dataset.ts'
import { compareImages } from '../../src/evaluation/compare-images.ts'
import { type FeatureNetwork, loadFeatureNetwork } from '../../src/evaluation/feature-network.ts'
import { readStatistics } from '../../src/evaluation/stored-statistics.ts'
import { fileDigest } from '../../src/formats/file-digest.ts'
import { type Device, gpuOf } from '../../src/tensor/device.ts'
import { prepareDataSets, type Sources, type Terminal } from './data-sets.ts'
import { distanceOfPhotographs } from './floor.ts'
import { isThere, madeOnce, readJson, writeJson } from './json-file.ts'
import { type Measurement, type MeasuringTools, measure, measurementSchema } from './measurement.ts'
import { ARMS, type Arm, type Places, placesIn } from './places.ts'
import { type Result, resultSchema } from './result.ts'
import type { Size } from './sizes.ts'
import { Stopwatch } from './stopwatch.ts'
import { keepFeatures, openTeacher, probeTeacher, type TeacherChoice, teacherProbeSchema } from './teacher.ts'
import { checkpointOf, trainRun } from './training-run.ts'

export interface ExperimentOptions {
  /** How the result names the size. */
  readonly name: string
  readonly size: Size
  readonly sources: Sources
  /** Takes only the first images of each source. */
  readonly maxImages?: number
  /** In whose features the Fréchet distance is: nobody's teacher. */
  readonly judge: { readonly name: string; readonly file?: string }
  readonly teacher: TeacherChoice
  readonly seeds: readonly number[]
  /** The folder for everything that is made. What is in it already is not made again. */
  readonly out: string
  readonly device: Device
  readonly terminal: Terminal
}

/**
 * Trains a SiT twice for every seed, with and without alignment, everything else equal, measures both at the same steps, and writes
 * `result.json`. An interrupted experiment goes on where it was.
 *
 * @throws Error where `out` holds an experiment of other settings
 */
export async function runExperiment(options: ExperimentOptions): Promise<Result> {
  const { size, sources, maxImages, judge: network, seeds, out, device, terminal } = options
  const places = placesIn(out)
  await requireSameSettings(places, await settingsOf(options))
  const stopwatch = await Stopwatch.open(places.seconds)
  await stopwatch.time('prepare images', () => prepareDataSets(sources, places, { maxImages, terminal }))
  const teacher = await stopwatch.time('teacher: training', () =>
    openTeacher(options.teacher, size, places, { device, terminal }),
  )
  const weights = teacher.file === undefined ? undefined : await fileDigest(teacher.file)
  if (size.keepFeatures) {
    await stopwatch.time('teacher: features', () => keepFeatures(teacher, size, places, { device, terminal }))
  }
  const [train, heldOut, test] = (await Promise.all(
    [places.train, places.heldOut, places.test].map((path) => Dataset.open(path)),
  )) as [Dataset, Dataset, Dataset]
  const { accuracy } = await madeOnce(places.teacherProbe, teacherProbeSchema, () =>
    stopwatch.time('teacher: probe', () => probeTeacher(teacher, size, { train, test }, { device, terminal })),
  )
  using judge = await loadFeatureNetwork(network.name, network.file, { device })
  await stopwatch.time('statistics of the training images', () => keepStatistics(places, judge, terminal))
  const { gaussian: reference } = await readStatistics(places.statistics)
  const floor = await madeOnce(places.floor, z.number(), () =>
    distanceOfPhotographs(heldOut, { judge, reference, count: size.measures.samples }),
  )
  const { signal } = terminal
  const tools = { measures: size.measures, train, heldOut, test, judge, reference, device, stopwatch, signal }
  const runs: Result['runs'][number][] = []
  for (const seed of seeds) {
    for (const arm of ARMS) {
      const folder = places.run(seed, arm)
      await stopwatch.time(`train: seed ${seed}, ${arm}`, () =>
        trainRun({ size, seed, arm, teacher, device, terminal, data: places.train, out: folder }),
      )
      runs.push({ seed, arm, points: await measureRun(seed, arm, { places, size, tools, terminal }) })
    }
  }
  const result = resultSchema.parse({
    format: 'repa-native-acceleration-1',
    date: new Date().toISOString().slice(0, 10),
    size: options.name,
    settings: { ...size },
    machine: { device: modelOf(device), processor: cpus()[0]?.model ?? 'unknown', threads: availableParallelism() },
    teacher: { name: teacher.name, ...(weights !== undefined && { weights }), accuracy },
    floor,
    images: { train: train.length, heldOut: heldOut.length, test: test.length },
    seconds: stopwatch.all,
    runs,
  })
  await writeJson(places.result, result)
  return result
}

const settingsSchema = z.record(z.string(), z.json())

/** `cpu`, or what a GPU calls itself: its number says nothing of its precision and its rounding. */
const modelOf = (device: Device) => gpuOf(device)?.name ?? device

/** What the numbers of a folder depend on, files by their SHA-256. */
async function settingsOf(options: ExperimentOptions): Promise<z.output<typeof settingsSchema>> {
  const { size, maxImages, sources, judge, teacher, device } = options
  const settings = {
    size,
    maxImages,
    device: modelOf(device),
    teacher: typeof teacher === 'string' ? teacher : await fileDigest(teacher.file),
    judge: { name: judge.name, weights: judge.file && (await fileDigest(judge.file)) },
    sources: {
      train: await fileDigest(sources.train),
      heldOut: await fileDigest(sources.heldOut),
      test: await fileDigest(sources.test),
    },
  }
  return JSON.parse(JSON.stringify(settings))
}

/** Settings must not change between two calls on a folder. */
async function requireSameSettings(places: Places, given: z.output<typeof settingsSchema>): Promise<void> {
  const stored = await madeOnce(places.settings, settingsSchema, async () => given)
  const other = Object.keys({ ...stored, ...given }).filter(
    (key) => JSON.stringify(stored[key]) !== JSON.stringify(given[key]),
  )
  if (other.length === 0) return
  throw new Error(
    `${places.settings} is of an experiment with other settings (${other.join(', ')}), or does not say them; give another --out, or the same settings to go on.`,
  )
}

async function keepStatistics(places: Places, judge: FeatureNetwork, { progress, signal }: Terminal): Promise<void> {
  if (await isThere(places.statistics)) return
  let bar: ReturnType<Terminal['progress']> | undefined
  try {
    await compareImages({
      reference: `${places.train}/images`,
      network: judge,
      saveStatistics: places.statistics,
      signal,
      onProgress: (_, done, total) => {
        bar ??= progress({ label: 'statistics of the training images', unit: 'images', total })
        bar.update(done)
      },
    })
  } finally {
    bar?.end()
  }
}

/** Measures every checkpoint of a run that is not measured yet. */
async function measureRun(
  seed: number,
  arm: Arm,
  {
    places,
    size,
    tools,
    terminal,
  }: {
    readonly places: Places
    readonly size: Size
    readonly tools: MeasuringTools
    readonly terminal: Terminal
  },
): Promise<[Measurement, ...Measurement[]]> {
  const { steps } = size.training
  const all = Array.from({ length: Math.floor(steps / size.measureEvery) }, (_, i) => (i + 1) * size.measureEvery)
  const points: Measurement[] = []
  using bar = terminal.progress({ label: `measure seed ${seed}, ${arm}`, unit: 'checkpoints', total: all.length })
  for (const step of all) {
    const files = places.measurement(seed, arm, step)
    const there = await readJson(files.json, measurementSchema)
    points.push(there ?? (await measure(checkpointOf(places.run(seed, arm), step), step, files, tools)))
    const { loss, distance, accuracy } = points.at(-1)!
    bar.update(points.length, { loss, distance, accuracy })
  }
  return points as [Measurement, ...Measurement[]]
}
