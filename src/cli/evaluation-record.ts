import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Writes what an evaluation found, as the report reads it (report/evaluations.ts), and the folder where there is none. */
export async function writeRecord(path: string, record: object): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${JSON.stringify(record, null, 2)}\n`)
}
