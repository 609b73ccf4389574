/**
 * The parts of the zip format that its reader and its writer share. Names and section numbers are those of PKWARE's
 * APPNOTE.TXT 6.3.10.
 */

/** 4.3.7: local file header, before each entry's data. */
export const LOCAL_HEADER = { signature: 0x04034b50, bytes: 30 } as const
/** 4.3.12: one per entry, together the central directory. */
export const CENTRAL_HEADER = { signature: 0x02014b50, bytes: 46 } as const
/** 4.3.14: zip64 end of central directory record. */
export const ZIP64_END = { signature: 0x06064b50, bytes: 56 } as const
/** 4.3.15: zip64 end of central directory locator. */
export const ZIP64_LOCATOR = { signature: 0x07064b50, bytes: 20 } as const
/** 4.3.16: end of central directory record; a comment of up to 65535 bytes may follow. */
export const END = { signature: 0x06054b50, bytes: 22, maxComment: 0xffff } as const

/** 4.4.4: general purpose bit flags. */
export const FLAG_ENCRYPTED = 1 << 0
export const FLAG_STRONG_ENCRYPTION = 1 << 6
export const FLAG_UTF8 = 1 << 11
export const FLAG_MASKED_HEADERS = 1 << 13

/** 4.4.5: compression methods. */
export const STORED = 0
export const DEFLATED = 8

/** 4.5.3: the extra field that holds what does not fit 32 bits. */
export const ZIP64_EXTRA_ID = 0x0001
export const ZIP64_VERSION = 45

/** A 16- or 32-bit field of this value stands in the zip64 records instead. */
export const IN_ZIP64_16 = 0xffff
export const IN_ZIP64_32 = 0xffffffff
