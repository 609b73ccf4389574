import { isUtf8 } from 'node:buffer'
import { FileFormatError } from '../formats/errors.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { readTar, type TarEntry } from '../formats/tar.ts'
import { isGzip, openTarInput, type TarInput } from '../formats/tar-input.ts'
import { expandSparse, type SparseMap, storedBytes } from '../formats/tar-sparse.ts'
import { safeEntryName } from '../formats/zip-entry-name.ts'
import type { CaptionsBeside } from './captions-beside.ts'
import { isHidden } from './image-labels.ts'
import { labelOfCls, labelOfSample, parseSample, type SampleLabels, sampleLabelFile, sampleOf } from './webdataset.ts'

/** No image is this large; a member that says so is an accident or an attack. */
const MAX_MEMBER_BYTES = 2 ** 30

/** Has a replacement for what is no text, of which labels are none. */
const utf8 = new TextDecoder()

/** A tar archive, listed once, whose members can be read. */
export interface TarArchive {
  readonly path: string
  /** Every file, in the archive's order. */
  readonly files: readonly string[]
  readonly folders: readonly string[]
  /** Members that stand for a file elsewhere and hold nothing of their own. */
  readonly links: readonly string[]
  /** WebDataset labels that stand beside the images, by sample. */
  readonly sampleLabels: SampleLabels
  /** The members called dataset.json, by name. */
  readonly datasetJsons: ReadonlyMap<string, string>
  /**
   * The bytes of one file. A gzipped archive is unpacked front to back: reads in the archive's order cost one pass over it, and
   * one that goes back begins it anew.
   */
  read(name: string): Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * @param captions takes in the files of the archive that may hold captions
 * @throws {FileFormatError} if the archive is damaged or cut off, or holds a name that is not safe or that stands there twice
 */
export async function openTar(path: string, captions?: CaptionsBeside): Promise<TarArchive> {
  const files = new Map<string, Member>()
  const folders = new Set<string>()
  const links: string[] = []
  const sampleLabels = new Map<string, number>()
  const datasetJsons = new Map<string, string>()
  const input = await openTarInput(path)
  try {
    for await (const entry of readTar(input)) {
      // The folder that was packed as `.` has no name of its own.
      if (entry.kind === 'other' || (entry.kind === 'folder' && /^[./]*$/.test(entry.name))) continue
      const name = entry.kind === 'folder' ? entry.name.replace(/\/+$/, '') : entry.name
      requireSafe(path, name)
      if (entry.kind === 'link') {
        links.push(name)
        continue
      }
      for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
        folders.add(name.slice(0, slash))
      }
      if (entry.kind === 'folder') {
        folders.add(name)
        continue
      }
      if (files.has(name)) {
        throw new FileFormatError(path, `the tar archive has two members named ${JSON.stringify(name)}.`)
      }
      files.set(name, { index: files.size, offset: entry.offset, size: entry.size, sparse: entry.sparse })
      const labelFile = sampleLabelFile(name)
      const isDatasetJson = /(^|\/)dataset\.json$/.test(name)
      const beside = captions?.mayHold(name) && !isHidden(name) ? captions : undefined
      if (!labelFile && !isDatasetJson && !beside) continue
      const bytes = await bytesOf(path, entry)
      if (isDatasetJson) datasetJsons.set(name, utf8.decode(bytes))
      else if (labelFile === 'cls') {
        sampleLabels.set(sampleOf(name).sample, labelOfCls(path, name, utf8.decode(bytes)))
      } else if (labelFile === 'json') {
        const json = parseSample(path, name, utf8.decode(bytes))
        const { sample } = sampleOf(name)
        const label = labelOfSample(json)
        // The label of a .cls file counts more than what else a .json says.
        if (label !== undefined && !sampleLabels.has(sample)) sampleLabels.set(sample, label)
        beside?.addSample(name, json, isUtf8(bytes))
      } else beside?.add(name, bytes)
    }
  } finally {
    await input.close()
  }
  const reader = (await isGzip(path)) ? new SequentialReader(path, files) : await RandomReader.open(path, files)
  return {
    path,
    files: [...files.keys()],
    folders: [...folders],
    links,
    sampleLabels,
    datasetJsons,
    read: (name) => reader.read(name),
    close: () => reader.close(),
  }
}

interface Member {
  /** Its place among the files. */
  readonly index: number
  readonly offset: number
  readonly size: number
  readonly sparse: SparseMap | undefined
}

function requireSafe(path: string, name: string): void {
  try {
    safeEntryName(name)
  } catch (error) {
    throw new FileFormatError(path, `${(error as Error).message} Pack the archive again with relative names.`, {
      cause: error,
    })
  }
}

async function bytesOf(path: string, entry: TarEntry): Promise<Uint8Array> {
  requireReadable(path, entry.name, entry.size)
  return entry.read()
}

function requireReadable(path: string, name: string, size: number): void {
  if (size <= MAX_MEMBER_BYTES) return
  throw new FileFormatError(
    path,
    `the member ${JSON.stringify(name)} has ${size} bytes; at most ${MAX_MEMBER_BYTES} are accepted here.`,
  )
}

function memberOf(path: string, members: ReadonlyMap<string, Member>, name: string): Member {
  const member = members.get(name)
  if (member === undefined) throw new FileFormatError(path, `the archive has no member ${JSON.stringify(name)}.`)
  requireReadable(path, name, member.size)
  return member
}

class RandomReader {
  readonly #file: RandomAccessFile
  readonly #members: ReadonlyMap<string, Member>

  private constructor(file: RandomAccessFile, members: ReadonlyMap<string, Member>) {
    this.#file = file
    this.#members = members
  }

  static async open(path: string, members: ReadonlyMap<string, Member>): Promise<RandomReader> {
    return new RandomReader(await RandomAccessFile.open(path), members)
  }

  async read(name: string): Promise<Uint8Array> {
    const { offset, size, sparse } = memberOf(this.#file.path, this.#members, name)
    if (!sparse) return this.#file.read(offset, size)
    return expandSparse(sparse, await this.#file.read(offset, storedBytes(sparse)))
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** Serves reads one after the other from one pass over the archive. */
class SequentialReader {
  readonly #path: string
  readonly #members: ReadonlyMap<string, Member>
  #pass: { readonly input: TarInput; readonly entries: AsyncGenerator<TarEntry>; next: number } | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(path: string, members: ReadonlyMap<string, Member>) {
    this.#path = path
    this.#members = members
  }

  read(name: string): Promise<Uint8Array> {
    const result = this.#turn.then(() => this.#readNow(name))
    this.#turn = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    await this.#turn
    await this.#end()
  }

  async #readNow(name: string): Promise<Uint8Array> {
    const { index } = memberOf(this.#path, this.#members, name)
    if (this.#pass === undefined || this.#pass.next > index) {
      await this.#end()
      const input = await openTarInput(this.#path)
      this.#pass = { input, entries: readTar(input), next: 0 }
    }
    for await (const entry of drained(this.#pass.entries)) {
      if (entry.kind !== 'file') continue
      this.#pass.next++
      if (entry.name === name) return entry.read()
    }
    throw new FileFormatError(this.#path, 'the archive changed while it was being read.')
  }

  async #end(): Promise<void> {
    await this.#pass?.input.close()
    this.#pass = undefined
  }
}

/** Iterates without ending the generator where the loop is left. */
async function* drained<T>(entries: AsyncGenerator<T>): AsyncGenerator<T> {
  for (;;) {
    const { value, done } = await entries.next()
    if (done) return
    yield value
  }
}
