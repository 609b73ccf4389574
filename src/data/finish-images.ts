import { join } from 'node:path'
import { countClasses } from './class-labels.ts'
import { imageName, writeText } from './dataset-files.ts'
import type { DatasetInfo, ImageSettings, SkippedImage } from './dataset-info.ts'
import { formatDatasetJson, type Labels } from './dataset-json.ts'
import type { ImageSource, SourceImage } from './image-sources.ts'
import { LAYOUT } from './layout.ts'
import type { JournalEntry } from './prepare-journal.ts'
import type { PreparedImages } from './prepared-images.ts'

const IGNORED_NAMES_KEPT = 100

/** The first step's end: its dataset.json, and then the information, which says that the images are whole. */
export async function finishImages(
  out: string,
  source: ImageSource,
  images: readonly SourceImage[],
  settings: ImageSettings,
  entries: readonly JournalEntry[],
): Promise<DatasetInfo> {
  const labels = entries.flatMap((entry) => ('label' in entry ? [entry.label] : []))
  const skipped: SkippedImage[] = entries.flatMap((entry) => ('reason' in entry ? [entry] : []))
  if (labels.length === 0) {
    throw new Error(
      `None of the ${images.length} images of '${source.path}' could be used; the first: ${skipped[0]?.reason}.`,
    )
  }
  const info: DatasetInfo = {
    format: 'repa-native-dataset-1',
    source: source.path,
    settings,
    images: labels.length,
    ...(source.classNames ? { classNames: [...source.classNames] } : {}),
    classCounts: countClasses(labels, source.classNames?.length),
    skipped,
    ignored: ignoredOf(source),
    notes: [...source.notes],
    features: [],
    flip: false,
  }
  const listing: Labels = labels.map((label, i) => [imageName(i), label])
  await writeText(join(out, LAYOUT.images, LAYOUT.labels), formatDatasetJson(listing))
  await writeText(join(out, LAYOUT.info), `${JSON.stringify(info, null, 2)}\n`)
  return info
}

/** Files of the source that no image and no caption is in. */
export function ignoredOf({ ignored }: ImageSource): DatasetInfo['ignored'] {
  return { count: ignored.length, names: ignored.slice(0, IGNORED_NAMES_KEPT) }
}

/** Of images that another tool made. */
export function infoOfOthers(out: string, { labels }: PreparedImages): DatasetInfo {
  return {
    format: 'repa-native-dataset-1',
    source: join(out, LAYOUT.images),
    images: labels.length,
    classCounts: countClasses(labels),
    skipped: [],
    ignored: { count: 0, names: [] },
    notes: [],
    features: [],
    flip: false,
  }
}
