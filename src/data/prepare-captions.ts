/** The captions of a preparation: what is asked for, and what is written. */
import { join } from 'node:path'
import { BESIDE, type CaptionOptions, captionsDigest, type SourceCaptions } from './captions.ts'
import { captionsJsonLines } from './captions-json.ts'
import { writeTexts } from './dataset-files.ts'
import type { CaptionInfo, CaptionSettings, SkippedImage } from './dataset-info.ts'
import { openFolder } from './file-tree.ts'
import type { ImageSource, SourceImage } from './image-sources.ts'
import { LAYOUT } from './layout.ts'
import { listNames } from './name-list.ts'
import type { PreparedImages } from './prepared-images.ts'

export interface PrepareCaptionOptions extends CaptionOptions {
  /** Takes images without a caption: they train on the empty one. Without it they are an error. */
  readonly allowMissingCaptions?: boolean
}

/** The captions of the images that are to be prepared, by the images' names. */
export interface RequestedCaptions {
  readonly from: string
  readonly byImage: ReadonlyMap<string, readonly string[]>
  readonly notes: readonly string[]
}

/** @throws {RangeError} for what has no meaning without captions */
export function checkCaptionOptions({ captions, captionColumn, allowMissingCaptions }: PrepareCaptionOptions): void {
  if (captions !== undefined) return
  const idle = captionColumn !== undefined ? 'captionColumn' : allowMissingCaptions ? 'allowMissingCaptions' : undefined
  if (idle) throw new RangeError(`\`${idle}\` is of captions, of which none are asked for; add \`captions\`.`)
}

/**
 * What is asked for, of the images of a source.
 *
 * @throws {Error} where images have no caption and may not be without, or none has one
 */
export function captionsOfSource(
  source: ImageSource,
  images: readonly SourceImage[],
  options: PrepareCaptionOptions,
): RequestedCaptions | undefined {
  if (!source.captions) return undefined
  const names = images.map(({ name }) => name)
  return requested(names, source.captions, source.path, options)
}

/** What is asked for, of images that are prepared already and are the source. @throws {Error} as `captionsOfSource` */
export async function captionsOfPrepared(
  { folder, names }: PreparedImages,
  options: PrepareCaptionOptions,
): Promise<RequestedCaptions | undefined> {
  const { captions, captionColumn } = options
  if (captions === undefined) return undefined
  const found =
    captions === BESIDE
      ? await (await import('./captions-beside.ts')).captionsBeside(await openFolder(folder), names, options)
      : await (await import('./caption-file.ts')).captionsFromFile(captions, names, captionColumn)
  return requested(names, found, folder, options)
}

function requested(
  names: readonly string[],
  { from, ofImages, notes }: SourceCaptions,
  place: string,
  { allowMissingCaptions }: PrepareCaptionOptions,
): RequestedCaptions {
  const without = names.filter((_, i) => ofImages[i]!.length === 0)
  if (without.length === names.length) {
    throw new Error(
      `None of the ${names.length} images of '${place}' (${listNames(names)}) has a caption in ${from}; check where \`captions\` looks.`,
    )
  }
  if (without.length > 0 && !allowMissingCaptions) {
    throw new Error(
      `${without.length} of the ${names.length} images of '${place}' have no caption in ${from}: ${listNames(without)}. ` +
        'Give them one, or accept them by `allowMissingCaptions`: they then train on the empty caption.',
    )
  }
  return { from, byImage: new Map(names.map((name, i) => [name, ofImages[i]!])), notes }
}

export function captionSettingsOf({ byImage }: RequestedCaptions): CaptionSettings {
  return { listing: captionsDigest(byImage.values()) }
}

/**
 * Writes captions.json: of the images that are there, in their order.
 *
 * @param skipped those of the source that have no place in the set
 */
export async function writeCaptions(
  out: string,
  request: RequestedCaptions,
  { names }: PreparedImages,
  skipped: readonly SkippedImage[],
): Promise<CaptionInfo> {
  const left = new Set(skipped.map(({ name }) => name))
  const taken = [...request.byImage].flatMap(([name, captions]) => (left.has(name) ? [] : [captions]))
  if (taken.length !== names.length) {
    throw new Error(
      `'${out}' has ${names.length} images, and the source has captions of ${taken.length} that belong to it: remove the folder and prepare it again.`,
    )
  }
  const count = taken.reduce((sum, captions) => sum + captions.length, 0)
  if (count === 0) {
    throw new Error(`None of the images that could be read has a caption in ${request.from}; the others are left out.`)
  }
  await writeTexts(join(out, LAYOUT.captions), captionsJsonLines(names.map((name, i) => [name, taken[i]!])))
  const withoutCaption = taken.filter((captions) => captions.length === 0).length
  return {
    ...captionSettingsOf(request),
    written: captionsDigest(taken),
    source: request.from,
    count,
    withoutCaption,
  }
}
