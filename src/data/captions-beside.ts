/** Captions that stand beside the images of a folder or an archive. */
import { basename, dirname, join } from 'node:path/posix'
import { FileFormatError } from '../formats/errors.ts'
import { parseCaptionLines } from './caption-lines.ts'
import {
  addTo,
  type CaptionOptions,
  captionLines,
  captionsOf,
  notUtf8,
  type SourceCaptions,
  textOf,
} from './captions.ts'
import type { FileTree } from './file-tree.ts'
import { isHidden } from './image-labels.ts'
import { mapInOrder } from './ordered-map.ts'
import { fieldOf } from './webdataset.ts'

/** Hugging Face's imagefolder: JSON lines that name the images of their folder and of those below. */
const METADATA = 'metadata.jsonl'

/** Small files that are read at a time. */
const READ_AT_ONCE = 64

/** The field of a WebDataset sample's JSON that holds its caption, where none is named. */
const SAMPLE_FIELD = 'caption'

/** Where captions were found, in words. */
const TEXTS = 'the .txt files beside the images'
const SAMPLES = 'the .json files beside the images'

/** Captions, or why there are none: a file that belongs to no image may be anything. */
type Found = readonly string[] | FileFormatError

/**
 * Gathers captions from the files that stand beside images:
 * - `NAME.txt` beside `NAME.jpg`, a caption a line;
 * - in tar archives, as WebDataset has them, where there is no such file the field `caption` of `NAME.json`;
 * - `metadata.jsonl` (caption-lines.ts), whose names are relative to its folder.
 *
 * Where a column is named, only the fields of that name count.
 */
export class CaptionsBeside {
  readonly #root: string
  readonly #column: string | undefined
  readonly #texts = new Map<string, Found>()
  readonly #samples = new Map<string, Found>()
  /** By an image's name: its captions in metadata.jsonl, and the last file of that name that has some. */
  readonly #rows = new Map<string, string[]>()
  readonly #rowFiles = new Map<string, string>()
  readonly #places = new Set<string>()

  /** @param root what errors say before a file's name */
  constructor(root: string, column: string | undefined) {
    this.#root = root
    this.#column = column
  }

  /** Whether a file may hold captions, of images in the same folder or below it. */
  mayHold(name: string): boolean {
    if (isMetadata(name)) return true
    return name.endsWith('.txt')
      ? this.#column === undefined
      : /\.json$/.test(name) && basename(name) !== 'dataset.json'
  }

