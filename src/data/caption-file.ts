/** A file of captions, for images that are named in it. */
import { basename, extname } from 'node:path'
import * as z from 'zod'
import { FileFormatError } from '../formats/errors.ts'
import { parseCaptionLines, withoutDot } from './caption-lines.ts'
import { bytesOf, captionsOf, type SourceCaptions, textOf } from './captions.ts'
import { captionsJson } from './captions-json.ts'
import { parseJson } from './dataset-json.ts'
import { listNames } from './name-list.ts'

const id = z.union([z.int(), z.string()])

/** COCO's annotations, https://cocodataset.org/#format-data, of whose fields these are needed. */
const cocoCaptions = z.object({
  images: z.array(z.object({ id, file_name: z.string().min(1) })),
  annotations: z.array(z.object({ image_id: id, caption: z.string() })),
})

type ByName = ReadonlyMap<string, readonly string[]>

/**
 * The captions that a file has of some images. It is one of
 * - COCO's annotations: `captions_train2014.json`;
 * - JSON lines as in Hugging Face's `metadata.jsonl` (caption-lines.ts), of a name that ends in `.jsonl` or `.ndjson`;
 * - the `captions.json` of a prepared set.
 *
 * An image's captions are those of its whole name in the file, or else those of the one name there that ends in the same last part.
 *
 * @param names the images', as their source has them
 * @throws {FileAccessError} where the file cannot be read
 * @throws {FileFormatError} where it is no such file
 * @throws {Error} where it does not tell which of several images of the same last part captions are of
 */
export async function captionsFromFile(
  file: string,
  names: readonly string[],
  captionColumn?: string,
): Promise<SourceCaptions> {
  const captions = await readCaptionFile(file, captionColumn)
  const { ofImages, left } = match(names, captions, file)
  const notes =
    left > 0 ? [`'${file}' has captions of ${left} ${left === 1 ? 'image' : 'images'} that are not among these.`] : []
  return { from: `'${file}'`, ofImages, notes }
}

async function readCaptionFile(file: string, captionColumn: string | undefined): Promise<ByName> {
  const bytes = await bytesOf(file)
  if (['.jsonl', '.ndjson'].includes(extname(file).toLowerCase())) return parseCaptionLines(bytes, file, captionColumn)
  if (captionColumn !== undefined) {
    throw new FileFormatError(file, `only JSON lines (.jsonl) and parquet files have a column "${captionColumn}".`)
  }
  const json = parseJson(z.record(z.string(), z.unknown()), textOf(bytes, file), file)
  if ('annotations' in json) return captionsOfCoco(json, file)
  if ('captions' in json) {
    const captions = new Map<string, string[]>()
    for (const [name, own] of parsed(captionsJson, json, file).captions) {
      add(captions, name, captionsOf(own, file, `"${name}"`))
    }
    return captions
  }
  throw new FileFormatError(
    file,
    `it has neither "annotations", as COCO's captions, nor "captions", as a prepared set's; JSON lines are called .jsonl.`,
  )
}

function captionsOfCoco(json: unknown, file: string): ByName {
  const { images, annotations } = parsed(cocoCaptions, json, file)
  const names = new Map<number | string, string>()
  for (const { id, file_name } of images) {
    const first = names.get(id)
    if (first !== undefined && first !== file_name) {
      throw new FileFormatError(file, `the images "${first}" and "${file_name}" have the same id, ${id}.`)
    }
    names.set(id, withoutDot(file_name))
  }
  const captions = new Map<string, string[]>()
  for (const { image_id, caption } of annotations) {
    const name = names.get(image_id)
    if (name === undefined) {
      throw new FileFormatError(file, `an annotation is of the image ${image_id}, which is not among its images.`)
    }
    add(captions, name, captionsOf(caption, file, `the image ${image_id}`))
  }
  return captions
}

/** What a file says of one image in several places adds up. */
function add(captions: Map<string, string[]>, name: string, more: readonly string[]): void {
  const before = captions.get(name)
  if (before) before.push(...more)
  else captions.set(name, [...more])
}

/** As `parseJson`, of what is parsed already. */
function parsed<T>(schema: z.ZodType<T>, json: unknown, file: string): T {
  const { success, data, error } = schema.safeParse(json)
  if (success) return data
  const { path, message } = error.issues[0]!
  throw new FileFormatError(file, `at ${path.join('.')}: ${message}.`)
}

/** Each image's captions, and how many of the file's names are nobody's. */
function match(names: readonly string[], captions: ByName, file: string) {
  const ofImages: (readonly string[])[] = names.map((name) => captions.get(name) ?? [])
  const whole = new Set(names.filter((name) => captions.has(name)))
  const byLastPart = groupedByLastPart([...captions.keys()].filter((name) => !whole.has(name)))
  const images = groupedByLastPart(names.filter((name) => !whole.has(name)))
  const index = new Map(names.map((name, i) => [name, i]))
  let matched = whole.size
  for (const [part, sameImages] of images) {
    const found = byLastPart.get(part)
    if (found === undefined) continue
    if (found.length > 1 || sameImages.length > 1) {
      throw new Error(
        `'${file}' has captions of ${listNames(found)}, and the images have ${listNames(sameImages)}: name in it those that are meant ` +
          'by their whole paths.',
      )
    }
    ofImages[index.get(sameImages[0]!)!] = captions.get(found[0]!)!
    matched++
  }
  return { ofImages, left: captions.size - matched }
}

function groupedByLastPart(names: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const name of names) {
    const part = basename(name)
    const group = groups.get(part)
    if (group) group.push(name)
    else groups.set(part, [name])
  }
  return groups
}
