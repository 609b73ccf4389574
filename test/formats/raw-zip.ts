import { crc32, deflateRawSync } from 'node:zlib'

export interface RawEntry {
  name?: Uint8Array | string
  data?: Uint8Array
  method?: number
  flags?: number
  size?: number
  compressedSize?: number
  sum?: number
  /** In the central directory only. */
  offset?: number
  extra?: Uint8Array
}

/** An archive made by hand, so that each field can be wrong. */
export function rawZip(
  entries: readonly RawEntry[],
  end: { count?: number; size?: number; offset?: number; disk?: number } = {},
) {
  const parts: Buffer[] = []
  const central: Buffer[] = []
  let position = 0
  for (const {
    name = 'a',
    data = Buffer.from('data'),
    method = 0,
    flags = 0,
    extra = Buffer.alloc(0),
    ...rest
  } of entries) {
    const encoded = Buffer.from(name)
    const packed = method === 8 ? deflateRawSync(data) : Buffer.from(data)
    const { size = data.length, compressedSize = packed.length, sum = crc32(data), offset = position } = rest
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(flags, 2)
    fields.writeUInt16LE(method, 4)
    fields.writeUInt32LE(sum, 10)
    fields.writeUInt32LE(compressedSize, 14)
    fields.writeUInt32LE(size, 18)
    fields.writeUInt16LE(encoded.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, encoded, packed])
    fields.writeUInt16LE(extra.length, 24)
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    central.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, tail, encoded, extra]))
    parts.push(local)
    position += local.length
  }
  const directory = Buffer.concat(central)
  const record = Buffer.alloc(22)
  record.write('PK\x05\x06', 'latin1')
  record.writeUInt16LE(end.disk ?? 0, 4)
  record.writeUInt16LE(end.count ?? entries.length, 8)
  record.writeUInt16LE(end.count ?? entries.length, 10)
  record.writeUInt32LE(end.size ?? directory.length, 12)
  record.writeUInt32LE(end.offset ?? position, 16)
  return Buffer.concat([...parts, directory, record])
}
