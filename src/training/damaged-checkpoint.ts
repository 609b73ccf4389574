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
    // A checkpoint of another run's settings is none that is damaged, and what names no file of it is of the device, or of another process.
    if (!(error instanceof Error) || error instanceof RangeError || !error.message.includes(checkpoint)) throw error
    const before = await checkpointBefore(checkpoint)
    if (before === undefined) throw error
    const advice = `Remove ${checkpoint} to go on from step ${before.step}, ${before.path}.`
    // Heard from another process, which has said it already.
    if (error.message.endsWith(advice)) throw error
    throw new Error(`${error.message} ${advice}`, { cause: error })
  }
}
