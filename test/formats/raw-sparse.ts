import { paxRecord, type RawMember } from './raw-tar.ts'

/** The ways of GNU tar to store a file with holes; its manual, "Storing Sparse Files". */
export const SPARSE_FORMATS = ['gnu', 'pax 0.0', 'pax 0.1', 'pax 1.0'] as const
export type SparseFormat = (typeof SPARSE_FORMATS)[number]

/** A file with holes. */
export interface SparseFile {
  readonly name: string
  /** In bytes, with its holes. */
  readonly size: number
  /** What lies between the holes: where it begins, and its bytes. */
  readonly pieces: readonly (readonly [offset: number, text: string])[]
}

/** The members that stand for such a file. */
export function rawSparse(format: SparseFormat, { name, size, pieces }: SparseFile): RawMember[] {
  const stored = pieces.map(([, text]) => text).join('')
  const map = pieces.map(([offset, text]) => [offset, text.length] as const)
  if (format === 'gnu') {
    const table = map.map((piece) => piece.map(octal).join(''))
    const inHeader = table.splice(0, 4).join('')
    const extensions: string[] = []
    while (table.length > 0) {
      const block = table.splice(0, 21).join('').padEnd(504, '\0')
      extensions.push((block + (table.length > 0 ? '\x01' : '')).padEnd(512, '\0'))
    }
    return [
      {
        name,
        type: 'S',
        magic: 'ustar  \0',
        sizeField: octal(stored.length),
        fields: { 386: inHeader, 482: extensions.length > 0 ? '\x01' : '\0', 483: octal(size) },
        data: extensions.join('') + stored,
      },
    ]
  }
  const records = (...pairs: readonly (readonly [key: string, value: string | number])[]): RawMember => ({
    name: 'PaxHeaders/0',
    type: 'x',
    data: pairs.map(([key, value]) => paxRecord(`GNU.sparse.${key}`, String(value))).join(''),
  })
  const hidden = `GNUSparseFile.0/${name}`
  if (format === 'pax 0.0') {
    const listed = map.flatMap(([offset, length]) => [['offset', offset] as const, ['numbytes', length] as const])
    return [records(['size', size], ['numblocks', map.length], ...listed), { name, data: stored }]
  }
  if (format === 'pax 0.1') {
    const described = records(['size', size], ['numblocks', map.length], ['name', name], ['map', map.join(',')])
    return [described, { name: hidden, data: stored }]
  }
  const lines = [map.length, ...map.flat()].map((number) => `${number}\n`).join('')
  const leading = lines.padEnd(Math.ceil(lines.length / 512) * 512, '\0')
  return [
    records(['major', 1], ['minor', 0], ['name', name], ['realsize', size]),
    { name: hidden, data: leading + stored },
  ]
}

/** The file as it is unpacked. */
export function wholeText({ size, pieces }: SparseFile): string {
  let text = ''
  for (const [offset, piece] of pieces) text = text.padEnd(offset, '\0') + piece
  return text.padEnd(size, '\0')
}

export function octal(value: number): string {
  return `${value.toString(8).padStart(11, '0')}\0`
}
