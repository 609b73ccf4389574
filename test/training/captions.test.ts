/** Training on captions that CLIP's text encoder encodes at every step: on the CPU, and on a GPU as a captured graph too. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { SiT } from '../../src/models/sit.ts'
import { type Device, memoryStats, synchronize } from '../../src/tensor/device.ts'
import type { CaptionEncoder } from '../../src/text/caption-encoder.ts'
import { loadCaptionEncoder } from '../../src/text/load-caption-encoder.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { captionedDataset, captionsOfTiny } from '../data/captioned-dataset.ts'
import { attentiveEncoder, classTokenEncoder } from '../data/constant-encoder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES } from '../tensor/devices.ts'
import { writeClipFolder } from '../text/clip-folder.ts'
import { align, BATCH, digestOf, SIZE, steps } from './tiny-trainer.ts'

const SAMPLES = 2 * BATCH
const TEXT = { tokens: 7, width: 64 } as const

const root = mkdtempSync(join(tmpdir(), 'repa-captions-'))
const [data, clip, otherClip] = ['data', 'clip', 'other'].map((name) => join(root, name)) as [string, string, string]
beforeAll(async () => {
  await captionedDataset(SAMPLES, data)
  await writeClipFolder(clip, { tokens: TEXT.tokens })
  await writeClipFolder(otherClip, { tokens: TEXT.tokens, seed: 7 })
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

type Options = Partial<Omit<TrainerOptions, 'model' | 'captionEncoder'>> & {
  readonly device?: Device
  readonly classDropout?: number
  /** Its folder. */
  readonly encoder?: string
}

interface Opened extends AsyncDisposable {
  readonly trainer: Trainer
  readonly encoder: CaptionEncoder
}

async function open({
  device = 'cpu',
  classDropout = 0.1,
  encoder: folder = clip,
  ...options
}: Options = {}): Promise<Opened> {
  const model = SiT.create(SIZE, {
    inputSize: [8, 8],
    classes: 0,
    text: TEXT,
    classDropout,
    projectorWidth: 16,
    device,
    seed: 1,
  })
  const encoder = await loadCaptionEncoder(folder, { device })
  const close = () => {
    encoder[Symbol.dispose]()
    model.dispose()
  }
  try {
    const trainer = new Trainer({
      model,
      data: await Dataset.open(data),
      captionEncoder: encoder,
      batch: BATCH,
      learningRate: 1e-3,
      align,
      ...options,
    })
    const dispose = async () => {
      await trainer[Symbol.asyncDispose]()
      close()
    }
    return { trainer, encoder, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    close()
    throw error
  }
}

interface Trained {
  readonly made: readonly TrainingStep[]
  readonly losses: readonly number[]
  /** Of weights, moments and EMA. */
  readonly digest: string
  /** What was encoded, in its order. */
  readonly captions: readonly string[]
}

async function trained({ until = 4, ...options }: Options & { readonly until?: number } = {}): Promise<Trained> {
  await using opened = await open(options)
  const { trainer, encoder } = opened
  const captions: string[] = []
  const tokenize = encoder.tokenize.bind(encoder)
  encoder.tokenize = (own) => {
    captions.push(...own)
    return tokenize(own)
  }
  const made = await steps(trainer, until)
  return { made, losses: made.map(({ loss }) => loss), digest: await digestOf(trainer), captions }
}

const bitsOf = ({ losses, digest }: Trained) => ({ losses, digest })

const SELF_ALIGNMENT = { weight: 1, depth: 1, teacherDepth: 2, timeOffset: 0.2 } as const
const DISPERSION = { weight: 0.5, temperature: 0.5, depth: 1 } as const

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`training on captions, on ${device}`, () => {
    const precision = device === 'cpu' ? 'fp32' : 'bf16'

    test('twice gives the same bits, finite ones, and another encoder others', async () => {
      const first = await trained({ device, precision })
      for (const { loss, denoising, alignment, gradNorm, finite } of first.made) {
        expect([loss, denoising, alignment, gradNorm].every(Number.isFinite)).toBe(true)
        expect(finite).toBe(true)
      }
      expect(bitsOf(await trained({ device, precision }))).toEqual(bitsOf(first))
      const other = await trained({ device, precision, encoder: otherClip })
      expect(other.captions).toEqual(first.captions)
      expect(other.losses[0]).not.toBe(first.losses[0])
    })

    test('leaves no memory behind', async () => {
      const bytes = async () => {
        await trained({ device, precision, until: 1 })
        await synchronize(device)
        return memoryStats(device).liveBytes
      }
      const before = await bytes()
      expect(await bytes()).toBe(before)
    })

    test.skipIf(device === 'cpu').each<[string, Options]>([
      ['alone', {}],
      ['in two passes', { accumulate: 2 }],
      ['computed again', { recompute: 'elementwise' }],
      ['with self-alignment and dispersion', { align: undefined, selfAlign: SELF_ALIGNMENT, disperse: DISPERSION }],
    ])('as a captured graph, %s, has the bits of the step without', async (_, options) => {
      const plain = await trained({ device, precision, ...options })
      const captured = await trained({ device, precision, ...options, cudaGraph: true })
      expect(bitsOf(captured)).toEqual(bitsOf(plain))
      expect(captured.captions).toEqual(plain.captions)
    })

    test.skipIf(device === 'cpu')('is the same as on the CPU in fp32, up to rounding', async () => {
      const here = await trained({ device, precision: 'fp32' })
      const there = await trained({ precision: 'fp32' })
      expect(here.captions).toEqual(there.captions)
      for (const [i, loss] of here.losses.entries()) expect(loss).toBeCloseTo(there.losses[i]!, 4)
    })
  })
}

