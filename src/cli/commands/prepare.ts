import type { DatasetInfo } from '../../data/dataset-info.ts'
import type { FeatureEncoder } from '../../data/feature-encoder.ts'
import { DEFAULT_SIZE, DEFAULT_TRANSFORM, TRANSFORMS } from '../../data/transforms.ts'
import type { Device } from '../../tensor/device.ts'
import { defineCommand } from '../command.ts'
import { encoderOf } from '../encoder-argument.ts'
import { oneLine, UsageError } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'

export const prepareCommand = defineCommand({
  name: 'prepare',
  summary: 'turn images into a training data set: crops, captions, latents, cached features',
  description:
    "SRC is a folder of class folders, a zip or tar (.tar, .tar.gz) of them, the reference's dataset with its dataset.json, WebDataset tars (KEY.jpg with KEY.cls or KEY.json), or parquet files with a column of images as Hugging Face writes them. Several tars or parquet files, a pattern such as 'train-{0000..0127}.tar', or a folder of nothing else are the shards of one set. DATA gets images/ and vae-sd/ with their dataset.json as the reference writes them, captions.json where captions are asked for, and dataset-info.json for people; a name in .zip gets one step's files as the reference's tool packs them. An interrupted run goes on where it ended. The steps may be made one by one: with DATA itself as SRC, captions, latents or features are added to the images that are there.",
  positionals: { source: { placeholder: 'SRC', description: 'folder, zip, tar or parquet of images', repeated: true } },
  options: {
    out: { type: 'string', placeholder: 'DATA', description: 'folder to write, or a .zip', required: true },
    size: { type: 'integer', min: 1, description: `side of the square images in pixels [${DEFAULT_SIZE}]` },
    transform: {
      type: 'enum',
      values: TRANSFORMS,
      description: `how images become square [${DEFAULT_TRANSFORM}]`,
    },
    autoencoder: {
      type: 'string',
      placeholder: 'FILE|none',
      default: 'none',
      description:
        "makes the latents: an AutoencoderKL, diffusers' or latent-diffusion's (file or folder), TAESD or a RAE; none keeps the pixels, x/127.5 - 1",
    },
    autoencoderTile: {
      type: 'integer',
      min: 8,
      placeholder: 'N',
      description: 'encode in blended tiles of N latent elements: bounds memory, not exact [the whole image]',
    },
    features: {
      type: 'string',
      placeholder: 'NAME=FILE',
      repeated: true,
      description:
        "keep this encoder's features of every image, as float16, so that training need not run it; how much they take is said first",
    },
    featurePatch: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description: 'patch of the model that the features are for [2; 4 where pixels are the latent]',
    },
    flip: {
      type: 'boolean',
      default: false,
      description:
        'encode the mirror images too (vae-sd-flip/), where latents are made; training then takes either, with even chances',
    },
    processes: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description:
        'share the encoding among so many processes with a GPU each, as repa train has them; without a GPU they share the cores [1]',
    },
    imageColumn: { type: 'string', placeholder: 'NAME', description: 'of parquet files: the column of images' },
    labelColumn: { type: 'string', placeholder: 'NAME', description: 'of parquet files: the column of labels' },
    captions: {
      type: 'string',
      placeholder: 'beside|FILE',
      description:
        "the images' captions: beside them (NAME.txt, .json in tars, metadata.jsonl, a parquet column), or FILE: COCO's annotations or JSON lines; labels are then not needed",
    },
    captionColumn: {
      type: 'string',
      placeholder: 'NAME',
      description: 'of parquet files and JSON: the column or field of captions',
    },
    allowMissingCaptions: {
      type: 'boolean',
      default: false,
      description: 'accept images without a caption: they train on the empty one',
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
    {
      command: 'repa prepare imagenet/train --out data/imagenet256 --autoencoder sd-vae-ft-mse --processes 8',
      description: 'the same on eight GPUs',
    },
    { command: 'repa prepare cifar10.zip --out data/cifar --size 32', description: 'from a zip' },
    {
      command: "repa prepare 'imagenet/train-{0000..0146}.tar' --out data/imagenet256",
      description: 'from WebDataset shards',
    },
    {
      command:
        'repa prepare coco/train2014 --out data/coco256 --captions coco/annotations/captions_train2014.json --autoencoder sd-vae-ft-mse',
      description: 'with captions, for text-to-image',
    },
    {
      command:
        'repa prepare data/imagenet256 --out data/imagenet256 --features dinov2-vit-b=dinov2_vitb14_pretrain.pth',
      description: 'add cached features to a set that is there',
    },
  ],
  saves: true,
  async run(
    { out: folder, autoencoder, autoencoderTile: tile, features = [], processes, ...rest },
    { device, out, signal, progress },
  ) {
    if (processes !== undefined && processes > 1 && autoencoder === 'none' && features.length === 0) {
      throw new UsageError(
        `--processes ${processes} would share the encoding, and nothing is encoded without --autoencoder or --features; leave it out: images are made on all cores.`,
      )
    }
    if (tile !== undefined && autoencoder === 'none') {
      throw new UsageError(
        `--autoencoder-tile ${tile} is of an autoencoder, of which none is named; add --autoencoder, or leave it out.`,
      )
    }
    const { withProcesses } = await import('../../distributed/join.ts')
    await withProcesses({ processes, device }, async (world, where) => {
      if (world.rank > 0) out.silence()
      const { prepareDataset } = await import('../../data/prepare.ts')
      const latents = autoencoder === 'none' ? undefined : await openLatentEncoder(autoencoder, where, tile)
      const encoders: (FeatureEncoder & Disposable)[] = []
      let bar: { readonly label: string; readonly progress: Progress } | undefined
      try {
        encoders.push(...(await openEncoders(features, where, (sentence) => out.warn(sentence))))
        const info = await prepareDataset({
          ...rest,
          out: folder,
          ...(latents && { latents }),
          features: encoders,
          world,
          signal,
          onNotice: (sentence) => out.line(sentence),
          onProgress: ({ step, encoder, done, total, skipped }) => {
            const label = encoder ?? step
            if (bar?.label !== label) {
              bar?.progress.end()
              bar = { label, progress: progress({ label, unit: 'images', total, initial: done }) }
            }
            bar.progress.update(done, skipped > 0 ? { skipped } : {})
          },
        })
        bar?.progress.end()
        report(folder, info, out)
      } finally {
        bar?.progress.end()
        for (const encoder of encoders) encoder[Symbol.dispose]()
        latents?.dispose()
      }
    })
  },
})

