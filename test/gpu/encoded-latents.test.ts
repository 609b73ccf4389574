import { describe, expect, test } from 'vitest'
import { AUTOENCODERS } from '../models/tiny-autoencoders.ts'
import { DEVICES } from '../tensor/devices.ts'
import { prepared, trained } from '../training/encoded-training.ts'
import { align } from '../training/tiny-trainer.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`latents that are made of every batch on ${device}`, () => {
    test.each(AUTOENCODERS)('by $name, in a captured step: the same bits', async ({ size, make }) => {
      using autoencoder = await make(device)
      const data = await prepared(size)
      // Recorded anew where the alignment ends, after which the autoencoder alone reads images.
      const options = { align, alignSchedule: { until: 2 }, accumulate: 2 }
      const expected = await trained(data, autoencoder, device, options)
      expect(await trained(data, autoencoder, device, { ...options, cudaGraph: true })).toEqual(expected)
    })
  })
}
