/** What sampled images depend on is among the settings by which a call goes on with another's images. */
import { expect, test, vi } from 'vitest'
import { settingsOf } from '../../src/diffusion/sampling-settings.ts'
import { differingSetting } from '../../src/distributed/require-alike.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import { native } from '../../src/native.ts'
import { modelOf } from '../training/tiny-trainer.ts'

const CALL = { folder: 'images', mode: 'sde', steps: 3, seed: 4, batch: 2, count: 40 } as const

interface Decoder {
  readonly weight?: number
  readonly scalingFactor?: number
  readonly mean?: number
  readonly std?: number
}

function decoder({ weight = 1, scalingFactor = 0.5, mean, std }: Decoder): StableDiffusionAutoencoder {
  const sizes = { blockChannels: [8], layersPerBlock: 1, normGroups: 4, latentChannels: 4 }
  const model = AutoencoderKL.fromConfig(autoencoderKLConfigSchema.parse({ ...sizes, scalingFactor }), 'cpu')
  native().fill(model.arena.array('weights').handle, weight)
  const four = (value: number) => new Float32Array(4).fill(value)
  const statistics = mean === undefined || std === undefined ? undefined : { mean: four(mean), std: four(std) }
  return new StableDiffusionAutoencoder(model, { name: 'kl', device: 'cpu', statistics })
}

/** What the models of a call are, and what decodes. */
interface Situation {
  readonly runs?: 'weights' | 'ema'
  readonly bf16?: 'model' | 'guide'
  readonly guide?: number
  readonly decodes?: Decoder
  readonly classes?: readonly number[]
}

async function settingsIn({ runs = 'weights', bf16, guide, decodes, classes }: Situation) {
  using model = modelOf()
  using guiding = modelOf()
  native().fill(model.arena.array('ema').handle, 1)
  model.arena.use(runs)
  guiding.initialise(guide ?? 0)
  // A CPU computes in none but f32.
  if (bf16) vi.spyOn(bf16 === 'guide' ? guiding : model, 'dtype', 'get').mockReturnValue('bf16')
  using autoencoder = decodes && decoder(decodes)
  const guidance = guide === undefined ? undefined : { guidance: { scale: 2, low: 0, high: 1, guide: guiding } }
  return await settingsOf(model, { ...CALL, ...guidance, autoencoder, classes })
}

const many = (last: number) => [...Array(32).fill(0), last]

test.each<[setting: string, one: Situation, other: Situation]>([
  ['weights', { runs: 'weights' }, { runs: 'ema' }],
  ['dtype', {}, { bf16: 'model' }],
  ['guided', {}, { guide: 1 }],
  ['guideWeights', { guide: 1 }, { guide: 2 }],
  ['guideDtype', { guide: 1 }, { guide: 1, bf16: 'guide' }],
  ['autoencoderWeights', { decodes: { weight: 1 } }, { decodes: { weight: 2 } }],
  ['autoencoderConstants', { decodes: { scalingFactor: 0.5 } }, { decodes: { scalingFactor: 0.25 } }],
  ['autoencoderConstants', { decodes: { mean: 0, std: 1 } }, { decodes: { mean: 1, std: 1 } }],
  ['autoencoderConstants', { decodes: { mean: 0, std: 1 } }, { decodes: { mean: 0, std: 2 } }],
  ['classes', { classes: many(1) }, { classes: many(2) }],
])('%s: %j and %j', async (setting, one, other) => {
  const [first, again, second] = [await settingsIn(one), await settingsIn(one), await settingsIn(other)]
  expect(differingSetting(first, again)).toBeUndefined()
  expect(differingSetting(first, second)).toBe(setting)
})
