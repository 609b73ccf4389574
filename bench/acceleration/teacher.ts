import { stat } from 'node:fs/promises'
import * as z from 'zod'
import type { EncoderName } from '../../src/alignment/encoder-names.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { KeyedPermutation } from '../../src/data/permutation.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { meanOfTokens } from '../../src/evaluation/feature-network.ts'
import { type ProbeSet, trainProbes } from '../../src/evaluation/linear-probe.ts'
import type { Device } from '../../src/tensor/device.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { openFeatureEncoder } from '../../src/training/feature-encoder.ts'
import type { Terminal } from './data-sets.ts'
import type { Places } from './places.ts'
import type { Size } from './sizes.ts'

/** What the aligned runs are aligned with. */
export interface Teacher {
  readonly name: EncoderName
  /** Undefined for the built-in one. */
  readonly file: string | undefined
}

export const teacherProbeSchema = z.strictObject({ accuracy: z.number().min(0).max(1) })

/** Rows and columns of the model's tokens. */
const gridOf = (size: Size, data: Dataset) =>
  [data.imageSize / size.model.patch, data.imageSize / size.model.patch] as const

/** Keeps the teacher's features of the training images beside them: each is then computed once and not once an epoch and run. */
export async function keepFeatures(
  { name, file }: Teacher,
  size: Size,
  places: Places,
  { device, terminal }: { readonly device: Device; readonly terminal: Terminal },
): Promise<void> {
  const { progress, signal, out } = terminal
  using encoder = await openFeatureEncoder(name, file, { device, notice: (sentence) => out.line(sentence) })
  const data = await Dataset.open(places.train)
  let bar: ReturnType<typeof progress> | undefined
  try {
    await prepareDataset({
      ...{ source: places.train, out: places.train, size: data.imageSize, signal },
      ...{ features: [encoder], featurePatch: size.model.patch },
      onNotice: (sentence) => out.line(sentence),
      onProgress: ({ done, total }) => {
        bar ??= progress({ label: `features of ${name}`, unit: 'images', total })
        bar.update(done)
      },
    })
  } finally {
    bar?.end()
  }
  signal.throwIfAborted()
}

/**
 * How much of the class the teacher's features know: a linear probe on their mean over the tokens, trained and tested on the images
 * of the runs' probes and by their schedule. The images are shown without noise.
 */
export async function probeTeacher(
  { name, file }: Teacher,
  size: Size,
  sets: { readonly train: Dataset; readonly test: Dataset },
  { device, terminal }: { readonly device: Device; readonly terminal: Terminal },
): Promise<z.output<typeof teacherProbeSchema>> {
  const { probe, batch } = size.measures
  using encoder = await loadEncoder(name, file, { device, notice: (sentence) => terminal.out.line(sentence) })
  const features = async (data: Dataset, images: readonly number[]): Promise<ProbeSet> => {
    const rows: Float32Array[] = []
    for (let first = 0; first < images.length; first += batch) {
      terminal.signal.throwIfAborted()
      const part = images.slice(first, first + batch)
      const pixels = new Uint8Array(part.length * data.imageLength)
      await Promise.all(
        part.map((image, i) =>
          data.readInto(image, { image: pixels.subarray(i * data.imageLength, (i + 1) * data.imageLength) }),
        ),
      )
      using planes = Tensor.from(pixels, [part.length, 3, data.imageSize, data.imageSize], device)
      using mean = meanOfTokens(() => encoder.features(planes, gridOf(size, data)))
      rows.push(await mean.data())
    }
    const layer = Float32Array.from(rows.flatMap((row) => [...row]))
    return { layers: [layer], labels: Int32Array.from(images, (i) => data.labels[i]!), width: encoder.width }
  }
  const { train, test } = sets
  const order = new KeyedPermutation(train.length, 0, 0)
  const drawn = Array.from({ length: Math.min(probe.images, train.length) }, (_, i) => order.at(i))
  const [found] = await trainProbes({
    train: await features(train, drawn),
    test: await features(test, [...test.labels.keys()]),
    classes: Math.max(train.classes, test.classes),
    schedule: { epochs: probe.epochs, batch: probe.batch, learningRate: probe.learningRate },
    ...{ seed: 0, device, signal: terminal.signal },
  })
  return { accuracy: found!.accuracy }
}

/** @throws Error where the file is not there */
export async function requireTeacher({ name, file }: Teacher): Promise<void> {
  if (file === undefined) return
  const there = await stat(file).catch(() => undefined)
  if (!there) throw new Error(`There is no teacher ${file} (${name}); train it first, or name another by --teacher.`)
}