describe('what is encoded', () => {
  const epoch = (options: Options) => trained({ ...options, until: 2 })

  test('of an epoch is a caption of every image, and the empty one of those without', async () => {
    const { captions } = await epoch({ classDropout: 0 })
    const all = captionsOfTiny(SAMPLES)
    const images = captions.filter((caption) => caption !== '').map((caption) => Number.parseInt(caption, 10))
    expect(images.sort()).toEqual(all.flatMap((own, i) => (own.length > 0 ? [i] : [])))
    expect(captions.filter((caption) => caption !== '' && !all.flat().includes(caption))).toEqual([])
    expect(captions).toHaveLength(SAMPLES)
  })

  test('with dropout 1 is the empty caption alone', async () => {
    const { captions } = await epoch({ classDropout: 1 })
    expect(captions).toEqual(new Array(SAMPLES).fill(''))
  })

  test('is not of the first captions alone', async () => {
    const { captions } = await trained({ classDropout: 0, until: 12 })
    // Six times one of as many captions as the image's number.
    const places = captions.filter((caption) => caption.startsWith('7:')).map((caption) => caption.split(' ')[0])
    expect(places).toHaveLength(6)
    expect(new Set(places).size).toBeGreaterThan(2)
  })

  test('in two passes is the same', async () => {
    const whole = await trained()
    expect((await trained({ accumulate: 2 })).captions).toEqual(whole.captions)
  })

  test('follows the seed', async () => {
    expect((await trained({ seed: 3 })).captions).not.toEqual((await trained()).captions)
  })
})

test('a resumed run goes on to the bits of the unbroken one', async () => {
  const whole = await trained()
  const folder = temporaryFolder()
  await using first = await open()
  await steps(first.trainer, 2)
  const checkpoint = await first.trainer.save(folder)
  await using second = await open()
  await second.trainer.restore(checkpoint)
  expect((await steps(second.trainer, 4)).map(({ loss }) => loss)).toEqual(whole.losses.slice(2))
  expect(await digestOf(second.trainer)).toBe(whole.digest)
})

test.each<[string, Options, readonly (keyof TrainingStep)[]]>([
  ['no alignment', { align: undefined }, []],
  ['REPA', {}, ['alignment']],
  ['NT-Xent and a convolution', { align: { ...align, loss: 'nt-xent', projector: 'conv' } }, ['alignment']],
  ['self-alignment', { align: undefined, selfAlign: SELF_ALIGNMENT }, ['selfAlignment']],
  ['dispersion', { align: undefined, disperse: DISPERSION }, ['dispersive']],
  ['contrasted flows', { align: undefined, contrast: { weight: 0.05 } }, ['contrastive']],
  ['the cosine of velocities', { align: undefined, velocityCosineWeight: 1 }, ['velocityCosine']],
])('goes with %s', async (_, options, losses) => {
  const { made } = await trained(options)
  const all = ['alignment', 'selfAlignment', 'dispersive', 'contrastive', 'velocityCosine'] as const
  for (const step of made) {
    expect(all.filter((loss) => step[loss] !== undefined)).toEqual(losses)
    for (const loss of ['loss', 'denoising', 'gradNorm', ...losses] as const)
      expect(step[loss]).toSatisfy(Number.isFinite)
  }
})

test.each<[string, Options, string]>([
  ['a route', { route: { share: 0.5, from: 2, to: 2 } }, 'Blocks of text and image see all tokens of both'],
  [
    'a class token',
    { align: { ...align, encoder: classTokenEncoder }, classToken: { weight: 0.03 } },
    'A class token cannot be denoised along (REG): the model is of text',
  ],
  [
    'a comparison of attention',
    { align: { ...align, encoder: attentiveEncoder, depth: 2, attention: { weight: 0.5 } } },
    "The model's attention cannot be compared with an encoder's (HASTE): it is over text and image at once",
  ],
])('refuses %s', async (_, options, sentence) => {
  await expect(open(options)).rejects.toThrow(sentence)
})
