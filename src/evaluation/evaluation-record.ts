import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeAtomically } from '../formats/atomic-file.ts'

/** Writes what an evaluation found, as the report reads it (report/evaluations.ts), and the folder where there is none. */
export async function writeRecord(path: string, record: object): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const bytes = Buffer.from(`${JSON.stringify(record, null, 2)}\n`)
  // `repa watch` may read the folder at any moment: a file that is there is whole.
  await writeAtomically(path, {}, (file) => file.append(bytes))
}
