import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { FeatureSettings } from './dataset-info.ts'
import { featureBytes } from './feature-store.ts'
import { LAYOUT } from './layout.ts'

/** How much the features will take. Throws where there is less room than that. */
export async function announceFeatures(
  out: string,
  features: readonly FeatureSettings[],
  images: number,
  flip: boolean,
): Promise<string> {
  const folder = join(out, LAYOUT.features)
  const parts = features.map((settings) => {
    const [rows, columns] = settings.grid
    return `${settings.encoder} ${rows * columns} tokens × ${settings.width} × 2 bytes`
  })
  const bytes = features.reduce((sum, settings) => sum + featureBytes(settings), 0) * images * (flip ? 2 : 1)
  const { bavail, bsize } = await statfs(out)
  const left = await Promise.all(features.map(({ encoder }) => bytesBelow(join(folder, encoder))))
  const free = left.reduce((sum, bytes) => sum + bytes, bavail * bsize)
  const count = `${images.toLocaleString('en')} images${flip ? ' and their mirror images' : ''}`
  const sentence = `The features of ${count} (${parts.join(', ')}) take ${gigabytes(bytes)} in '${folder}'`
  if (bytes > free) {
    throw new Error(`${sentence}, where ${gigabytes(free)} are free. Free some space, or train without caching them.`)
  }
  return `${sentence}; ${gigabytes(free)} are free there.`
}

/** What a killed run has left of an encoder's features counts as free: it is what is needed. Those of others are not. */
async function bytesBelow(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => [])
  const sizes = await Promise.all(names.map(async (name) => stat(join(folder, name))))
  return sizes.reduce((sum, entry) => sum + (entry.isFile() ? entry.size : 0), 0)
}

function gigabytes(bytes: number): string {
  const digits = bytes < 1e9 ? 2 : 1
  return `${(bytes / 1e9).toFixed(digits)} GB`
}
