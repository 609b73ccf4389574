import { FileFormatError } from './errors.ts'
import { BLOCK_BYTES, cString, decimal, numberOf } from './tar-fields.ts'
import type { TarInput } from './tar-input.ts'
import { expandSparse, readGnuMap, readPaxMap, type SparseMap, type SparseRecords, storedBytes } from './tar-sparse.ts'

/** One member of a tar archive. Its bytes can be read until the next member is asked for. */
export interface TarEntry {
  /** As in the archive, without a leading `./`: check it with `safeEntryName` before using it as a path. */
  readonly name: string
  readonly kind: 'file' | 'folder' | 'link' | 'other'
  readonly size: number
  /** Where its bytes begin in the unpacked archive: of a sparse file those of its first piece. */
  readonly offset: number
  /** Of a file that was stored without its holes. */
  readonly sparse: SparseMap | undefined
  read(): Promise<Uint8Array>
}

/** Names and attributes that do not fit a header stand in members of their own; a larger one is damage or an attack. */
const MAX_EXTENSION_BYTES = 2 ** 20

/** Of a header, POSIX.1-1988 (pax, "ustar Interchange Format"): where each field begins and how long it is. */
const FIELDS = {
  name: [0, 100],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 6],
  prefix: [345, 155],
} as const

/** Type flags; each other one (devices, say) is a member that holds no file of its own. */
const TYPE = {
  file: '0',
  oldFile: '\0',
  contiguous: '7',
  gnuSparse: 'S',
  hardLink: '1',
  symbolicLink: '2',
  folder: '5',
  gnuLongName: 'L',
  gnuLongLink: 'K',
} as const
const PAX = { next: 'x', all: 'g' } as const
const PAX_SPARSE = 'GNU.sparse.'

/**
 * The members of a tar archive, front to back: POSIX ustar, pax's and GNU's long names and sizes, GNU's sparse files with their
 * holes. Members that only describe the next one are not listed.
 *
 * @throws {FileFormatError} for a damaged header, and for an archive that ends before the blocks of zeros that close one
 */
