/** What a program without types may ask a Dataset for: what is misspelt or too long would be passed over. */
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { tinyDataset } from './tiny-dataset.ts'

test.each([
  [
    (data: Dataset) => data.readInto(0, { latent: new Float32Array(5000) }),
    'room for 5000 numbers, and a sample’s has 512',
  ],
  [(data: Dataset) => data.readInto(0, { image: new Uint8Array(5) }), 'the image has room for 5 numbers'],
  [
    (data: Dataset) => data.readInto(0, { image: [0] } as never),
    'the target of readInto: image is [0]: expected Uint8Array',
  ],
  [(data: Dataset) => data.readInto(0, { images: new Uint8Array(5) } as never), 'did you mean "image"?'],
  [(data: Dataset) => data.read(0, { images: true, latent: true } as never), 'did you mean "image"?'],
  [(data: Dataset) => data.read(0, { image: true } as never), 'what of a sample is wanted: latent is missing'],
])('%s is refused', async (ask, sentence) => {
  const data = await Dataset.open(await tinyDataset())
  await expect(ask(data)).rejects.toThrow(sentence.replace('’', "'"))
})

test('what makes no latents, and a set that is opened by a wrong name', async () => {
  const root = await tinyDataset()
  const data = await Dataset.open(root)
  const maker = { name: 'mine', downsampling: 8, latentScale: 1, hasDeviations: false }
  expect(() => data.encoded({ ...maker, latentChannel: 4 } as never)).toThrow(
    'what makes the latents: latentChannels is missing',
  )
  expect(data.encoded({ ...maker, latentChannels: 4 }).latentShape).toEqual([4, 8, 8])
  await expect(Dataset.open(root, { caption: false } as never)).rejects.toThrow('did you mean "captions"?')
  for (const path of [undefined, '']) {
    await expect(Dataset.open(path as never)).rejects.toThrow('the folder of Dataset.open: ')
  }
})
