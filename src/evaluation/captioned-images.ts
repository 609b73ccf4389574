/** Images with a caption each, in order: samples, or a prepared data set's own. */
import { stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { captionOfEachLine } from '../data/captions.ts'
import type { Dataset } from '../data/dataset.ts'
import { decodeImage } from '../data/image-decoding.ts'
import { type ImageSource, openImageSource, type SourceImage } from '../data/image-sources.ts'
import { mapInOrder } from '../data/ordered-map.ts'
import type { RgbImage } from '../data/rgb-image.ts'
import { promptsPath, sampleName } from '../diffusion/sampling-record.ts'
import { isThere } from '../formats/if-there.ts'
import { NpzFile } from '../formats/npz.ts'
import { interleaved } from '../tensor/planes.ts'
import { openNpzImages } from './image-set.ts'

export interface CaptionedImage {
  /** For messages. */
  readonly name: string
  readonly caption: string
  readonly image: RgbImage
}

/** Images that have a caption; those whose caption is blank are not among them. */
export interface CaptionedImages extends AsyncDisposable {
  /** For messages. */
  readonly path: string
  readonly count: number
  /** Images that were left out. */
  readonly withoutCaption: number
  read(): AsyncGenerator<CaptionedImage>
}

/** Images that are read at a time. */
const READ_AT_ONCE = 8

/**
 * Samples with the captions that they were made of: a folder or zip of images, or an npz of them (`arr_0`, u8 [N, H, W, 3]). The captions
 * are the lines of a file, in the order of the images, or of their paths; by default those of the folder's prompts.txt, as `repa sample`
 * writes it, of which line i is the caption of the image of the number i; other pictures in that folder are not samples.
 *
 * @throws {Error} where there are no samples or captions, or not as many of both; {FileAccessError} for a file that cannot be read;
 *   {FileFormatError} for captions that are not UTF-8
 */
export async function openCaptionedSamples(samples: string, captions?: string): Promise<CaptionedImages> {
  const file = captions ?? (await promptsIn(samples))
  const lines = await captionOfEachLine(file)
  if (extname(samples).toLowerCase() === '.npz') return ofNpz(samples, file, lines)
  const source = await openImageSource(samples, { unlabelled: true })
  try {
    if (captions === undefined) return ofFiles(source, numbered(source, file, lines), lines)
    requireAsMany(samples, source.images.length, file, lines)
    return ofFiles(source, source.images, lines)
  } catch (error) {
    await source.close()
    throw error
  }
}

/** The file of the captions that lies in a folder of samples. */
async function promptsIn(samples: string): Promise<string> {
  if (!(await isThere(samples))) throw new Error(`There is no ${samples}; check the path.`)
  const isFolder = (await stat(samples)).isDirectory()
  const file = promptsPath(samples)
  if (isFolder && (await isThere(file))) return file
  throw new Error(
    `${samples} does not say its images' captions: ${isFolder ? 'there is no prompts.txt in it' : 'it is no folder with a prompts.txt'}, ` +
      'as a sampling of a model of text writes it. Name a file of them, a line an image, by `captions`.',
  )
}

/**
 * A data set's images with the first of each one's captions.
 *
 * @throws {Error} where it has no captions or no images
 */
export function captionedDataset(data: Dataset): CaptionedImages {
  const { path, captions, imageSize } = data
  if (!captions) {
    throw new Error(`${path} is a data set without captions; prepare it with captions, or name samples.`)
  }
  const wanted = withCaption(captions.map(([first = '']) => first))
  return {
    path,
    ...countsOf(wanted, captions.length),
    read: () =>
      mapInOrder(wanted, READ_AT_ONCE, async ([index, caption]) => {
        const { image } = await data.read(index, { image: true, latent: false })
        const pixels = interleaved(image!, imageSize * imageSize)
        return { name: `sample ${index}`, caption, image: { width: imageSize, height: imageSize, data: pixels } }
      }),
    async [Symbol.asyncDispose]() {},
  }
}

type WithCaption = readonly (readonly [index: number, caption: string])[]

function withCaption(captions: readonly string[]): WithCaption {
  return captions.flatMap((caption, index) => (caption.trim() === '' ? [] : [[index, caption] as const]))
}

const countsOf = (wanted: WithCaption, total: number) => ({
  count: wanted.length,
  withoutCaption: total - wanted.length,
})

function ofFiles(source: ImageSource, images: readonly SourceImage[], captions: readonly string[]): CaptionedImages {
  const { path } = source
  const wanted = withCaption(captions)
  return {
    path,
    ...countsOf(wanted, images.length),
    read: () =>
      mapInOrder(wanted, READ_AT_ONCE, async ([index, caption]) => {
        const image = images[index]!
        return { name: image.name, caption, image: await decodeImage(await source.read(image), join(path, image.name)) }
      }),
    [Symbol.asyncDispose]: () => source.close(),
  }
}

async function ofNpz(path: string, file: string, captions: readonly string[]): Promise<CaptionedImages> {
  const images = await openNpzImages(await NpzFile.open(path))
  try {
    requireAsMany(path, images.count, file, captions)
  } catch (error) {
    await images[Symbol.asyncDispose]()
    throw error
  }
  return {
    path,
    ...countsOf(withCaption(captions), images.count),
    async *read() {
      let index = 0
      for await (const { pixels, count, height, width } of images.batches(READ_AT_ONCE)) {
        for (let i = 0; i < count; i++, index++) {
          const caption = captions[index]!
          if (caption.trim() === '') continue
          const data = pixels.subarray(i * height * width * 3, (i + 1) * height * width * 3)
          yield { name: `image ${index}`, caption, image: { width, height, data } }
        }
      }
    },
    [Symbol.asyncDispose]: () => images[Symbol.asyncDispose](),
  }
}

/** The images of the numbers 0, 1 and so on, one a line, whatever other pictures are among the source's, such as a grid of them. */
function numbered({ path, images }: ImageSource, file: string, captions: readonly string[]): SourceImage[] {
  const byName = new Map(images.map((image) => [image.name, image]))
  const found = captions.map((_, number) => {
    const image = byName.get(sampleName(number))
    if (image) return image
    throw new Error(
      `There is no ${sampleName(number)} beside ${file}, whose line ${number + 1} is its caption: the images are not those that a ` +
        'sampling wrote. Name a file of their captions, a line an image in the order of their paths, by `captions`.',
    )
  })
  const count = images.filter(({ name }) => name === sampleName(Number.parseInt(name, 10))).length
  if (count === captions.length) return found
  throw new Error(
    `${path} has ${count} images by number, from ${sampleName(0)}, and ${file} ${captions.length} captions; expected a line an image.`,
  )
}

function requireAsMany(samples: string, images: number, file: string, captions: readonly string[]): void {
  if (images === captions.length) return
  throw new Error(`${samples} has ${images} images, and ${file} ${captions.length} captions; expected a line an image.`)
}
