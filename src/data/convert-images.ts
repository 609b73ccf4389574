/** The first step of a preparation, the reference tool's `convert`: images of any size to square PNG files. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { FolderWriter, imageName, settled } from './dataset-files.ts'
import { ImageDecodeError } from './image-decoding.ts'
import type { ImageSource, SourceImage } from './image-sources.ts'
import { LAYOUT } from './layout.ts'
import { mapInOrder } from './ordered-map.ts'
import type { JournalEntry, PrepareJournal } from './prepare-journal.ts'
import type { TrainingImageOptions } from './training-image.ts'
import { TrainingImagePool } from './training-image-pool.ts'

/** Images that share one line-up of writes and one journal write. */
const BLOCK_IMAGES = 64

/** For fewer images it does not pay to start threads. */
const IMAGES_FOR_THREADS = 200

export interface ConvertImagesOptions extends TrainingImageOptions {
  readonly out: string
  /** What to do with an image file that cannot be read: leave it out and name it, or stop. */
  readonly onCorrupt: 'skip' | 'fail'
  readonly signal: AbortSignal | undefined
  readonly onProgress: (done: number, skipped: number) => void
}

/** One image of the source on its way: its place in the data set is known only when those before it are done. */
interface Rendered {
  readonly source: SourceImage
  readonly png?: Uint8Array
  readonly reason?: string
}

/**
 * Writes `images/00000/img00000000.png` and on, numbered without gaps in the order of the source.
 *
 * @param entries what the journal says is done; grows by what is done now
 */
export async function convertImages(
  source: ImageSource,
  images: readonly SourceImage[],
  journal: PrepareJournal,
  entries: JournalEntry[],
  options: ConvertImagesOptions,
): Promise<void> {
  const { out, onCorrupt, signal, onProgress } = options
  requireOrder(journal, entries, images)
  const files = new FolderWriter()
  const pending = images.slice(entries.length)
  let taken = entries.filter((entry) => 'label' in entry).length
  const { transform, size, wideHeight } = options
  const threads = pending.length < IMAGES_FOR_THREADS ? 0 : availableParallelism()
  const pool = new TrainingImagePool(threads, { transform, size, wideHeight })
  const render = async (image: SourceImage): Promise<Rendered> => {
    try {
      const png = await pool.render(await source.read(image), image.name)
      return png ? { source: image, png } : { source: image, reason: 'it is too small for the strip' }
    } catch (error) {
      if (!(error instanceof ImageDecodeError)) throw error
      if (onCorrupt === 'fail') throw withAdvice(error)
      return { source: image, reason: error.reason }
    }
  }
  const writeBlock = async (block: readonly Rendered[]): Promise<void> => {
    const pngs = block.flatMap(({ png }) => (png ? [png] : []))
    await settled(pngs.map((png, i) => files.write(join(out, LAYOUT.images, imageName(taken + i)), png)))
    const done = block.map(({ source: { name, label }, reason }) =>
      reason === undefined ? { name, label } : { name, reason },
    )
    await journal.append(done)
    entries.push(...done)
    taken += pngs.length
  }
  const report = (): void => onProgress(entries.length, entries.length - taken)
  // One block is written while the next is rendered.
  let block: Rendered[] = []
  let writing: Promise<void> = Promise.resolve()
  const flush = async (): Promise<void> => {
    await writing
    report()
    writing = writeBlock(block)
    writing.catch(() => {})
    block = []
  }
  try {
    // Enough that reading never leaves a thread idle.
    for await (const rendered of mapInOrder(pending, 2 * availableParallelism() + 2, render)) {
      block.push(rendered)
      if (signal?.aborted) break
      if (block.length >= BLOCK_IMAGES) await flush()
    }
    if (block.length > 0) await flush()
  } finally {
    await settled([writing, pool.close()])
  }
  report()
  signal?.throwIfAborted()
}

/** An image's number is its place in the journal: out of order, labels would go to other images. */
function requireOrder(
  { path }: PrepareJournal,
  entries: readonly JournalEntry[],
  images: readonly SourceImage[],
): void {
  const place = entries.findIndex(({ name }, i) => name !== images[i]?.name)
  if (place < 0) return
  const there = images[place] ? `the source has '${images[place].name}'` : 'the source has none'
  throw new Error(
    `'${path}' has '${entries[place]!.name}' as image ${place}, where ${there}: two calls have written it at a time. ` +
      'Remove the folder and prepare it again, by one call.',
  )
}

/** To remove it is no advice: what is done is of the source as it was listed, and would have to be made again. */
function withAdvice(error: ImageDecodeError): Error {
  return new Error(
    `${error.message} Replace it, or leave it out by \`onCorrupt: 'skip'\`: the call goes on from there.`,
    { cause: error },
  )
}
