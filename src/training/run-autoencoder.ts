import { createHash } from 'node:crypto'
import type { Dataset } from '../data/dataset.ts'
import { previewOf } from '../diffusion/latent-preview.ts'
import { areSameStatistics, type LatentStatistics } from '../formats/latent-statistics.ts'
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
        'encodeLatents makes the latents by an autoencoder, and none is given; name one by --autoencoder FILE.',
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
        `The data in ${data.path} are pixels, which need no autoencoder; leave out ${file}, or let it make their latents by --encode-latents.`,
      )
    }
    return undefined
  }
  if (file === undefined) {
    onNotice?.(`Without --autoencoder the grids of samples are ${previewOf(data.latentShape[0])}.`)
    return undefined
  }
  const autoencoder = await loadAutoencoder(file, { device, half: 'decoder' })
  try {
    requireDecodes(autoencoder, data, file)
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

/**
 * Digest of what makes a run's latents, or standardises them as they are read; undefined where they were prepared.
 *
 * @throws {Error} where it is not that of the configuration, which the run began with
 */
export async function digestOfLatents(
  { autoencoder: file, encodeLatents, latentsDigest: wanted }: TrainingConfiguration,
  data: Dataset,
): Promise<string | undefined> {
  const encoded = encodeLatents && file !== undefined
  if (!encoded && data.hasImages) return wanted
  const found = encoded ? await autoencoderDigest(file) : statisticsDigest(data.statistics)
  if (wanted === undefined || wanted === found) return found
  throw new Error(
    encoded
      ? `${file} makes other latents than the autoencoder that the run began with: SHA-256 ${found.slice(0, 12)}…, not ${wanted.slice(0, 12)}…; ` +
          'name that one, by --autoencoder FILE, or, for a new run, leave latentsDigest out of its configuration.'
      : `The latents in ${data.path} are ${data.statistics ? 'standardised by other statistics than' : 'not standardised, as they were'} ` +
          'when the run began; put back the file of statistics that was there, or take away one that was not; for a new run leave ' +
          'latentsDigest out of its configuration.',
  )
}

/** SHA-256 of statistics by which latents are standardised; of there being none, too. */
export function statisticsDigest(statistics: LatentStatistics | undefined): string {
  const hash = createHash('sha256')
  for (const values of statistics ? [statistics.mean, statistics.std] : []) {
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  }
  return hash.digest('hex')
}
