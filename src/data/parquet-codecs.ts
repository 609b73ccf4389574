import * as zlib from 'node:zlib'
import type { Unpack } from '../formats/parquet-page-values.ts'
import { unpackSnappy } from '../formats/snappy.ts'

/** Node has Zstandard since 22.15. */
const zstd = (zlib as { zstdDecompressSync?: (data: Uint8Array, options: { maxOutputLength: number }) => Uint8Array })
  .zstdDecompressSync

/** Of a limit of 0 bytes zlib takes none. */
const limited = (size: number) => ({ maxOutputLength: Math.max(size, 1) })

/** What unpacks pages, by the codecs' names in the format. */
export const CODECS = {
  UNCOMPRESSED: (bytes) => bytes,
  SNAPPY: ofSome(unpackSnappy),
  GZIP: ofSome((bytes, size) => zlib.gunzipSync(bytes, limited(size))),
  BROTLI: ofSome((bytes, size) => zlib.brotliDecompressSync(bytes, limited(size))),
  ...(zstd && { ZSTD: ofSome((bytes, size) => zstd(bytes, limited(size))) }),
} satisfies Readonly<Record<string, Unpack>>

/** A page of nulls alone has nothing to unpack. */
function ofSome(unpack: Unpack): Unpack {
  return (bytes, size) => (bytes.length === 0 && size === 0 ? bytes : unpack(bytes, size))
}

/** @throws {Error} for a codec that there is none for */
export function codecNamed(name: string | undefined): Unpack {
  const codec = name !== undefined && name in CODECS ? CODECS[name as keyof typeof CODECS] : undefined
  if (codec) return codec
  if (name !== 'ZSTD') throw new Error(`it is packed in a way that is not read here (${name ?? 'unnamed'})`)
  throw new Error(`it is packed with Zstandard, which Node ${process.versions.node} cannot unpack: use 22.15`)
}
