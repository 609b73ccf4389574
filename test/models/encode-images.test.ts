import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import type { Autoencoder } from '../../src/models/autoencoder.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import { TaesdEncoder } from '../../src/models/taesd.ts'
import { TaesdAutoencoder } from '../../src/models/taesd-autoencoder.ts'
import type { Device } from '../../src/tensor/device.ts'
import { type HostTensor, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { planar } from '../../src/tensor/planes.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { random, randomIntegers } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'
import { authorsDecoder, authorsEncoder, authorsStatistics, DECODER, GRID } from './rae-files.ts'
import { randomState } from './random-state.ts'

const write = (path: string, state: ReadonlyMap<string, HostTensor>) =>
  writeSafetensors(
    path,
    [...state].map(([name, tensor]) => ({ name, ...tensor })),
  )

const source = (state: ReadonlyMap<string, HostTensor>) => ({
  name: 'random weights',
  names: [...state.keys()],
  shapeOf: (name: string) => state.get(name)!.shape,
  read: async (name: string) => state.get(name)!,
})

async function kl(device: Device): Promise<AutoencoderKL> {
  const config = autoencoderKLConfigSchema.parse({ blockChannels: [8, 16, 24], layersPerBlock: 1, normGroups: 4 })
  const model = AutoencoderKL.fromConfig(config, device)
  await model.load(source(randomState(AutoencoderKL.fromConfig(config, 'cpu'))))
  return model
}

async function taesdEncoder(device: Device): Promise<TaesdEncoder> {
  const config = { width: 8, latentChannels: 4 }
  const model = new TaesdEncoder(config, device)
  await model.load(source(randomState(new TaesdEncoder(config, 'cpu'))))
  return model
}

const statistics = {
  mean: Float32Array.from(random([4], 5).data),
  std: Float32Array.from(random([4], 6).data, (value) => 1.5 + value),
}

interface Kind {
  readonly name: string
  readonly size: number
  readonly make: (device: Device, tile?: number) => Promise<Autoencoder>
}

const KINDS: readonly Kind[] = [
  {
    name: 'an AutoencoderKL',
    size: 16,
    make: async (device, tile) => new StableDiffusionAutoencoder(await kl(device), { name: 'kl', device, tile }),
  },
  {
    name: 'one whose latents are standardised',
    size: 16,
    make: async (device) => new StableDiffusionAutoencoder(await kl(device), { name: 'kl', device, statistics }),
  },
  {
    name: 'TAESD',
    size: 16,
    make: async (device) => new TaesdAutoencoder(await taesdEncoder(device), undefined, { name: 'taesd', device }),
  },
  {
    name: 'a RAE',
    size: GRID * DECODER.patch,
    make: async (device) => {
      const folder = join(temporaryFolder(), 'rae')
      mkdirSync(folder)
      await write(join(folder, 'decoder.safetensors'), authorsDecoder())
      await write(join(folder, 'encoder.safetensors'), authorsEncoder())
      await write(join(folder, 'statistics.safetensors'), authorsStatistics())
      return loadAutoencoder(folder, { device, half: 'encoder' })
    },
  },
]

const picturesOf = (count: number, size: number) =>
  Array.from({ length: count }, (_, i) => Uint8Array.from(randomIntegers(3 * size ** 2, 256, 30 + i)))

const batchOf = (pictures: readonly Uint8Array[], size: number, device: Device) =>
  Tensor.from(planar(Buffer.concat(pictures), size ** 2), [pictures.length, 3, size, size], device)

/** Lets two images of 16 pixels through the network together. */
class TwoAtOnce extends TaesdAutoencoder {
  protected override get pixelsAtOnce(): number {
    return 2 * 16 * 16
  }
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`latents that stay on ${device}`, () => {
    test.each(KINDS)('of $name are those that are brought to the host, bit for bit', async ({ size, make }) => {
      using autoencoder = await make(device)
      const pictures = picturesOf(3, size)
      const expected = await autoencoder.encode(pictures, size)
      using images = batchOf(pictures, size, device)
      using latents = autoencoder.encodeImages(images)
      const { latentChannels, downsampling, hasDeviations } = autoencoder
      const side = size / downsampling
      expect(latents.shape).toEqual([3, (hasDeviations ? 2 : 1) * latentChannels, side, side])
      const values = toFloat32(await latents.toHost())
      expect(values).toEqual(Float32Array.from(expected.flatMap((latent) => [...latent])))
      expect(new Set(values).size).toBeGreaterThan(20)
    })

    test('of more images than pass the network together', async () => {
      using autoencoder = new TwoAtOnce(await taesdEncoder(device), undefined, { name: 'taesd', device })
      const pictures = picturesOf(5, 16)
      const expected = await autoencoder.encode(pictures, 16)
      using images = batchOf(pictures, 16, device)
      using latents = autoencoder.encodeImages(images)
      expect(await latents.data()).toEqual(Float32Array.from(expected.flatMap((latent) => [...latent])))
    })

    test('are refused of sizes that are no multiples, and in tiles', async () => {
      using autoencoder = await KINDS[0]!.make(device, 8)
      using odd = batchOf(picturesOf(1, 18), 18, device)
      expect(() => autoencoder.encodeImages(odd)).toThrow(
        'kl encodes images whose sides are multiples of 4; these are 18',
      )
      using large = batchOf(picturesOf(1, 48), 48, device)
      expect(() => autoencoder.encodeImages(large)).toThrow(
        'kl works in tiles of 8 latent elements, and the latents of a batch of 48 x 48 pixels are 12 wide; leave the tile out.',
      )
    })
  })
}
