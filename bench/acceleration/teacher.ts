import { join } from 'node:path'
import * as z from 'zod'
import type { EncoderName } from '../../src/alignment/encoder-names.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { evaluateEncoderProbe } from '../../src/evaluation/encoder-probe.ts'
import { ENCODER_FILE, pretrainEncoder } from '../../src/pretraining/run.ts'
import type { Device } from '../../src/tensor/device.ts'
import { openFeatureEncoder } from '../../src/training/feature-encoder.ts'
import { RUN_LAYOUT } from '../../src/training/run-layout.ts'
import type { Terminal } from './data-sets.ts'
import { isThere } from './json-file.ts'
import type { Places } from './places.ts'
import type { Size } from './sizes.ts'

/** What the aligned runs are aligned with. */
export interface Teacher {
  readonly name: EncoderName
  /** Undefined for the built-in one. */
  readonly file: string | undefined
}

/** The teacher that is wanted: the built-in encoder, a file that `repa pretrain-encoder` wrote, or one that is trained here. */
export type TeacherChoice = 'hog' | 'trained' | { readonly file: string }

interface Surroundings {
  readonly device: Device
  readonly terminal: Terminal
}

/**
 * The teacher that was chosen; one that is to be trained is trained now, on the training images without their classes, from where an
 * earlier call left it.
 */
export async function openTeacher(
  choice: TeacherChoice,
  size: Size,
  places: Places,
  surroundings: Surroundings,
): Promise<Teacher> {
  if (choice === 'hog') return { name: 'hog', file: undefined }
  if (choice === 'trained') return { name: 'vit', file: await trainedTeacher(size, places, surroundings) }
  return { name: 'vit', file: choice.file }
}

async function trainedTeacher(size: Size, places: Places, { device, terminal }: Surroundings): Promise<string> {
  const { signal, out } = terminal
  const file = join(places.teacher, ENCODER_FILE)
  if (await isThere(file)) return file
  const configuration = { ...size.teacher, patch: size.model.patch }
  let bar: ReturnType<Terminal['progress']> | undefined
  try {
    await pretrainEncoder({
      data: places.train,
      out: places.teacher,
      configuration,
      device,
      signal,
      resume: await isThere(join(places.teacher, RUN_LAYOUT.configuration)),
      onStart: ({ step, configuration: { method, steps } }) => {
        bar = terminal.progress({ label: `teacher (${method})`, unit: 'steps', total: steps, initial: step })
      },
      onStep: ({ index, loss, imagesPerSecond }) => bar?.update(index, { loss, 'images/s': imagesPerSecond }),
      onNotice: (sentence) => out.line(sentence),
    })
  } finally {
    bar?.end()
  }
  signal.throwIfAborted()
  return file
}

/** Keeps the teacher's features of the training images beside them. */
export async function keepFeatures(
  { name, file }: Teacher,
  size: Size,
  places: Places,
  { device, terminal }: Surroundings,
): Promise<void> {
  const { signal, out } = terminal
  using encoder = await openFeatureEncoder(name, file, { device, onNotice: (sentence) => out.line(sentence) })
  const data = await Dataset.open(places.train)
  let bar: ReturnType<Terminal['progress']> | undefined
  try {
    await prepareDataset({
      source: places.train,
      out: places.train,
      size: data.imageSize,
      signal,
      features: [encoder],
      featurePatch: size.model.patch,
      onNotice: (sentence) => out.line(sentence),
      onProgress: ({ done, total }) => {
        bar ??= terminal.progress({ label: `features of ${name}`, unit: 'images', total })
        bar.update(done)
      },
    })
  } finally {
    bar?.end()
  }
  signal.throwIfAborted()
}

export const teacherProbeSchema = z.strictObject({ accuracy: z.number().min(0).max(1) })

/**
 * How much of the class the teacher's features know: a linear probe on their mean over the tokens, trained and tested on the images
 * of the runs' probes and by their schedule. The images are shown without noise.
 */
export async function probeTeacher(
  { name, file }: Teacher,
  size: Size,
  sets: { readonly train: Dataset; readonly test: Dataset },
  { device, terminal }: Surroundings,
): Promise<z.output<typeof teacherProbeSchema>> {
  const { probe, batch } = size.measures
  using encoder = await loadEncoder(name, file, { device, onNotice: (sentence) => terminal.out.line(sentence) })
  const { accuracy } = await evaluateEncoderProbe({
    encoder,
    data: sets.train,
    test: sets.test,
    images: probe.images,
    seed: 0,
    batch,
    device,
    schedule: { epochs: probe.epochs, batch: probe.batch, learningRate: probe.learningRate },
    signal: terminal.signal,
  })
  return { accuracy }
}
