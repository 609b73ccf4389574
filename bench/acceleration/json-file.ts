import { mkdir, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type * as z from 'zod'
import { parseJson } from '../../src/configuration/json.ts'
import { parseConfiguration } from '../../src/configuration/parse.ts'
import { writeWhole } from '../../src/formats/atomic-file.ts'
import { ifThere } from '../../src/formats/if-there.ts'

/** Writes a file that is whole whenever it is there, and its folder. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeWhole(path, `${JSON.stringify(value, null, 2)}\n`)
}

/** What a file holds, checked; undefined where it is not there. */
export async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> {
  const text = await ifThere(readFile(path, 'utf8'))
  return text === undefined ? undefined : parseConfiguration(schema, parseJson(text, path), path)
}

/** What a file holds; where it is not there it is made first. */
export async function madeOnce<S extends z.ZodType>(
  path: string,
  schema: S,
  make: () => Promise<z.input<S>>,
): Promise<z.output<S>> {
  const there = await readJson(path, schema)
  if (there !== undefined) return there
  const made = parseConfiguration(schema, await make(), path)
  await writeJson(path, made)
  return made
}

export async function isThere(path: string): Promise<boolean> {
  return (await ifThere(stat(path))) !== undefined
}