  /** Takes in a text or a metadata.jsonl. @throws {FileFormatError} where that is damaged */
  add(name: string, bytes: Uint8Array): void {
    const file = join(this.#root, name)
    if (isMetadata(name)) {
      const folder = dirname(name)
      for (const [image, captions] of parseCaptionLines(bytes, file, this.#column)) {
        const path = join(folder, image)
        addTo(this.#rows, path, captions)
        this.#rowFiles.set(path, name)
      }
    } else {
      const stem = withoutExtension(name)
      const text = attempt(() => captionLines(textOf(bytes, file)))
      this.#texts.set(stem, text)
      if (countsAlone(text)) this.#samples.delete(stem)
    }
  }

  /** Takes in what the `.json` of a sample holds. @param isUtf8 false: in it stand replacements for what is no text */
  addSample(name: string, json: unknown, isUtf8: boolean): void {
    const stem = withoutExtension(name)
    if (countsAlone(this.#texts.get(stem))) return
    const file = join(this.#root, name)
    const field = this.#column ?? SAMPLE_FIELD
    this.#samples.set(
      stem,
      isUtf8 ? attempt(() => captionsOf(fieldOf(json, field), file, `the field "${field}"`)) : notUtf8(file),
    )
  }

  /** Whether there is a file with captions of its own for an image, or a row. */
  has(image: string): boolean {
    const stem = withoutExtension(image)
    return this.#texts.has(stem) || this.#samples.has(stem) || this.#rows.has(image)
  }

  /**
   * The captions of an image; none where nothing has any.
   *
   * @throws {FileFormatError} where what has them is damaged
   * @throws {Error} where a metadata.jsonl and another file both have some
   */
  of(image: string): readonly string[] {
    const stem = withoutExtension(image)
    const text = captionsIn(this.#texts.get(stem))
    const sample = text.length === 0 ? captionsIn(this.#samples.get(stem)) : []
    const row = this.#rows.get(image) ?? []
    if (row.length > 0 && text.length + sample.length > 0) {
      const other = `${stem}.${text.length > 0 ? 'txt' : 'json'}`
      throw new Error(
        `'${image}' in '${this.#root}' has captions in '${this.#rowFiles.get(image)}' and in '${other}'; ` +
          'name the column of the one by `captionColumn`, or remove the other.',
      )
    }
    if (text.length > 0) this.#places.add(TEXTS)
    if (sample.length > 0) this.#places.add(SAMPLES)
    if (row.length > 0) this.#places.add(`'${this.#rowFiles.get(image)}'`)
    return text.length > 0 ? text : sample.length > 0 ? sample : row
  }

  /** Rows of metadata.jsonl for images that are not among these, how many. */
  rowsBeyond(images: readonly string[]): number {
    if (this.#rows.size === 0) return 0
    const there = new Set(images)
    return [...this.#rows.keys()].filter((name) => !there.has(name)).length
  }

  /** Where the captions were that `of` has given. */
  get places(): readonly string[] {
    return [...this.#places]
  }
}

/** The captions of several archives, or of one tree, as one source's. */
export function joinCaptions(
  parts: readonly { readonly beside: CaptionsBeside; readonly images: readonly string[] }[],
): SourceCaptions {
  const ofImages = parts.flatMap(({ beside, images }) => images.map((image) => beside.of(image)))
  const places = new Set(parts.flatMap(({ beside }) => beside.places))
  const beyond = parts.reduce((sum, { beside, images }) => sum + beside.rowsBeyond(images), 0)
  return {
    from: places.size === 0 ? 'the files beside the images' : [...places].join(' and '),
    ofImages,
    notes:
      beyond > 0
        ? [`${METADATA} has captions of ${beyond} ${beyond === 1 ? 'image' : 'images'} that are not among these.`]
        : [],
  }
}

/** The captions beside the images of a folder or zip, and which files had them. */
export async function captionsBeside(
  tree: FileTree,
  images: readonly string[],
  { captionColumn }: CaptionOptions,
): Promise<SourceCaptions & { readonly files: ReadonlySet<string> }> {
  const beside = new CaptionsBeside(tree.root, captionColumn)
  const there = new Set(tree.files)
  const texts = captionColumn === undefined ? images.map((image) => `${withoutExtension(image)}.txt`) : []
  const metadata = tree.files.filter((name) => isMetadata(name) && !isHidden(name)).sort()
  const files = new Set([...texts.filter((name) => there.has(name)), ...metadata])
  const read = async (name: string) => ({ name, bytes: await tree.read(name) })
  for await (const { name, bytes } of mapInOrder(files, READ_AT_ONCE, read)) beside.add(name, bytes)
  return { ...joinCaptions([{ beside, images }]), files }
}

export function isMetadata(name: string): boolean {
  return basename(name) === METADATA
}

/** A path without its last extension: what an image and the file of its captions have in common. */
export function withoutExtension(name: string): string {
  return name.replace(/\.[^./]*$/, '')
}

/** Whether what a text holds is what is said of its image, whatever the sample's JSON has: captions, or a fault. */
function countsAlone(text: Found | undefined): boolean {
  return text instanceof FileFormatError || (text !== undefined && text.length > 0)
}

function captionsIn(found: Found = []): readonly string[] {
  if (found instanceof FileFormatError) throw found
  return found
}

function attempt(captions: () => readonly string[]): Found {
  try {
    // A copy has room for what it holds, where the list that was pushed to has room for 17.
    return captions().slice()
  } catch (error) {
    if (error instanceof FileFormatError) return error
    throw error
  }
}
