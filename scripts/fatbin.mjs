// Machine code of an ELF file's GPU kernels: leaves that of one architecture in, for an archive that goes to one machine.
//
// nvcc puts a file's kernels into a container in the section .nv_fatbin: a header (magic, version, its own size, the entries' bytes), then
// entries, each a header (kind, version, its own size, its payload's bytes, ..., the architecture at byte 28) and a payload, machine code
// or PTX. The driver takes the entry that fits the GPU best. Containers stay where they are, for the program knows them by address: what
// is taken out leaves zeros behind the container's new end, and those compress to nothing.

const MAGIC = 0xba55ed50

/** Where the section lies in the file: [first byte, end). */
function fatbinSection(bytes) {
  if (bytes.toString('latin1', 0, 4) !== '\x7fELF' || bytes[4] !== 2) throw new Error('This is no 64-bit ELF file.')
  const [headers, size, count, names] = [
    Number(bytes.readBigUInt64LE(0x28)),
    ...[0x3a, 0x3c, 0x3e].map((at) => bytes.readUInt16LE(at)),
  ]
  const field = (section, at) => Number(bytes.readBigUInt64LE(headers + section * size + at))
  for (let section = 0; section < count; section++) {
    const name = field(names, 0x18) + bytes.readUInt32LE(headers + section * size)
    if (bytes.toString('latin1', name, bytes.indexOf(0, name)) !== '.nv_fatbin') continue
    return [field(section, 0x18), field(section, 0x18) + field(section, 0x20)]
  }
  return [0, 0]
}

/**
 * Takes the kernels for other architectures than `architecture` (90 for sm_90 and sm_90a) out of an ELF file's bytes, in place, where a
 * container has some for it.
 * @param {Buffer} bytes
 * @param {number} architecture
 * @returns {{ kept: number, of: number }} bytes of kernels, of which so many were left in
 * @throws {Error} where it has kernels, none of them for this architecture
 */
export function keepArchitecture(bytes, architecture) {
  const [first, end] = fatbinSection(bytes)
  const total = { kept: 0, of: 0 }
  let found = false
  for (let at = first; at + 16 <= end; ) {
    if (bytes.readUInt32LE(at) !== MAGIC) {
      at += 8
      continue
    }
    const begin = at + bytes.readUInt16LE(at + 6)
    const behind = begin + Number(bytes.readBigUInt64LE(at + 8))
    const entries = []
    for (let entry = begin; entry < behind; ) {
      const next = entry + bytes.readUInt32LE(entry + 4) + Number(bytes.readBigUInt64LE(entry + 8))
      entries.push({ entry, next, fits: bytes.readUInt32LE(entry + 28) === architecture })
      entry = next
    }
    const kept = entries.some(({ fits }) => fits) ? entries.filter(({ fits }) => fits) : entries
    found ||= kept[0]?.fits ?? false
    let to = begin
    for (const { entry, next } of kept) {
      bytes.copy(bytes, to, entry, next)
      to += next - entry
    }
    bytes.fill(0, to, behind)
    bytes.writeBigUInt64LE(BigInt(to - begin), at + 8)
    total.kept += to - begin
    total.of += behind - begin
    at = behind
  }
  if (total.of > 0 && !found) throw new Error(`There are no kernels for ${architecture}.`)
  return total
}
