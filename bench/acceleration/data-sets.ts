import { join } from 'node:path'
import type { CommandContext } from '../../src/cli/command.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import type { Places } from './places.ts'

/** What of a command's surroundings every part is given. */
export type Terminal = Pick<CommandContext, 'out' | 'progress' | 'signal'>

/** The images, as archives with a folder for each class. */
export interface Sources {
  readonly train: string
  readonly heldOut: string
  readonly test: string
}

/** The archives of CIFAR-10 in a folder. */
export function cifarSources(folder: string): Sources {
  return {
    train: join(folder, 'train45k-rest-jpg.tar.gz'),
    heldOut: join(folder, 'train5k-jpg.zip'),
    test: join(folder, 'test1k-jpg.zip'),
  }
}

/** Side of the images. */
const SIZE = 32

/** Prepares the three sets. Those that are there stay as they are. */
export async function prepareDataSets(
  sources: Sources,
  places: Places,
  { maxImages, terminal }: { readonly maxImages?: number | undefined; readonly terminal: Terminal },
): Promise<void> {
  const { progress, signal } = terminal
  for (const name of ['train', 'heldOut', 'test'] as const) {
    let bar: ReturnType<typeof progress> | undefined
    try {
      await prepareDataset({
        source: sources[name],
        out: places[name],
        size: SIZE,
        ...(maxImages !== undefined && { maxImages }),
        signal,
        onProgress: ({ done, total }) => {
          bar ??= progress({ label: `prepare ${name}`, unit: 'images', total })
          bar.update(done)
        },
      })
    } finally {
      bar?.end()
    }
    signal.throwIfAborted()
  }
}
