/** A file of captions, for images that are named in it. */
import { extname } from 'node:path'
import * as z from 'zod'
import { FileFormatError } from '../formats/errors.ts'
import { parseCaptionLines, withoutDot } from './caption-lines.ts'
import { addTo, bytesOf, captionsOf, type SourceCaptions, textOf } from './captions.ts'
import { type CaptionEntry, captionsJson, entriesByLine } from './captions-json.ts'
import { fitting, parseJson } from './dataset-json.ts'
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
 * An image's captions are those of its whole name in the file, or else those of the one name there that ends in it, or that it ends in, by
 * whole parts of a path.
 *
 * @param names the images', as their source has them
 * @throws {FileAccessError} where the file cannot be read
 * @throws {Error} where it is no such file, or does not tell which of several images captions are of
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
  const entries = await entriesByLine([bytes], file)
  if (entries) return captionsOfEntries(entries, file)
  const json = parseJson(z.record(z.string(), z.unknown()), textOf(bytes, file), file)
  if ('annotations' in json) return captionsOfCoco(json, file)
  if ('captions' in json) return captionsOfEntries(fitting(captionsJson, json, file).captions, file)
  throw new FileFormatError(
    file,
    `it has neither "annotations", as COCO's captions, nor "captions", as a prepared set's; JSON lines are called .jsonl.`,
  )
}

function captionsOfEntries(entries: readonly CaptionEntry[], file: string): ByName {
  const captions = new Map<string, string[]>()
  for (const [name, own] of entries) addTo(captions, name, captionsOf(own, file, `"${name}"`))
  return captions
}

function captionsOfCoco(json: unknown, file: string): ByName {
  const { images, annotations } = fitting(cocoCaptions, json, file)
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
    addTo(captions, name, captionsOf(caption, file, `the image ${image_id}`))
  }
  return captions
}

/** Each image's captions, and how many of the file's names are nobody's. */
function match(names: readonly string[], captions: ByName, file: string) {
  const images = new Set(names.filter((name) => !captions.has(name)))
  const whole = new Set(names.filter((name) => captions.has(name)))
  const others = new Set([...captions.keys()].filter((name) => !whole.has(name)))
  const namesOf = new Map<string, string[]>()
  const imagesOf = new Map<string, string[]>()
  const pair = (image: string, name: string): void => {
    addTo(namesOf, image, [name])
    addTo(imagesOf, name, [image])
  }
  for (const image of images) for (const end of endsOf(image)) if (others.has(end)) pair(image, end)
  for (const name of others) for (const end of endsOf(name)) if (images.has(end)) pair(end, name)
  const ofImages = names.map((image) => {
    const [name = image, ...more] = namesOf.get(image) ?? []
    const sharing = imagesOf.get(name) ?? []
    if (more.length > 0 || sharing.length > 1) {
      throw new Error(
        `'${file}' has captions of ${listNames([name, ...more])}, and the images have ${listNames(sharing)}: name in it those that are ` +
          'meant by their whole paths.',
      )
    }
    return captions.get(name) ?? []
  })
  return { ofImages, left: others.size - imagesOf.size }
}

/** The paths that a path ends in, itself not among them. */
function endsOf(path: string): string[] {
  const ends: string[] = []
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) ends.push(path.slice(slash + 1))
  return ends
}
