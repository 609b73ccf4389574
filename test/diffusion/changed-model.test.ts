/** A model that another part of the program changes while it is sampled, or what it was told: nothing is made of two models, or of two callers' labels. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { sampleDiffusion } from '../../src/diffusion/ddpm-sampler.ts'
import { type SampleImagesOptions, sampleImages } from '../../src/diffusion/sample-images.ts'
import { sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { sampleFlow } from '../../src/diffusion/samplers.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { scatterWeights } from '../pretraining/directional-derivatives.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'

const SIZES = { depth: 1, hidden: 16, heads: 1, patch: 2 } as const
const OPTIONS = { inputSize: [6, 6] as [number, number], channels: 3, classes: 4 }
const SHAPE = [2, 3, 6, 6]
const ODE = { mode: 'ode', steps: 3 } as const
const GUIDED = { scale: 2, low: 0, high: 1 }

function sit(options: object = {}): SiT {
  const model = SiT.create(SIZES, { ...OPTIONS, ...options })
  scatterWeights(model, 0.2)
  return model
}

function dit(): DiT {
  const model = DiT.create(SIZES, OPTIONS)
  scatterWeights(model, 0.2)
  return model
}

const noise = () => Tensor.from(new Float32Array(2 * 3 * 6 * 6).fill(0.5), SHAPE, 'cpu')
const LABELS = () => Int32Array.of(1, 2)

/** What comes between: what it changes, and what it leaves as it was. */
const CHANGES: readonly (readonly [what: string, change: (model: AnyTransformer) => unknown])[] = [
  [
    'a step of an optimizer',
    (model) => {
      using optimizer = new AdamW(model.arena)
      optimizer.step()
    },
  ],
  ['first values', (model) => model.initialise(7)],
  ['another dtype', (model) => model.computeIn('bf16')],
  [
    'the use of the average',
    (model) => {
      model.arena.array('ema')
      model.arena.use('ema')
    },
  ],
  ['other projectors', (model) => model.align({ widths: [24], depth: 1 })],
]

const REFUSED =
  /^(A sampling|The guide of a sampling) has begun with other parameters than the model has now \(those were weights in f32, change \d+; these are (weights|ema) in (f32|bf16), change \d+\): a step, a load, computeIn or arena.use has come between, and what comes out would be of neither. Wait for its end first, or take a model of its own.$/

/** After the first step. */
const after =
  (change: () => unknown) =>
  (step: number): void => {
    if (step === 1) change()
  }

describe.each(CHANGES)('%s between two steps of a sampling', (_, change) => {
  test.each<readonly [of: string, sample: () => Promise<unknown>]>([
    [
      "a SiT's",
      async () => {
        using model = sit()
        using start = noise()
        await sampleFlow(model, start, LABELS(), { ...ODE, onStep: after(() => change(model)) })
      },
    ],
    [
      "a SiT's by dopri5",
      async () => {
        using model = sit()
        using start = noise()
        let kept = 0
        await sampleFlow(model, start, LABELS(), {
          ...ODE,
          solver: 'dopri5',
          onStep: () => after(() => change(model))(++kept),
        })
      },
    ],
    [
      "a DiT's",
      async () => {
        using model = dit()
        using start = noise()
        await sampleDiffusion(model, start, LABELS(), { mode: 'ddim', steps: 3, onStep: after(() => change(model)) })
      },
    ],
    [
      "a guide's",
      async () => {
        using model = sit()
        using guide = sit()
        using start = noise()
        const options = { ...ODE, guidance: { ...GUIDED, guide }, onStep: after(() => change(guide)) }
        await sampleFlow(model, start, LABELS(), options)
      },
    ],
  ])('is refused: %s', async (_, sample) => {
    await expect(sample()).rejects.toThrow(REFUSED)
  })

  test.each(['the model', 'its guide'])('is refused between two batches: %s', async (which) => {
    using model = sit()
    using guide = sit()
    const guidance = { ...GUIDED, guide }
    const batches = sampleImages(model, { ...ODE, guidance, labels: Int32Array.of(0, 1, 2), seed: 0, batch: 2 })
    expect((await batches.next()).value?.count).toBe(2)
    change(which === 'the model' ? model : guide)
    await expect(batches.next()).rejects.toThrow(REFUSED)
  })

  test('is refused in a folder, which notes no sampling', async () => {
    using model = sit()
    const folder = join(temporaryFolder(), 'samples')
    const onProgress = (done: number) => {
      if (done === 2) change(model)
    }
    const sampling = sampleToFolder(model, { ...ODE, folder, count: 4, seed: 0, batch: 2, onProgress })
    await expect(sampling).rejects.toThrow(REFUSED)
    expect(existsSync(join(folder, 'sampling.json'))).toBe(false)
    expect(readdirSync(folder)).toContain('000000.png')
  })
})

test.each(CHANGES)('%s after a sampling is nobody else’s matter', async (_, change) => {
  using model = sit()
  using start = noise()
  using _first = await sampleFlow(model, start, LABELS(), ODE)
  change(model)
  // The only one that the CPU's models compute in.
  model.computeIn('f32')
  using again = await sampleFlow(model, start, LABELS(), ODE)
  expect(again.shape).toEqual(SHAPE)
})

test('the average may be used and left between two steps: they are of the weights', async () => {
  using model = sit()
  model.arena.array('ema')
  using start = noise()
  const use = () => {
    using _average = model.arena.useMeanwhile('ema')
  }
  using whole = await sampleFlow(model, start, LABELS(), ODE)
  using other = await sampleFlow(model, start, LABELS(), { ...ODE, onStep: after(use) })
  expect(await other.dataAs('f64')).toEqual(await whole.dataAs('f64'))
})

test('a model that is disposed of meanwhile is named as that', async () => {
  const model = sit()
  using start = noise()
  const sampling = sampleFlow(model, start, LABELS(), { ...ODE, onStep: after(() => model.dispose()) })
  await expect(sampling).rejects.toThrow('The model has been disposed of, its weights with it.')
})

test.each<readonly [what: string, told: () => { model: SiT; given: object; change: () => void }]>([
  [
    'labels',
    () => {
      const labels = Int32Array.of(0, 1, 2, 3)
      return { model: sit(), given: { labels }, change: () => labels.fill(0) }
    },
  ],
  [
    'captions',
    () => {
      const captions = ['a bus', 'a cat', 'a dog', 'a tree']
      const prompts = { captions, encoder: new TableCaptionEncoder() }
      const model = sit({ classes: 0, text: { tokens: 5, width: 20 } })
      return { model, given: { prompts }, change: () => captions.fill('') }
    },
  ],
])('%s that are changed between two batches were read when the sampling began', async (_, told) => {
  const made: number[][][] = []
  for (const isChanged of [false, true]) {
    const { model, given, change } = told()
    const images: number[][] = []
    for await (const batch of sampleImages(model, { ...ODE, ...given, seed: 0, batch: 2 } as SampleImagesOptions)) {
      images.push([...batch.latents])
      if (isChanged) change()
    }
    made.push(images)
    model.dispose()
  }
  expect(made[1]).toEqual(made[0])
})
