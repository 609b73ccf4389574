import { ConfigurationError } from '../configuration/parse.ts'
import { AnotherVersionError } from '../configuration/stored.ts'
import { FileAccessError, FileFormatError } from '../formats/errors.ts'
import { checkpointBefore } from './checkpoint-files.ts'

/**
 * Lets a run go on from its newest checkpoint.
 *
 * @throws what `restore` throws; where that is damage to the checkpoint and there is an older one, with how to go on from that
 */
export async function restoreNewest(checkpoint: string, restore: (checkpoint: string) => Promise<void>): Promise<void> {
  try {
    await restore(checkpoint)
  } catch (error) {
    if (!isDamage(error)) throw error
    const before = await checkpointBefore(checkpoint)
    if (before === undefined) throw error
    throw new Error(`${error.message} Remove ${checkpoint} to go on from step ${before.step}, ${before.path}.`, {
      cause: error,
    })
  }
}

/** What the system says of a file that is gone, or of something else in its place. Whatever else it refuses may pass. */
const GONE: readonly (string | undefined)[] = ['ENOENT', 'ENOTDIR', 'EISDIR']

/**
 * Whether an error of reading a checkpoint says that it is damaged. One of another run's settings, of another version, or that this process
 * may not read now is whole, and whoever removes it loses steps.
 */
function isDamage(error: unknown): error is Error {
  if (error instanceof FileAccessError) return GONE.includes(error.code)
  if (error instanceof AnotherVersionError) return false
  // A state.json that is no JSON, or says what cannot be.
  return error instanceof FileFormatError || error instanceof ConfigurationError
}
