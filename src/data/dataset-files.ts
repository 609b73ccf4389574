import { writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeAtomically } from '../formats/atomic-file.ts'
import { FileAccessError } from '../formats/errors.ts'
import { makeFolder } from '../formats/make-folder.ts'

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

/** Writes files, making the folders that they need once each. */
export class FolderWriter {
  readonly #folders = new Set<string>()

  /** @throws {FileAccessError} where the system refuses */
  async write(path: string, bytes: Uint8Array): Promise<void> {
    const folder = dirname(path)
    try {
      if (!this.#folders.has(folder)) {
        await makeFolder(folder)
        this.#folders.add(folder)
      }
      await writeFile(path, bytes)
    } catch (error) {
      throw error instanceof FileAccessError ? error : new FileAccessError('write', path, error)
    }
  }
}

/** Writes a file that no reader sees half of, and the folder that it needs. */
export function writeText(path: string, text: string): Promise<void> {
  return writeTexts(path, [text])
}

/** The same of a text in parts: all of it may be longer than a string can be. */
export async function writeTexts(path: string, parts: Iterable<string>): Promise<void> {
  await makeFolder(dirname(path))
  await writeAtomically(path, { fsync: true }, async (file) => {
    for (const part of parts) await file.append(Buffer.from(part))
  })
}

/** Waits for all, so that nothing goes on behind the caller's back, and then fails with the first failure. */
export async function settled(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
