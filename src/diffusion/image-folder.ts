/** The images that are sampled to a folder: `000000.png` and on. */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { decodeImage } from '../data/image-decoding.ts'
import { mapInOrder } from '../data/ordered-map.ts'
import { encodePngAside } from '../data/png.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { ifThere } from '../formats/if-there.ts'
import { promptsPath, recordPath, sampleName } from './sampling-record.ts'

/** Consecutive images of a sampling. */
export interface SampleRange {
  /** Number of the first. */
  readonly first: number
  readonly count: number
}

/** Bytes [count, H, W, 3]. */
export interface RangeOfImages extends SampleRange {
  readonly images: Uint8Array
  readonly height: number
  readonly width: number
}

/** How many PNGs are compressed or read at once: as many as Node has threads for it. */
const AT_ONCE = 4

/** Writes the PNGs of images. */
export async function writeImages(folder: string, batch: RangeOfImages): Promise<void> {
  const written = mapInOrder(numbersOf(batch), AT_ONCE, async (number) => {
    const png = await encodePngAside(imageOf(batch, number), batch.width, batch.height, 3)
    await writeWhole(join(folder, sampleName(number)), png)
  })
  for await (const _ of written);
}

/**
 * Reads the PNGs of images.
 *
 * @param size height and width of each
 * @throws {Error} where one is of another size; {ImageDecodeError} where it is damaged
 */
export async function readImages(
  folder: string,
  { first, count }: SampleRange,
  [height, width]: readonly [height: number, width: number],
): Promise<RangeOfImages> {
  const batch = { first, count, images: new Uint8Array(count * height * width * 3), height, width }
  const read = mapInOrder(numbersOf(batch), AT_ONCE, async (number) => {
    const path = join(folder, sampleName(number))
    const image = await decodeImage(await readFile(path), path).catch((error: Error) => {
      throw new Error(`${error.message} Remove it, and the call that is repeated samples it anew.`, { cause: error })
    })
    if (image.height !== height || image.width !== width) {
      throw new Error(
        `${path} is ${image.height} x ${image.width} pixels, where images of ${height} x ${width} are sampled; remove it, and the call that is repeated samples it anew.`,
      )
    }
    imageOf(batch, number).set(image.data)
  })
  for await (const _ of read);
  return batch
}

/** An image of a batch by its number, [H, W, 3]. */
export function imageOf({ first, images, height, width }: RangeOfImages, number: number): Uint8Array {
  const length = height * width * 3
  return images.subarray((number - first) * length, (number - first + 1) * length)
}

const numbersOf = ({ first, count }: SampleRange) => Array.from({ length: count }, (_, n) => first + n)

/**
 * The names of what is in a folder that so many images are to be sampled to.
 *
 * @throws {Error} where it holds images of higher numbers, or a prompts.txt that is of no sampling
 */
export async function requireNoOthers(folder: string, count: number): Promise<ReadonlySet<string>> {
  const names = new Set(await ifThere(readdir(folder)))
  const isThere = (path: string) => names.has(basename(path))
  if (isThere(promptsPath(folder)) && !isThere(recordPath({ folder }))) {
    throw new Error(
      `${promptsPath(folder)} is of no images that were sampled here, and would be replaced; move it, or choose another folder.`,
    )
  }
  const [other] = [...names].filter((name) => /^\d{6,}\.png$/.test(name) && Number.parseInt(name, 10) >= count).sort()
  if (other === undefined) return names
  throw new Error(
    `${folder} holds ${other}, an image of another call beyond the ${count} that are wanted; remove what is there, or choose another folder.`,
  )
}
