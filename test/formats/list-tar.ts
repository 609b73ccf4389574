import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { readTar } from '../../src/formats/tar.ts'
import { openTarInput } from '../../src/formats/tar-input.ts'
import { temporaryFolder } from '../temporary-folder.ts'

export interface Listed {
  readonly name: string
  readonly kind: string
  /** Undefined where it was not asked for. */
  readonly text: string | undefined
}

/** Every member; `wanted` tells whose bytes are read. */
export async function listTar(path: string, wanted: (name: string) => boolean = () => true): Promise<Listed[]> {
  const input = await openTarInput(path)
  const listed: Listed[] = []
  try {
    for await (const { name, kind, read } of readTar(input)) {
      listed.push({ name, kind, text: wanted(name) ? Buffer.from(await read()).toString('latin1') : undefined })
    }
  } finally {
    await input.close()
  }
  return listed
}

/** Writes an archive into a folder of its own. @param kind `gzip` packs it */
export async function placeTar(kind: string, bytes: Uint8Array): Promise<string> {
  const path = join(temporaryFolder(), kind === 'gzip' ? 'a.tar.gz' : 'a.tar')
  writeFileSync(path, kind === 'gzip' ? gzipSync(bytes) : bytes)
  return path
}
