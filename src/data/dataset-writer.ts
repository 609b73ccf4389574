import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeNpy } from '../formats/npy.ts'
import { hostFloat32 } from '../tensor/host-tensor.ts'
import { LAYOUT, type PrepareSettings } from './dataset-info.ts'
import type { SourceImage } from './image-sources.ts'
import { type LatentEncoder, latentShape } from './latent-encoder.ts'
import type { JournalEntry, PrepareJournal } from './prepare-journal.ts'
import type { TrainingImage } from './training-image.ts'

/** Without an encoder there are no batches; this many images share one line-up of writes and one journal write. */
const BLOCK_IMAGES = 64

/** One image of the source on its way: its place in the data set is known only when those before it are done. */
export interface Rendered {
  readonly source: SourceImage
  readonly image?: TrainingImage
  readonly reason?: string
}

/** Numbers the images, encodes them and writes their files, block after block. */
export class DatasetWriter {
  /** What is done, from the source's first image on. */
  readonly entries: JournalEntry[]
  readonly #out: string
  readonly #settings: PrepareSettings
  readonly #encoder: LatentEncoder | undefined
  readonly #journal: PrepareJournal
  #taken: number
  readonly #folders = new Set<string>()

  constructor(
    out: string,
    settings: PrepareSettings,
    latents: 'none' | LatentEncoder,
    journal: PrepareJournal,
    entries: readonly JournalEntry[],
  ) {
    this.#out = out
    this.#settings = settings
    this.#encoder = latents === 'none' ? undefined : latents
    this.#journal = journal
    this.entries = [...entries]
    this.#taken = entries.filter((entry) => 'label' in entry).length
  }

  /** How many of the entries became images of the set. */
  get taken(): number {
    return this.#taken
  }

  /** Images that one call of `write` should bring. */
  get blockImages(): number {
    return this.#encoder?.batchSize ?? BLOCK_IMAGES
  }

  /** Writes the files of the next images of the source, then their journal lines. */
  async write(block: readonly Rendered[]): Promise<void> {
    const images = block.flatMap(({ image }) => (image ? [image] : []))
    const first = this.#taken
    const pngs = images.map(({ png }, i) => this.#writeFile(LAYOUT.images, imageName(first + i), png))
    const written = await Promise.allSettled([...pngs, this.#writeLatents(images, first)])
    const failed = written.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    const entries = block.map(({ source, reason }) =>
      reason === undefined ? { name: source.name, label: source.label } : { name: source.name, reason },
    )
    await this.#journal.append(entries)
    this.entries.push(...entries)
    this.#taken += images.length
  }

  async #writeLatents(images: readonly TrainingImage[], first: number): Promise<void> {
    const encoder = this.#encoder
    if (!encoder || images.length === 0) return
    const { size } = this.#settings
    const shape = latentShape(encoder, size)
    const length = shape[0] * shape[1] * shape[2]
    const latents = await encoder.encode(
      images.map(({ pixels }) => pixels),
      size,
    )
    const wrong = latents.find((latent) => latent.length !== length)
    if (latents.length !== images.length || wrong) {
      throw new Error(
        `The autoencoder '${encoder.name}' gave ${latents.length} latents of ${(wrong ?? latents[0])?.length} floats ` +
          `for ${images.length} images; ${length} floats each, of shape [${shape}], were expected.`,
      )
    }
    await Promise.all(
      latents.map((latent, i) =>
        this.#writeFile(LAYOUT.latents, latentName(first + i), encodeNpy(hostFloat32(latent, shape))),
      ),
    )
  }

  async #writeFile(kind: string, name: string, bytes: Uint8Array): Promise<void> {
    const folder = join(this.#out, kind, name.slice(0, 5))
    if (!this.#folders.has(folder)) {
      await mkdir(folder, { recursive: true })
      this.#folders.add(folder)
    }
    await writeFile(join(this.#out, kind, name), bytes)
  }
}

/** The file of an image, relative to `images/`: the folder is the first five of the eight digits. */
export function imageName(index: number): string {
  const digits = String(index).padStart(8, '0')
  return `${digits.slice(0, 5)}/img${digits}.png`
}

/** The file of a latent, relative to `vae-sd/`. */
export function latentName(index: number): string {
  const digits = String(index).padStart(8, '0')
  return `${digits.slice(0, 5)}/img-mean-std-${digits}.npy`
}
