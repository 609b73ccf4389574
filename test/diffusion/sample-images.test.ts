/** What bytes samples become: those of the script that each kind of model is sampled by. */
import { describe, expect, test } from 'vitest'
import { type SampleImagesOptions, type SamplingOptions, sampleImages } from '../../src/diffusion/sample-images.ts'
import { Autoencoder } from '../../src/models/autoencoder.ts'
import { DiT } from '../../src/models/dit.ts'
import { NotFiniteError } from '../../src/models/not-finite-error.ts'
import { SiT } from '../../src/models/sit.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { native } from '../../src/native.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const SIZE = { depth: 1, hidden: 16, heads: 1, patch: 2 } as const
const OPTIONS = { inputSize: [16, 16] as [number, number], channels: 3, classes: 3 }
const ODE = { mode: 'ode', steps: 1 } as const
const DDIM = { mode: 'ddim', steps: 1 } as const

/** Its images are its latents. */
class Identity extends Autoencoder {
  readonly latentChannels = 3
  readonly downsampling = 1
  readonly latentScale = 1
  readonly networks = []
  readonly missingHalf = undefined
  protected readonly range: readonly [number, number]

  constructor(range: readonly [number, number]) {
    super({ name: 'identity', device: 'cpu' })
    this.range = range
  }

  get architecture(): never {
    throw new Error('The test asks for none.')
  }

  protected encodeBatch(): never {
    throw new Error('The test encodes nothing.')
  }

  protected decodeBatch(latents: Tensor): Tensor {
    return latents.alias()
  }
}

async function sampled(model: AnyTransformer, options: SamplingOptions & { autoencoder?: Autoencoder }) {
  const one = { ...options, labels: Int32Array.of(0, 1), seed: 3, batch: 2 } as SampleImagesOptions
  const { value } = await sampleImages(model, one).next()
  return value!
}

/** (x + 1) / 2 · 255 of generate.py, and of RAE's sample_ddp.py the same of its decoder's [0, 1]; each truncated. */
const down = (x: number) => (x + 1) * 127.5
/** 127.5 x + 128 of DiT's sample_ddp.py, SiT's and LightningDiT's; each truncated. */
const nearest = (x: number) => 127.5 * x + 128
const byte = (level: number) => Math.trunc(Math.min(Math.max(level, 0), 255))

describe.each<{ kind: string; make: () => AnyTransformer; sampling: SamplingOptions; level: (x: number) => number }>([
  { kind: 'SiT of REPA', make: () => SiT.create(SIZE, OPTIONS), sampling: { ...ODE, path: 'linear' }, level: down },
  {
    kind: 'original SiT, or LightningDiT',
    make: () => SiT.create(SIZE, { ...OPTIONS, convention: 'sit' }),
    sampling: { ...ODE, path: 'linear' },
    level: nearest,
  },
  {
    kind: 'DiT-DH',
    make: () => SiT.create(SIZE, { ...OPTIONS, ddtHead: { depth: 1, hidden: 16, heads: 1 } }),
    sampling: { ...ODE, path: 'linear' },
    level: down,
  },
  { kind: 'DiT', make: () => DiT.create(SIZE, OPTIONS), sampling: DDIM, level: nearest },
])('images of a $kind', ({ make, sampling, level }) => {
  /** Levels within a rounding of float32 of each other may be two bytes. */
  const expectBytes = (images: Uint8Array, values: ArrayLike<number>) => {
    const pixels = values.length / 6
    const wrong = Array.from(values).filter((value, i) => {
      const [sample, channel, pixel] = [Math.floor(i / (3 * pixels)), Math.floor(i / pixels) % 3, i % pixels]
      const found = images[(sample * pixels + pixel) * 3 + channel]!
      return found < byte(level(value) - 2 ** -16) || found > byte(level(value) + 2 ** -16)
    })
    expect(wrong).toEqual([])
  }

  test('of pixels', async () => {
    using model = make()
    const { images, latents } = await sampled(model, sampling)
    expectBytes(images, latents)
  })

  test.each([{ range: [-1, 1] }, { range: [0, 1] }] as const)('decoded to $range', async ({ range }) => {
    using model = make()
    using autoencoder = new Identity(range)
    const { images, latents } = await sampled(model, { ...sampling, autoencoder })
    const [low, high] = range
    expectBytes(
      images,
      latents.map((value) => ((Math.fround(value) - low) / (high - low)) * 2 - 1),
    )
  })
})

test('an autoencoder decodes by no other rule', async () => {
  using autoencoder = new Identity([-1, 1])
  using latents = Tensor.zeros([1, 3, 2, 2], 'cpu')
  await expect(autoencoder.decode(latents, { rounding: 'up' as 'down' })).rejects.toThrow('rounding is "up"')
})

describe('what does not become finite', () => {
  const GUIDANCE = { scale: 2, low: 0, high: 1 }

  test.each<[what: string, make: () => AnyTransformer, sampling: SamplingOptions]>([
    ['euler', () => SiT.create(SIZE, OPTIONS), { mode: 'ode', steps: 2 }],
    ['heun', () => SiT.create(SIZE, OPTIONS), { mode: 'ode', solver: 'heun', steps: 2 }],
    ['the SDE', () => SiT.create(SIZE, OPTIONS), { mode: 'sde', steps: 3, guidance: GUIDANCE }],
    ['DDPM', () => DiT.create(SIZE, OPTIONS), { mode: 'ddpm', steps: 2 }],
    ['DDIM', () => DiT.create(SIZE, OPTIONS), { mode: 'ddim', steps: 2, guidance: GUIDANCE }],
  ])('by %s is no image', async (_, make, sampling) => {
    using model = make()
    native().fill(model.arena.array('weights').handle, Number.NaN)
    const images = sampleImages(model, { ...sampling, labels: Int32Array.of(0, 1), firstImage: 7, seed: 3, batch: 2 })
    await expect(images.next()).rejects.toThrow(
      new NotFiniteError(
        "Image 7 has a value that is NaN when its sampling ends; check the model's weights, the guidance, and the precision.",
      ),
    )
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'decoded to %d is none',
    async (value) => {
      using autoencoder = new Identity([-1, 1])
      const values = new Float32Array(3 * 3 * 4)
      values[2 * 3 * 4 - 1] = value
      using latents = Tensor.from(values, [3, 3, 2, 2], 'cpu')
      await expect(autoencoder.decode(latents)).rejects.toThrow(
        'identity decodes the latents of image 1 of those given (from 0) to what is no finite number',
      )
    },
  )
})
