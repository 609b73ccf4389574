/**
 * Cached features of one encoder: `features/NAME/00000.safetensors` and on, each with one tensor `features`, f16
 * [images, tokens, width], of consecutive images; those of the mirror images in `flip-00000.safetensors` and on. An image's
 * features are one run of bytes at a place that is known from its index, so that reading them is one call.
 */
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FileAccessError } from '../formats/errors.ts'
import { isThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { serialiseHeader } from '../formats/safetensors-header.ts'
import type { FeatureSettings } from './dataset-info.ts'
import { LAYOUT } from './layout.ts'

const TENSOR = 'features'
const HALF_BYTES = 2

/** A shard is the most whole images that fit in so many bytes: large enough to be few, small enough to be copied one by one. */
const SHARD_BYTES = 2 ** 30

/** Bytes of one image's features. */
export function featureBytes({ grid: [rows, columns], width }: FeatureSettings): number {
  return rows * columns * width * HALF_BYTES
}

export function imagesPerShard(settings: FeatureSettings): number {
  return Math.max(1, Math.floor(SHARD_BYTES / featureBytes(settings)))
}

function shardPath(folder: string, settings: FeatureSettings, flip: boolean, shard: number): string {
  const name = `${flip ? 'flip-' : ''}${String(shard).padStart(5, '0')}.safetensors`
  return join(folder, LAYOUT.features, settings.encoder, name)
}

function headerOf(settings: FeatureSettings, images: number, flip: boolean): Uint8Array {
  const { grid, width } = settings
  const shape = [images, grid[0] * grid[1], width]
  const bytes = shape.reduce((product, size) => product * size, HALF_BYTES)
  return serialiseHeader([[TENSOR, 'f16', shape, bytes]], metadataOf(settings, flip))
}

/** What a shard says of itself. */
function metadataOf({ encoder, weights, grid }: FeatureSettings, flip: boolean): Record<string, string> {
  return {
    encoder,
    ...(weights !== undefined && { weights }),
    grid: grid.join('x'),
    images: flip ? 'mirrored' : 'as they are',
  }
}

/** A shard that is being written: it has its name when it is whole, and goes on after a kill where its bytes end. */
export class ShardWriter {
  readonly #path: string
  readonly #header: Uint8Array
  readonly #imageBytes: number
  readonly #images: number

  constructor(folder: string, settings: FeatureSettings, flip: boolean, shard: number, images: number) {
    this.#path = shardPath(folder, settings, flip, shard)
    this.#header = headerOf(settings, images, flip)
    this.#imageBytes = featureBytes(settings)
    this.#images = images
  }

  /** Images that are there. */
  async done(): Promise<number> {
    if (await isThere(this.#path)) return this.#images
    const size = await stat(this.#partial).then(
      ({ size }) => size,
      () => 0,
    )
    return Math.min(this.#images, Math.max(0, Math.floor((size - this.#header.length) / this.#imageBytes)))
  }

  /** Writes the features of images from one on, with the header where it is the first. */
  async write(begin: number, features: readonly Uint16Array[]): Promise<void> {
    await this.#attempt(async () => {
      await makeFolder(dirname(this.#path))
      const file = await open(this.#partial, begin === 0 ? 'w' : 'r+')
      try {
        if (begin === 0) await writeAll(file, this.#header, 0)
        let at = this.#header.length + begin * this.#imageBytes
        for (const halves of features) {
          const bytes = new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength)
          await writeAll(file, bytes, at)
          at += bytes.length
        }
        if (begin + features.length === this.#images) await file.sync()
      } finally {
        await file.close()
      }
    })
  }

  /** Gives the whole shard its name. */
  async finish(): Promise<void> {
    if (!(await isThere(this.#path))) await this.#attempt(() => rename(this.#partial, this.#path))
  }

  get #partial(): string {
    return `${this.#path}.partial`
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action()
    } catch (error) {
      throw error instanceof FileAccessError ? error : new FileAccessError('write', this.#path, error)
    }
  }
}

/** One call of the system may write less than it is given. */
async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

interface Shard {
  /** Index of its first image. */
  readonly begin: number
  readonly images: number
  readonly dataStart: number
  readonly file: RandomAccessFile
}

/** The cached features of a data set, to be read image by image in any order. */
export class FeatureStore implements AsyncDisposable {
  readonly settings: FeatureSettings
  /** Bytes of one image's features: f16 [tokens, width]. */
  readonly imageBytes: number
  readonly #shards: Readonly<Record<'plain' | 'flipped', readonly Shard[]>>

  private constructor(settings: FeatureSettings, plain: readonly Shard[], flipped: readonly Shard[]) {
    this.settings = settings
    this.imageBytes = featureBytes(settings)
    this.#shards = { plain, flipped }
  }

  /** @throws {Error} where a shard is missing or is not what `settings` say, or the shards are of another number of images */
  static async open(folder: string, settings: FeatureSettings, images: number, flip: boolean): Promise<FeatureStore> {
    const opened: Shard[] = []
    try {
      const plain = await openShards(folder, settings, images, false, opened)
      const flipped = flip ? await openShards(folder, settings, images, true, opened) : []
      return new FeatureStore(settings, plain, flipped)
    } catch (error) {
      await Promise.all(opened.map(({ file }) => file.close()))
      throw error
    }
  }

  /** Reads the features of one image, or of its mirror image, into `imageBytes` bytes. */
  async readInto(index: number, flipped: boolean, out: Uint8Array): Promise<void> {
    const shards = this.#shards[flipped ? 'flipped' : 'plain']
    // All but the last hold equally many.
    const shard = shards[Math.floor(index / shards[0]!.images)]!
    await shard.file.readInto(out, shard.dataStart + (index - shard.begin) * this.imageBytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { plain, flipped } = this.#shards
    await Promise.all([...plain, ...flipped].map(({ file }) => file.close()))
  }
}

async function openShards(
  folder: string,
  settings: FeatureSettings,
  images: number,
  flip: boolean,
  opened: Shard[],
): Promise<Shard[]> {
  const shards: Shard[] = []
  const tokens = settings.grid[0] * settings.grid[1]
  const remedy = `Remove '${join(folder, LAYOUT.features, settings.encoder)}' and cache them again.`
  for (let begin = 0; begin < images; begin += shards[0]!.images) {
    const path = shardPath(folder, settings, flip, shards.length)
    const { dtype, shape, metadata } = await contentsOf(path)
    const [count] = shape
    const rest = images - begin
    const isLast = count === rest
    const isWhole = shards.length === 0 || count === shards[0]!.images
    if (
      !count ||
      dtype !== 'f16' ||
      String(shape.slice(1)) !== `${tokens},${settings.width}` ||
      count > rest ||
      !(isLast || isWhole)
    ) {
      throw new Error(
        `The cached features '${path}' are ${dtype} of shape [${shape}]; f16 of ${Math.min(shards[0]?.images ?? rest, rest)} images of ` +
          `[${tokens}, ${settings.width}] was expected. ${remedy}`,
      )
    }
    for (const [key, expected] of Object.entries(metadataOf(settings, flip))) {
      const found = metadata[key]
      if (found === expected) continue
      throw new Error(
        `The cached features '${path}' are, as it says, of ${key} ${found === undefined ? 'that it does not name' : `'${found}'`}; ` +
          `'${expected}' were expected. ${remedy}`,
      )
    }
    const file = await RandomAccessFile.open(path)
    const shard = { begin, images: count, dataStart: file.size - count * featureBytes(settings), file }
    opened.push(shard)
    shards.push(shard)
  }
  return shards
}

/** Opening checks the header against the file's size, so that the data are known to end with it. */
async function contentsOf(path: string) {
  await using file = await SafetensorsFile.open(path)
  const { dtype = 'nothing', shape = [] } = file.tensors.get(TENSOR) ?? {}
  return { dtype, shape, metadata: file.metadata }
}
