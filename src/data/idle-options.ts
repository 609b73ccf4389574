/** Options of a preparation that would change nothing. Each is refused: whoever gives one expects what it says. */
import type { ImageSourceOptions } from './image-sources.ts'
import type { PrepareOptions } from './prepare.ts'
import type { PreparedImages } from './prepared-images.ts'

/**
 * Of the options those without what they are of.
 *
 * @throws {RangeError} that names the option
 */
export function refuseIdle({ features = [], featurePatch, labelColumn, unlabelled }: PrepareOptions): void {
  if (featurePatch !== undefined && features.length === 0) {
    throw new RangeError(
      `\`featurePatch\` ${featurePatch} is of features that are kept, of which none are asked for; add \`features\`, or leave it out.`,
    )
  }
  if (labelColumn !== undefined && unlabelled) {
    throw new RangeError(
      `\`labelColumn\` ${labelColumn} names the column of labels, and \`unlabelled\` asks for none; leave one of them out.`,
    )
  }
}

/**
 * Of the options for images that are there those by which images are made. The size that they have may be said.
 *
 * @throws {RangeError} that names the option
 */
export function refuseMakingOfImages(
  { folder, size }: PreparedImages,
  { onCorrupt, unlabelled, allowEmptyClasses, ...options }: PrepareOptions,
): void {
  if (options.size !== undefined && options.size !== size) {
    throw new RangeError(
      `The images in '${folder}' are there already, ${size} pixels wide, not ${options.size} (\`size\`); leave it out, or prepare their ` +
        'source anew into another folder.',
    )
  }
  const given: readonly (readonly [option: string, isGiven: boolean])[] = [
    ['transform', options.transform !== undefined],
    ['wideHeight', options.wideHeight !== undefined],
    ['maxImages', options.maxImages !== undefined],
    ["onCorrupt: 'skip'", onCorrupt === 'skip'],
    ['unlabelled', unlabelled === true],
    ['allowEmptyClasses', allowEmptyClasses === true],
    ['imageColumn', options.imageColumn !== undefined],
    ['labelColumn', options.labelColumn !== undefined],
  ]
  const option = given.find(([, isGiven]) => isGiven)?.[0]
  if (option === undefined) return
  throw new RangeError(
    `\`${option}\` says how images are made of a source, and those in '${folder}' are there already and stay as they are; leave it out, or ` +
      'prepare their source anew into another folder.',
  )
}

/**
 * Of the options for a source those that are of parquet files, where it has none.
 *
 * @throws {RangeError} that names the option
 */
export function refuseColumns(path: string, { imageColumn, labelColumn }: ImageSourceOptions): void {
  const option = imageColumn !== undefined ? 'imageColumn' : labelColumn !== undefined ? 'labelColumn' : undefined
  if (option === undefined) return
  throw new RangeError(`\`${option}\` names a column of parquet files, of which '${path}' has none; leave it out.`)
}
