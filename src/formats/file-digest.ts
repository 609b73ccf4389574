import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { FileAccessError } from './errors.ts'

/** SHA-256 of a file's bytes, in hexadecimal; the file is read in pieces. */
export async function fileDigest(path: string): Promise<string> {
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
  const digests = await Promise.all(paths.map(fileDigest))
  return createHash('sha256').update(digests.sort().join('\n')).digest('hex')
}
