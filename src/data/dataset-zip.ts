import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ZipWriter } from '../formats/zip-writer.ts'
import { parseDatasetJson } from './dataset-json.ts'
import { LAYOUT } from './layout.ts'

/**
 * Packs one step's folder as the reference's tool writes it where its destination is an archive: stored entries, the images or
 * latents in their order, dataset.json last.
 *
 * @throws {FileAccessError} where the system refuses, and the signal's reason once it has aborted; nothing is left then
 */
export async function packDataset(folder: string, path: string, signal: AbortSignal | undefined): Promise<void> {
  const file = join(folder, LAYOUT.labels)
  const json = await readFile(file)
  const labels = parseDatasetJson(json.toString('utf8'), file) ?? []
  const zip = await ZipWriter.create(path, { fsync: true })
  try {
    for (const [name] of labels) {
      signal?.throwIfAborted()
      await zip.add(name, await readFile(join(folder, name)))
    }
    await zip.add(LAYOUT.labels, json)
  } catch (error) {
    await zip.abort()
    throw error
  }
  await zip.close()
}
