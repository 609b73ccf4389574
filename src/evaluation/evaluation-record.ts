import { dirname } from 'node:path'
import { writeWhole } from '../formats/atomic-file.ts'
import { makeFolder } from '../formats/make-folder.ts'

/** Writes what an evaluation found, as the report reads it (report/evaluations.ts), and the folder where there is none. */
export async function writeRecord(path: string, record: object): Promise<void> {
  await makeFolder(dirname(path))
  // `repa watch` may read the folder at any moment.
  await writeWhole(path, `${JSON.stringify(record, null, 2)}\n`)
}
