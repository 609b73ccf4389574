/** How processes share the encoding of images: in rounds, in each of which every one of them has a batch at most. */
import { StoppedByAnother, type World } from '../distributed/world.ts'
import { type ImageRange, type PixelBatch, type PreparedImages, pixelBatches } from './prepared-images.ts'

export interface SharedBatches {
  /** Each process's batches, in the order in which it encodes them. The same in all of them. */
  readonly parts: readonly (readonly ImageRange[])[]
  readonly world: World
  readonly signal: AbortSignal | undefined
  /** Encodes a batch of this process's part, and gives what writes it: one is written while the next is encoded. */
  readonly encode: (batch: PixelBatch) => Promise<() => Promise<void>>
  /** All processes have written one more round: so many images. */
  readonly onRound: (images: number) => void | Promise<void>
}

/**
 * Every round ends with a meeting, so that no process is ahead of another by more than one: a wish to stop is heard soon, and what has been
 * written is all of the first rounds.
 *
 * @throws the signal's reason once it has aborted, after what was encoded is written
 * @throws {StoppedByAnother} likewise, where another process wants to stop
 */
export async function encodeShared(
  images: PreparedImages,
  { parts, world, signal, encode, onRound }: SharedBatches,
): Promise<void> {
  const batches = pixelBatches(images, parts[world.rank]!)
  const encodeNext = async (): Promise<() => Promise<void>> => {
    const { value: batch } = await batches.next()
    // A round may be too short for all to have a batch.
    return batch ? await encode(batch) : async () => {}
  }
  let writing: Promise<void> = Promise.resolve()
  const endRound = async (round: number): Promise<void> => {
    await writing
    await world.meet()
    await onRound(parts.reduce((sum, part) => sum + lengthOf(part[round]), 0))
  }
  const rounds = parts.reduce((most, { length }) => Math.max(most, length), 0)
  try {
    for (let round = 0; round < rounds; round++) {
      const goes = await world.begins(round, signal?.aborted ?? false)
      const write = goes ? await encodeNext() : undefined
      if (round > 0) await endRound(round - 1)
      if (!write) {
        signal?.throwIfAborted()
        throw new StoppedByAnother('another process was asked to stop; the same call goes on from there.')
      }
      writing = write()
      writing.catch(() => {})
    }
    if (rounds > 0) await endRound(rounds - 1)
  } finally {
    await Promise.allSettled([writing, batches.return()])
  }
}

const lengthOf = (range: ImageRange | undefined): number => (range ? range.end - range.begin : 0)
