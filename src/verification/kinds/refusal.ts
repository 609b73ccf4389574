import type { GoldenFile } from '../golden-set.ts'
import type { Note } from './kind.ts'

/**
 * Reads what must be refused, and says how it was. Throws where nothing complains, and where the complaint is not one of
 * the reader's own errors or does not name the file: a TypeError is a bug that happened to stop it.
 */
export async function refusalOf(
  file: GoldenFile,
  errors: readonly (new (...args: never[]) => Error)[],
  read: () => Promise<unknown>,
): Promise<Note> {
  let complaint: unknown
  try {
    await read()
  } catch (error) {
    complaint = error
  }
  if (complaint === undefined) throw new Error(`${file.absolutePath} was read without complaint; it must be refused.`)
  const own = errors.some((type) => complaint instanceof type) ? (complaint as Error) : undefined
  if (!own?.message.includes(file.absolutePath)) {
    const names = errors.map(({ name }) => name).join(' or ')
    throw new Error(
      `${file.absolutePath} was refused with "${complaint}"; expected ${names} with a message that names the file.`,
      { cause: complaint },
    )
  }
  return { note: `refused: ${own.message}` }
}
