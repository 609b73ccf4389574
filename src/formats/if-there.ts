import { stat } from 'node:fs/promises'

/** What a call of the file system gives, or undefined where there is no such file or folder; whatever else fails it still rejects with. */
export async function ifThere<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Whether there is a file or folder of this path. Throws where that cannot be seen: in a folder that is closed to the user, say. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code!)) return false
    throw error
  }
}
