import { TRANSFORMS } from '../../data/transforms.ts'
import { defineCommand } from '../command.ts'

export const prepareCommand = defineCommand({
  name: 'prepare',
  summary: 'turn folders or zips of images into a training data set',
  description:
    "SRC is a folder of class folders, a zip of them, or the reference's dataset with its dataset.json. DATA gets images/ and dataset.json as the reference writes them, and dataset-info.json for people. An interrupted run goes on where it ended.",
  positionals: { source: { placeholder: 'SRC', description: 'folder or zip of images' } },
  options: {
    out: { type: 'string', placeholder: 'DATA', description: 'folder to write', required: true },
    size: { type: 'integer', min: 1, default: 256, description: 'side of the square images in pixels' },
    transform: {
      type: 'enum',
      values: TRANSFORMS,
      default: 'center-crop-dhariwal',
      description: 'how images become square',
    },
    autoencoder: {
      type: 'string',
      placeholder: 'FILE|none',
      default: 'none',
      description:
        "makes the latents: diffusers' AutoencoderKL (file or folder), or TAESD; none keeps the pixels, x/127.5 - 1",
    },
    autoencoderTile: {
      type: 'integer',
      min: 8,
      placeholder: 'N',
      description: 'encode in blended tiles of N latent elements: bounds memory, not exact [the whole image]',
    },
    onCorrupt: {
      type: 'enum',
      values: ['fail', 'skip'],
      default: 'fail',
      description: 'at an image that cannot be read: stop, or leave it out and name it',
    },
    maxImages: { type: 'integer', min: 1, description: 'take only the first so many' },
    unlabelled: { type: 'boolean', default: false, description: 'accept images without classes: all become class 0' },
    allowEmptyClasses: { type: 'boolean', default: false, description: 'accept class folders without images' },
  },
  examples: [
    {
      command: 'repa prepare imagenet/train --out data/imagenet256',
      description: '256-pixel images, classes by folder name',
    },
    {
      command: 'repa prepare imagenet/train --out data/imagenet256 --autoencoder sd-vae-ft-mse',
      description: 'with the latents that the paper trains on',
    },
    { command: 'repa prepare cifar10.zip --out data/cifar --size 32', description: 'from a zip' },
  ],
  async run(
    {
      source,
      out: folder,
      size,
      transform,
      autoencoder,
      autoencoderTile: tile,
      onCorrupt,
      maxImages,
      unlabelled,
      allowEmptyClasses,
    },
    { device, out, signal, progress },
  ) {
    const { prepareDataset } = await import('../../data/prepare.ts')
    const encoder = autoencoder === 'none' ? undefined : await openEncoder(autoencoder, device, tile)
    let bar: ReturnType<typeof progress> | undefined
    const info = await prepareDataset({
      source,
      out: folder,
      size,
      ...(encoder && { latents: encoder }),
      transform: transform as (typeof TRANSFORMS)[number],
      onCorrupt: onCorrupt as 'fail' | 'skip',
      maxImages,
      unlabelled,
      allowEmptyClasses,
      signal,
      onProgress: ({ done, total, skipped }) => {
        bar ??= progress({ label: 'prepare', unit: 'images', total })
        bar.update(done, skipped > 0 ? { skipped } : {})
      },
    }).finally(() => {
      bar?.end()
      encoder?.dispose()
    })
    for (const note of info.notes) out.line(note)
    for (const { name, reason } of info.skipped) out.warn(`${name}: ${reason}; skipped`)
    if (info.ignored.count > 0)
      out.line(
        `${info.ignored.count} files are no images: ${info.ignored.names.slice(0, 5).join(', ')}${info.ignored.count > 5 ? ', ...' : ''}`,
      )
    out.line(`${folder}: ${info.images} images of ${size} x ${size} in ${info.classCounts.length} classes`)
    out.json({ ...info, out: folder })
  },
})

async function openEncoder(file: string, device: string, tile: number | undefined) {
  const [{ loadAutoencoder }, { resolveDevice }] = await Promise.all([
    import('../../models/load-autoencoder.ts'),
    import('../../tensor/device.ts'),
  ])
  return loadAutoencoder(file, { device: resolveDevice(device), half: 'encoder', tile })
}
