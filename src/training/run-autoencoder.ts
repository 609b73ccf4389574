import type { Dataset } from '../data/dataset.ts'
import { readInfo } from '../data/dataset-listing.ts'
import { statisticsDigest } from '../data/latent-encoder.ts'
import { previewOf } from '../diffusion/latent-preview.ts'
import { areSameStatistics } from '../formats/latent-statistics.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import { autoencoderDigest } from '../models/autoencoder-files.ts'
import { loadAutoencoder } from '../models/load-autoencoder.ts'
import type { Device } from '../tensor/device.ts'
import type { TrainingConfiguration } from './configuration.ts'

/**
 * What decodes the grids of samples and, where a run encodes its latents, makes them. Loaded before the first step, so that a wrong file
 * costs none.
 */
export async function openAutoencoder(
  { autoencoder: file, encodeLatents }: TrainingConfiguration,
  data: Dataset,
  { device, onNotice }: { readonly device: Device; readonly onNotice?: ((sentence: string) => void) | undefined },
): Promise<Autoencoder | undefined> {
  if (encodeLatents) {
    if (file === undefined) {
      throw new Error(
        '`encodeLatents` makes the latents by an autoencoder, and none is given; name one by `autoencoder`.',
      )
    }
    const autoencoder = await loadAutoencoder(file, { device })
    const missing = autoencoder.missingHalf
    if (missing === undefined) return autoencoder
    autoencoder.dispose()
    throw new Error(
      `The ${missing} of ${file} is not here, and this run needs both halves: one for the latents, the other for the grids of samples.`,
    )
  }
  if (data.latentKind === 'pixels') {
    if (file !== undefined) {
      throw new Error(
        `The data in ${data.path} are pixels, which need no autoencoder; leave out ${file}, or let it make their latents by \`encodeLatents\`.`,
      )
    }
    return undefined
  }
  if (file === undefined) {
    onNotice?.(`Without \`autoencoder\` the grids of samples are ${previewOf(data.latentShape[0])}.`)
    return undefined
  }
  const autoencoder = await loadAutoencoder(file, { device, half: 'decoder' })
  try {
    requireDecodes(autoencoder, data, file)
    const side = data.latentShape[1] * autoencoder.downsampling
    if (data.hasImages && side !== data.imageSize) {
      onNotice?.(
        `The latents in ${data.path} are of images of ${data.imageSize} pixels, and the autoencoder ${file} makes ${side} of them: it is another ` +
          'than made them.',
      )
    }
    const told = await preparedStatistics(data)
    if (told !== undefined && told !== statisticsDigest(autoencoder.statistics)) {
      // No refusal: of one RAE diffusers' file and its authors' have statistics that differ by roundings.
      onNotice?.(
        `The latents in ${data.path} and the autoencoder ${file} do not have the same statistics: grids of samples are decoded at another ` +
          'scale than the latents were made at.',
      )
    }
    return autoencoder
  } catch (error) {
    autoencoder.dispose()
    throw error
  }
}

function requireDecodes({ latentChannels, latentScale, statistics }: Autoencoder, data: Dataset, file: string): void {
  if (latentChannels !== data.latentShape[0]) {
    throw new Error(
      `The data in ${data.path} are latents of ${data.latentShape[0]} channels; the autoencoder ${file} decodes ${latentChannels}.`,
    )
  }
  // Prepared latents were scaled by what made them; those without images say it by their statistics alone.
  if (data.hasImages || (areSameStatistics(data.statistics, statistics) && (statistics || latentScale === 1))) return
  const own = data.statistics
    ? 'standardised by its file of statistics'
    : 'as their files have them, for lack of statistics'
  const its = statistics ? 'undoes other statistics' : `divides them by ${latentScale}`
  throw new Error(
    `The latents in ${data.path} are ${own}, and the autoencoder ${file} ${data.statistics && !statistics ? 'undoes none' : its}; ` +
      'name the one that made them, with the same file of statistics beside its weights and beside the latents.',
  )
}

/** `statisticsDigest` of what prepared latents are standardised by, as their set says; undefined where it tells none. */
async function preparedStatistics(data: Dataset): Promise<string | undefined> {
  if (!data.hasImages || data.latentKind === 'pixels') return undefined
  return (await readInfo(data.path))?.latentStatistics
}

/**
 * Digest of what makes a run's latents, or standardises them, before it or as they are read; undefined where nothing of prepared ones is
 * told.
 *
 * @throws {Error} where it is not that of the configuration, which the run began with
 */
export async function digestOfLatents(
  { autoencoder: file, encodeLatents, latentsDigest: wanted }: TrainingConfiguration,
  data: Dataset,
): Promise<TrainingConfiguration['latentsDigest']> {
  if (encodeLatents && file !== undefined) return await digestOfMaker(file, wanted)
  const before = typeof wanted === 'object' ? wanted.statistics : wanted
  if (data.hasImages) {
    const found = await preparedStatistics(data)
    if (found === undefined) return wanted
    if (before === undefined || before === found) return { statistics: found }
    throw new Error(
      `The latents in ${data.path} are standardised by other statistics than when the run began; name the data that it began with, or, for ` +
        'a new run, leave latentsDigest out of its configuration.',
    )
  }
  const found = statisticsDigest(data.statistics)
  if (before === undefined || before === found) return found
  throw new Error(
    `The latents in ${data.path} are ${data.statistics ? 'standardised by other statistics than' : 'not standardised, as they were'} ` +
      'when the run began; put back the file of statistics that was there, or take away one that was not; for a new run leave ' +
      'latentsDigest out of its configuration.',
  )
}

async function digestOfMaker(
  file: string,
  wanted: TrainingConfiguration['latentsDigest'],
): Promise<TrainingConfiguration['latentsDigest']> {
  const found = await autoencoderDigest(file)
  const before = typeof wanted === 'object' ? wanted.files : wanted
  if (before !== undefined && before !== found) {
    throw new Error(
      `${file} makes other latents than the autoencoder that the run began with: SHA-256 ${found.slice(0, 12)}…, not ${before.slice(0, 12)}…; ` +
        'name that one, by `autoencoder`, or, for a new run, leave latentsDigest out of its configuration.',
    )
  }
  return before === undefined ? found : wanted
}

/** The configuration of a run whose latents this autoencoder makes, and what it standardises them by, where it does. */
export function tellingStatistics(
  configuration: TrainingConfiguration,
  { statistics }: Pick<Autoencoder, 'statistics'>,
): TrainingConfiguration {
  const { latentsDigest: files } = configuration
  if (typeof files !== 'string' || !statistics) return configuration
  return { ...configuration, latentsDigest: { files, statistics: statisticsDigest(statistics) } }
}
