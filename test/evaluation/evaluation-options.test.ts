/** What a program without types may ask an evaluation of layers for: refused in a sentence, for a curve of something else would come of it. */
import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { evaluateCknna } from '../../src/evaluation/cknna.ts'
import { evaluateEncoderProbe } from '../../src/evaluation/encoder-probe.ts'
import { evaluateProbe } from '../../src/evaluation/probe.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { modelOf } from '../training/tiny-trainer.ts'

type Wrong = readonly [wrong: Record<string, unknown>, sentence: string]

const OF_EVERY_KIND: readonly Wrong[] = [
  [{ data: 'data/cifar' }, 'data is "data/cifar": expected a Dataset, as Dataset.open gives it.'],
  [{ images: 2.5 }, 'images is 2.5: expected int.'],
  [{ images: 0 }, 'images is 0: expected number to be >0.'],
  [{ batch: 0 }, 'batch is 0: expected number to be >0.'],
  [{ batch: undefined }, 'batch is missing: expected number.'],
  [{ seed: undefined }, 'seed is missing: expected number.'],
  [{ seed: 2 ** 53 }, 'seed is 9007199254740992: expected int to be <=9007199254740991.'],
  [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
  [{ onProgress: 1 }, 'onProgress is 1: expected a function.'],
  [{ image: 4 }, 'there is no setting "image"; did you mean "images"?'],
]

const OF_A_MODEL: readonly Wrong[] = [
  [{ model: {} }, 'model is {}: expected a SiT or a DiT.'],
  [{ layers: [1.5] }, 'layers.0 is 1.5: expected int.'],
  [{ layers: [] }, 'layers is []: expected array to have >=1 items.'],
  [{ noise: [2] }, 'noise.0 is 2: expected number to be <=1.'],
  [{ noise: [-0.1] }, 'noise.0 is -0.1: expected number to be >=0.'],
  [{ noise: 0.5 }, 'noise is 0.5: expected array.'],
  [{ noise: [] }, 'noise is []: expected array to have >=1 items.'],
  [{ path: 'lin' }, 'path is "lin": expected one of "linear"|"cosine"; did you mean "linear"?'],
  [{ path: undefined }, 'path is missing: expected one of "linear"|"cosine".'],
  [{ autoencoder: 'taesd' }, 'autoencoder is "taesd": expected an autoencoder, as loadAutoencoder gives it.'],
  [{ captionEncoder: 'clip' }, 'captionEncoder is "clip": expected a caption encoder, as loadCaptionEncoder gives it.'],
  [{ classTokenEncoder: 'hog' }, 'classTokenEncoder is "hog": expected an encoder, as loadEncoder gives it.'],
]

const OF_A_PROBE: readonly Wrong[] = [
  [{ schedule: { epoch: 1 } }, 'there is no setting "epoch" in schedule; did you mean "epochs"?'],
  [{ schedule: { epochs: 0 } }, 'schedule.epochs is 0: expected number to be >0.'],
  [{ schedule: { batch: 1.5 } }, 'schedule.batch is 1.5: expected int.'],
  [{ schedule: { learningRate: Number.NaN } }, 'schedule.learningRate is NaN: expected number.'],
  [{ test: 'data/cifar' }, 'test is "data/cifar": expected a Dataset, as Dataset.open gives it.'],
]

const COMMON = { seed: 4, batch: 3 }
const OF_MODEL = { ...COMMON, path: 'linear', layers: [1] }
const SCHEDULE = { epochs: 1, batch: 2 }

async function refused(evaluation: Promise<unknown>, sentence: string): Promise<void> {
  await expect(evaluation).rejects.toThrow(new ConfigurationError(sentence))
}

describe('evaluateProbe', () => {
  test.each([...OF_EVERY_KIND, ...OF_A_MODEL, ...OF_A_PROBE])('%j', async (wrong, sentence) => {
    using model = modelOf()
    const data = await Dataset.open(await tinyDataset(4))
    const options = { ...OF_MODEL, model, data, schedule: SCHEDULE, ...wrong }
    await refused(evaluateProbe(options as never), `the probe's options: ${sentence}`)
  })

  test('what is left out or undefined has its default', async () => {
    using model = modelOf()
    const data = await Dataset.open(await tinyDataset(4))
    const options = { ...COMMON, path: 'linear', model, data, schedule: SCHEDULE } as const
    const names = ['test', 'images', 'layers', 'noise', 'autoencoder', 'captionEncoder', 'signal', 'onProgress']
    const nothing = Object.fromEntries(names.map((name) => [name, undefined]))
    const schedule = { ...SCHEDULE, learningRate: undefined } as never
    expect(await evaluateProbe({ ...options, ...nothing, schedule })).toEqual(await evaluateProbe(options))
  })
})

describe('evaluateEncoderProbe', () => {
  const encoder: Wrong = [{ encoder: 'hog' }, 'encoder is "hog": expected an encoder, as loadEncoder gives it.']
  test.each([...OF_EVERY_KIND, ...OF_A_PROBE, encoder])('%j', async (wrong, sentence) => {
    const data = await Dataset.open(await tinyDataset(4))
    const options = { ...COMMON, encoder: constantEncoder, data, device: 'cpu', schedule: SCHEDULE, ...wrong }
    await refused(evaluateEncoderProbe(options as never), `the probe's options: ${sentence}`)
  })
})

describe('evaluateCknna', () => {
  const neighbours: Wrong = [{ neighbours: 0 }, 'neighbours is 0: expected number to be >0.']
  test.each([...OF_EVERY_KIND, ...OF_A_MODEL, neighbours])('%j', async (wrong, sentence) => {
    using model = modelOf()
    const data = await Dataset.open(await tinyDataset(4))
    const options = { ...OF_MODEL, model, data, encoder: constantEncoder, neighbours: 1, ...wrong }
    await refused(evaluateCknna(options as never), `the comparison's options: ${sentence}`)
  })
})
