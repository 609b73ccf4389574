import { createHash } from 'node:crypto'
import type { Model } from '../models/model.ts'

/** Values of each tensor: every step of a training moves them, and to read gigabytes of them all would take a GPU's sampling seconds. */
const VALUES = 64

/** SHA-256 of the first values of every tensor of some models, by which they are told from others of their shapes. */
export async function weightsDigest(models: readonly Model[]): Promise<string> {
  const hash = createHash('sha256')
  for (const { arena, entries } of models) {
    const read = entries.map(async (entry) => {
      using all = arena.view(arena.role, entry)
      using first = all.view(0, [Math.min(VALUES, all.elements)])
      return first.data()
    })
    for (const values of await Promise.all(read)) hash.update(values)
  }
  return hash.digest('hex')
}