export async function* readTar(input: TarInput): AsyncGenerator<TarEntry, void, undefined> {
  let described: Attributes = {}
  let always: Attributes = {}
  let last = 'its beginning'
  for (;;) {
    const block = await input.read(BLOCK_BYTES, last)
    if (block.every((byte) => byte === 0)) {
      // The closing blocks are two; a lone block of zeros is what a few writers leave.
      return
    }
    const header = parseHeader(input, block, last)
    const { type } = header
    const size = described.size ?? header.size
    const padding = (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES
    if (type === TYPE.gnuLongName || type === TYPE.gnuLongLink || type === PAX.next || type === PAX.all) {
      const bytes = await readExtension(input, size, last)
      await input.skip(padding, last)
      if (type === TYPE.gnuLongName) described = { ...described, path: cString(bytes) }
      else if (type === PAX.next) described = { ...described, ...paxAttributes(input, bytes, last) }
      else if (type === PAX.all) always = { ...always, ...paxAttributes(input, bytes, last) }
      continue
    }
    const { sparse: records } = described
    // A sparse file's path tells a tar that knows none where to put the pieces; its name is among the records.
    const path = new Map(records).get('name') ?? described.path ?? always.path ?? header.name
    const name = path.replace(/^(?:\.\/)+/, '')
    described = {}
    last = `the member ${JSON.stringify(name)}`
    const member = last
    let sparse: SparseMap | undefined
    if (type === TYPE.gnuSparse) sparse = await readGnuMap(input, block, size, member)
    else if (records) sparse = await readPaxMap(input, records, size, member)
    const stored = sparse ? storedBytes(sparse) : size
    const offset = input.position
    let isRead = false
    yield {
      name,
      kind: kindOf(type, name),
      size: sparse?.size ?? size,
      offset,
      sparse,
      read: async () => {
        isRead = true
        const bytes = await input.read(stored, member)
        return sparse ? expandSparse(sparse, bytes) : bytes
      },
    }
    await input.skip(isRead ? padding : stored + padding, last)
  }
}

interface Attributes {
  readonly path?: string
  readonly size?: number | undefined
  /** Undefined where it has none. */
  readonly sparse?: SparseRecords
}

interface Header {
  readonly name: string
  readonly size: number
  readonly type: string
}

function parseHeader(input: TarInput, block: Uint8Array, after: string): Header {
  const text = (field: keyof typeof FIELDS): string => {
    const [begin, length] = FIELDS[field]
    return cString(block.subarray(begin, begin + length))
  }
  const fault = (problem: string): FileFormatError =>
    new FileFormatError(input.path, `the tar archive is damaged after ${after}: ${problem}.`)
  if (!checksumsOf(block).includes(Number.parseInt(text('checksum').trim(), 8))) {
    if (input.position === BLOCK_BYTES) throw new FileFormatError(input.path, 'this is no tar archive.')
    throw fault('there is no header where the next member should begin')
  }
  const size = numberOf(block, FIELDS.size)
  if (size === undefined) throw fault('the size of the next member is no number')
  const [magicAt, magicBytes] = FIELDS.magic
  // GNU's own format has times where POSIX has the prefix.
  const isPosix = Buffer.from(block.subarray(magicAt, magicAt + magicBytes)).toString('latin1') === 'ustar\0'
  const prefix = isPosix ? text('prefix') : ''
  const name = prefix === '' ? text('name') : `${prefix}/${text('name')}`
  return { name, size, type: String.fromCharCode(block[FIELDS.type[0]]!) }
}

/** The sum of the header's bytes, its own field read as spaces: unsigned as POSIX has it, and signed as some old writers. */
function checksumsOf(block: Uint8Array): readonly [unsigned: number, signed: number] {
  const [begin, length] = FIELDS.checksum
  let unsigned = 0
  let signed = 0
  for (const [i, byte] of block.entries()) {
    const value = i >= begin && i < begin + length ? 0x20 : byte
    unsigned += value
    signed += value < 0x80 ? value : value - 0x100
  }
  return [unsigned, signed]
}

async function readExtension(input: TarInput, size: number, after: string): Promise<Uint8Array> {
  if (size <= MAX_EXTENSION_BYTES) return input.read(size, after)
  throw new FileFormatError(input.path, `the tar archive is damaged after ${after}: it has a name of ${size} bytes.`)
}

/** Records of `LENGTH KEY=VALUE\n`, the length being that of the whole record. */
function paxAttributes(input: TarInput, bytes: Uint8Array, after: string): Attributes {
  const fault = (problem: string): FileFormatError =>
    new FileFormatError(input.path, `the tar archive is damaged after ${after}: ${problem}.`)
  const found: { path?: string; size?: number | undefined; sparse?: [string, string][] } = {}
  for (let at = 0; at < bytes.length; ) {
    const [, digits] = /^(\d+) /.exec(Buffer.from(bytes.subarray(at, at + 20)).toString('latin1')) ?? []
    const end = at + Number(digits)
    if (digits === undefined || end <= at + digits.length + 1 || end > bytes.length) {
      throw fault('a pax header has a record of the wrong length')
    }
    const record = Buffer.from(bytes.subarray(at + digits.length + 1, end - 1)).toString('utf8')
    const equals = record.indexOf('=')
    const key = record.slice(0, equals)
    const value = record.slice(equals + 1)
    if (key === 'path') found.path = value
    else if (key === 'size') {
      found.size = decimal(value)
      if (found.size === undefined) {
        const shown = value.length > 40 ? `${value.slice(0, 40)}…` : value
        throw fault(`a pax header gives the next member the size "${shown}", which is no number of bytes`)
      }
    } else if (key.startsWith(PAX_SPARSE)) {
      found.sparse ??= []
      found.sparse.push([key.slice(PAX_SPARSE.length), value])
    }
    at = end
  }
  return found
}

function kindOf(type: string, name: string): TarEntry['kind'] {
  if (type === TYPE.folder) return 'folder'
  if (type === TYPE.hardLink || type === TYPE.symbolicLink) return 'link'
  // Before ustar a folder was told by its name.
  if (type === TYPE.oldFile || type === TYPE.file) return name.endsWith('/') ? 'folder' : 'file'
  return type === TYPE.contiguous || type === TYPE.gnuSparse ? 'file' : 'other'
}