async function openLatentEncoder(file: string, device: Device, tile: number | undefined) {
  const [{ autoencoderDigest }, { loadAutoencoder }] = await Promise.all([
    import('../../models/autoencoder-files.ts'),
    import('../../models/load-autoencoder.ts'),
  ])
  const weights = await autoencoderDigest(file, 'encoder')
  return Object.assign(await loadAutoencoder(file, { device, half: 'encoder', tile }), { weights })
}

async function openEncoders(
  features: readonly string[],
  device: Device,
  onNotice: (sentence: string) => void,
): Promise<(FeatureEncoder & Disposable)[]> {
  if (features.length === 0) return []
  const { openFeatureEncoder } = await import('../../training/feature-encoder.ts')
  const opened: (FeatureEncoder & Disposable)[] = []
  try {
    for (const text of features) {
      const { name, file } = encoderOf(text)
      opened.push(await openFeatureEncoder(name, file, { device, onNotice }))
    }
    return opened
  } catch (error) {
    for (const encoder of opened) encoder[Symbol.dispose]()
    throw error
  }
}

function report(folder: string, info: DatasetInfo, out: Output): void {
  for (const note of info.notes) out.line(oneLine(note))
  for (const { name, reason } of info.skipped) out.warn(oneLine(`${name}: ${reason}; skipped`))
  const { count, names } = info.ignored
  if (count > 0) {
    const shown = oneLine(`${names.slice(0, 5).join(', ')}${count > 5 ? ', ...' : ''}`)
    const files = count === 1 ? '1 file is' : `${count} files are`
    out.line(`${files} left out, by the name no JPEG, PNG, BMP or WebP image of its own: ${shown}`)
  }
  const without = info.captions?.withoutCaption ?? 0
  if (without > 0)
    out.warn(
      `${without === 1 ? '1 image has' : `${without} images have`} no caption: ${without === 1 ? 'it trains' : 'they train'} on the empty one.`,
    )
  const parts = [
    ...(info.captions
      ? [
          oneLine(
            `${info.captions.count} ${info.captions.count === 1 ? 'caption' : 'captions'} from ${info.captions.source}`,
          ),
        ]
      : []),
    ...(info.latents ? [`latents [${info.latents.shape.join(', ')}] by ${info.latents.encoder}`] : []),
    ...info.features.map(({ encoder, grid, width }) => `features of ${encoder} [${grid.join(' x ')}, ${width}]`),
    ...(info.flip ? ['mirror images'] : []),
  ]
  const size = info.settings ? ` of ${info.settings.size} x ${info.settings.size}` : ''
  const added = parts.length > 0 ? `; ${parts.join('; ')}` : ''
  const images = info.images === 1 ? '1 image' : `${info.images} images`
  out.line(`${folder}: ${images}${size} in ${classesOf(info)}${added}`)
  out.json({ ...info, out: folder })
}

/** Where some classes have no images, both numbers: a model has a row for each, and nothing trains some. */
function classesOf({ classCounts }: DatasetInfo): string {
  const withImages = classCounts.filter((count) => count > 0).length
  const all = classCounts.length === 1 ? '1 class' : `${classCounts.length} classes`
  return withImages === classCounts.length ? all : `${withImages} of ${all}`
}
