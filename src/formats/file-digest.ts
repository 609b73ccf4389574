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
