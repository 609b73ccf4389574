/** Options of a preparation that would change nothing. Each is refused: whoever gives one expects what it says. */
import type { ImageSourceOptions } from './image-sources.ts'
import type { PrepareOptions } from './prepare.ts'
import type { PreparedImages } from './prepared-images.ts'

/**
 * Of the options those without what they are of.
 *
 * @throws {RangeError} that names the flag
 */
export function refuseIdle({ features = [], featurePatch, labelColumn, unlabelled }: PrepareOptions): void {
  if (featurePatch !== undefined && features.length === 0) {
    throw new RangeError(
      `--feature-patch ${featurePatch} is of features that are kept, of which none are asked for; add --features, or leave it out.`,
    )
  }
  if (labelColumn !== undefined && unlabelled) {
    throw new RangeError(
      `--label-column ${labelColumn} names the column of labels, and --unlabelled asks for none; leave one of them out.`,
    )
  }
}

/**
 * Of the options for images that are there those by which images are made. The size that they have may be said.
 *
 * @throws {RangeError} that names the flag
 */
export function refuseMakingOfImages(
  { folder, size }: PreparedImages,
  { onCorrupt, unlabelled, allowEmptyClasses, ...options }: PrepareOptions,
): void {
  if (options.size !== undefined && options.size !== size) {
    throw new RangeError(
      `The images in '${folder}' are there already, ${size} pixels wide, not ${options.size} (--size); leave it out, or prepare their ` +
        'source anew into another folder.',
    )
  }
  const given: readonly (readonly [flag: string, isGiven: boolean])[] = [
    ['--transform', options.transform !== undefined],
    ['wideHeight', options.wideHeight !== undefined],
    ['--max-images', options.maxImages !== undefined],
    ['--on-corrupt skip', onCorrupt === 'skip'],
    ['--unlabelled', unlabelled === true],
    ['--allow-empty-classes', allowEmptyClasses === true],
    ['--image-column', options.imageColumn !== undefined],
    ['--label-column', options.labelColumn !== undefined],
  ]
  const flag = given.find(([, isGiven]) => isGiven)?.[0]
  if (flag === undefined) return
  throw new RangeError(
    `${flag} says how images are made of a source, and those in '${folder}' are there already and stay as they are; leave it out, or ` +
      'prepare their source anew into another folder.',
  )
}

/**
 * Of the options for a source those that are of parquet files, where it has none.
 *
 * @throws {RangeError} that names the flag
 */
export function refuseColumns(path: string, { imageColumn, labelColumn }: ImageSourceOptions): void {
  const flag = imageColumn !== undefined ? '--image-column' : labelColumn !== undefined ? '--label-column' : undefined
  if (flag === undefined) return
  throw new RangeError(`${flag} names a column of parquet files, of which '${path}' has none; leave it out.`)
}
