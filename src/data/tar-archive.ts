import { isUtf8 } from 'node:buffer'
import { FileFormatError } from '../formats/errors.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { readTar, type TarEntry } from '../formats/tar.ts'
import { isGzip, openTarInput, type TarInput } from '../formats/tar-input.ts'
import { expandSparse, type SparseMap, storedBytes } from '../formats/tar-sparse.ts'
import { MAX_MEMBER_BYTES, requireSafeName } from './archive-member.ts'
import { type CaptionsBeside, isMetadata, withoutExtension } from './captions-beside.ts'
import { IMAGE_EXTENSIONS } from './image-decoding.ts'
import { isHidden } from './image-labels.ts'
import { labelOfCls, labelOfSample, parseSample, type SampleLabels, sampleLabelFile, sampleOf } from './webdataset.ts'

/** Has a replacement for what is no text, of which labels are none. */
const utf8 = new TextDecoder()

/** A tar archive, listed once. */
export interface TarArchive {
  readonly path: string
  /**
   * The files, in the archive's order, but for those that have been made use of: what held labels, and what is beside a sample's image and
   * may hold its captions. They are most of a shard.
   */
  readonly files: readonly string[]
  readonly folders: readonly string[]
  /** Members that stand for a file elsewhere and hold nothing of their own. */
  readonly links: readonly string[]
  /** WebDataset labels that stand beside the images, by sample. */
  readonly sampleLabels: SampleLabels
  /** The members called dataset.json, by name. */
  readonly datasetJsons: ReadonlyMap<string, string>
  readonly reader: TarReader
}

/** Reads the files of an archive without holding its lists. */
export interface TarReader {
  readonly path: string
  /**
   * The bytes of one file. A gzipped archive is unpacked front to back: reads in the archive's order cost one pass over it, and
   * one that goes back begins it anew.
   *
   * @param at its place among the archive's `files`
   * @param name its name there
   */
  read(at: number, name: string): Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * @param captions takes in the files of the archive that may hold captions
 * @throws {FileFormatError} if the archive is damaged or cut off, or holds a name that is not safe or that stands there twice
 */
export async function openTar(path: string, captions?: CaptionsBeside): Promise<TarArchive> {
  const names = new Set<string>()
  const members = new Members()
  /** Files that may hold the captions of an image, which may come after them. */
  const beside = new Set<string>()
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
      requireSafeName(path, name)
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
      if (names.has(name)) {
        throw new FileFormatError(path, `the tar archive has two members named ${JSON.stringify(name)}.`)
      }
      const index = names.size
      names.add(name)
      // As macOS packs a file's attributes beside it, under its name behind `._`.
      const isSeen = !isHidden(name)
      const labelFile = isSeen ? sampleLabelFile(name) : undefined
      const isDatasetJson = isSeen && /(^|\/)dataset\.json$/.test(name)
      const taker = isSeen && captions?.mayHold(name) ? captions : undefined
      if (taker) beside.add(name)
      if (!labelFile && !isDatasetJson && !taker) {
        members.add(name, index, entry)
        continue
      }
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
        if (label === undefined) members.add(name, index, entry)
        taker?.addSample(name, json, isUtf8(bytes))
      } else {
        members.add(name, index, entry)
        taker?.add(name, bytes)
      }
    }
  } finally {
    await input.close()
  }
  if (beside.size > 0) {
    const stems = new Set(members.names.filter(isSampleImage).map(withoutExtension))
    members.keep((name) => !beside.has(name) || !(isMetadata(name) || stems.has(withoutExtension(name))))
  }
  const places = members.places()
  const reader = (await isGzip(path)) ? new SequentialReader(path, places) : await RandomReader.open(path, places)
  return { path, files: members.names, folders: [...folders], links, sampleLabels, datasetJsons, reader }
}

/** What follows a sample's key says what the file is: `jpg` is its image, `mask.png` is not. */
export function isSampleImage(name: string): boolean {
  return IMAGE_EXTENSIONS.has(`.${sampleOf(name).extension}`) && !isHidden(name)
}

/** Where files are in an archive, by their places in its list. Archives may have millions, for which objects are too much. */
interface Places {
  /** Of each the number of files before it in the archive, those that are not listed too. */
  readonly indices: Float64Array
  readonly offsets: Float64Array
  readonly sizes: Float64Array
  readonly sparse: ReadonlyMap<number, SparseMap>
}

/** Gathers the files of an archive that are listed. */
class Members {
  names: string[] = []
  #indices: number[] = []
  #offsets: number[] = []
  #sizes: number[] = []
  #sparse = new Map<number, SparseMap>()

  add(name: string, index: number, { offset, size, sparse }: TarEntry): void {
    if (sparse) this.#sparse.set(this.names.length, sparse)
    this.names.push(name)
    this.#indices.push(index)
    this.#offsets.push(offset)
    this.#sizes.push(size)
  }

  keep(isKept: (name: string) => boolean): void {
    const kept = this.names.flatMap((name, at) => (isKept(name) ? [at] : []))
    const pick = <T>(all: readonly T[]): T[] => kept.map((at) => all[at]!)
    this.#sparse = new Map(
      kept.flatMap((from, at) => {
        const sparse = this.#sparse.get(from)
        return sparse ? [[at, sparse]] : []
      }),
    )
    this.names = pick(this.names)
    this.#indices = pick(this.#indices)
    this.#offsets = pick(this.#offsets)
    this.#sizes = pick(this.#sizes)
  }

  places(): Places {
    return {
      indices: Float64Array.from(this.#indices),
      offsets: Float64Array.from(this.#offsets),
      sizes: Float64Array.from(this.#sizes),
      sparse: this.#sparse,
    }
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

class RandomReader implements TarReader {
  readonly #file: RandomAccessFile
  readonly #places: Places

  private constructor(file: RandomAccessFile, places: Places) {
    this.#file = file
    this.#places = places
  }

  static async open(path: string, places: Places): Promise<RandomReader> {
    return new RandomReader(await RandomAccessFile.open(path), places)
  }

  get path(): string {
    return this.#file.path
  }

  async read(at: number, name: string): Promise<Uint8Array> {
    const [offset, size] = [this.#places.offsets[at]!, this.#places.sizes[at]!]
    requireReadable(this.path, name, size)
    const sparse = this.#places.sparse.get(at)
    if (!sparse) return this.#file.read(offset, size)
    return expandSparse(sparse, await this.#file.read(offset, storedBytes(sparse)))
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** Serves reads one after the other from one pass over the archive. */
class SequentialReader implements TarReader {
  readonly path: string
  readonly #places: Places
  #pass: { readonly input: TarInput; readonly entries: AsyncGenerator<TarEntry>; next: number } | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(path: string, places: Places) {
    this.path = path
    this.#places = places
  }

  read(at: number, name: string): Promise<Uint8Array> {
    const result = this.#turn.then(() => this.#readNow(at, name))
    this.#turn = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    await this.#turn
    await this.#end()
  }

  async #readNow(at: number, name: string): Promise<Uint8Array> {
    requireReadable(this.path, name, this.#places.sizes[at]!)
    const index = this.#places.indices[at]!
    if (this.#pass === undefined || this.#pass.next > index) {
      await this.#end()
      const input = await openTarInput(this.path)
      this.#pass = { input, entries: readTar(input), next: 0 }
    }
    for await (const entry of drained(this.#pass.entries)) {
      if (entry.kind !== 'file') continue
      this.#pass.next++
      if (entry.name === name) return entry.read()
    }
    throw new FileFormatError(this.path, 'the archive changed while it was being read.')
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
