import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { FileAccessError } from './errors.ts'
import { isShardIndex, readShardIndex } from './safetensors-shards.ts'

/** SHA-256 of a file's bytes, in hexadecimal; the file is read in pieces. Of an index of shards it is that of the index and of all shards. */
export async function fileDigest(path: string): Promise<string> {
  if (!isShardIndex(path)) return digestOf(path)
  const shards = new Set((await readShardIndex(path)).values())
  return digestOfAll(await Promise.all([path, ...shards].map(digestOf)))
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer)
  } catch (error) {
    throw new FileAccessError('read', path, error)
  }
  return hash.digest('hex')
}

/** SHA-256 over several files' bytes, whatever they are called and in whatever order they are named. */
export async function filesDigest(paths: readonly string[]): Promise<string> {
  return digestOfAll(await Promise.all(paths.map(fileDigest)))
}

const digestOfAll = (digests: readonly string[]): string =>
  createHash('sha256').update(digests.toSorted().join('\n')).digest('hex')
