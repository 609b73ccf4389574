import { describe, expect, test } from 'vitest'
import { emptyAutoencoder, latentsOf } from '../../src/models/autoencoder-architecture.ts'
import { TaesdAutoencoder } from '../../src/models/taesd-autoencoder.ts'
import type { Device } from '../../src/tensor/device.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { planar } from '../../src/tensor/planes.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { randomIntegers } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'
import { AUTOENCODERS, taesdEncoder } from './tiny-autoencoders.ts'

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

test.each(AUTOENCODERS)('the architecture of $name says of its latents what it says itself', async ({ make }) => {
  using autoencoder = await make('cpu')
  const { latentChannels, downsampling, latentScale, hasDeviations } = autoencoder
  const own = { latentChannels, downsampling, latentScale, hasDeviations }
  expect(latentsOf(autoencoder.architecture)).toEqual(own)
  using empty = emptyAutoencoder(autoencoder.architecture, 'empty', 'cpu')
  expect(empty).toMatchObject(own)
})

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`latents that stay on ${device}`, () => {
    test.each(AUTOENCODERS)('of $name are those that are brought to the host, bit for bit', async ({ size, make }) => {
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
      using autoencoder = await AUTOENCODERS[0]!.make(device, 8)
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
