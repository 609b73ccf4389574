export interface RawMember {
  readonly name: string
  readonly data?: Uint8Array | string
  readonly type?: string
  readonly prefix?: string
  /** The size field, byte for byte; the data's length in octal where it is not given. */
  readonly sizeField?: Uint8Array | string
  readonly checksum?: number
  /** `ustar\0` and `00` by default; GNU's is `ustar  \0`. */
  readonly magic?: string
  /** Other fields of the header, by where they begin. */
  readonly fields?: Readonly<Record<number, string>>
}

/** A tar archive made by hand, so that each field can be wrong; two blocks of zeros close it. */
export function rawTar(members: readonly RawMember[], closingBlocks = 2): Buffer {
  const blocks = members.flatMap((member) => {
    const data = Buffer.from(member.data ?? '')
    return [header(member, data.length), data, Buffer.alloc((512 - (data.length % 512)) % 512)]
  })
  return Buffer.concat([...blocks, Buffer.alloc(512 * closingBlocks)])
}

function header(
  { name, type = '0', prefix = '', sizeField, checksum, magic = 'ustar\x0000', fields = {} }: RawMember,
  size: number,
) {
  const block = Buffer.alloc(512)
  block.write(name, 0, 100)
  block.write('0000644\0', 100)
  Buffer.from(sizeField ?? `${size.toString(8).padStart(11, '0')}\0`).copy(block, 124)
  block.write('        ', 148)
  block.write(type, 156)
  block.write(magic, 257)
  block.write(prefix, 345, 155)
  for (const [at, text] of Object.entries(fields)) block.write(text, Number(at), 'latin1')
  const sum = checksum ?? block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

/** One record of a pax header. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  const bytes = Buffer.byteLength(rest)
  let length = bytes + String(bytes).length
  if (bytes + String(length).length > length) length = bytes + String(length).length
  return length + rest
}
