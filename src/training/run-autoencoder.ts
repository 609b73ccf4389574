import type { Dataset } from '../data/dataset.ts'
import { previewOf } from '../diffusion/latent-preview.ts'
import { areSameStatistics } from '../formats/latent-statistics.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
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
    if (file !== undefined) return await loadAutoencoder(file, { device })
    throw new Error(
      'encodeLatents makes the latents by an autoencoder, and none is given; name one by --autoencoder FILE.',
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

function requireDecodes({ latentChannels, statistics }: Autoencoder, data: Dataset, file: string): void {
  if (latentChannels !== data.latentShape[0]) {
    throw new Error(
      `The data in ${data.path} are latents of ${data.latentShape[0]} channels; the autoencoder ${file} decodes ${latentChannels}.`,
    )
  }
  if (data.statistics === undefined || areSameStatistics(data.statistics, statistics)) return
  throw new Error(
    `The data in ${data.path} are standardised by its file of statistics, and the autoencoder ${file} ` +
      `${statistics ? 'by another' : 'by none'}; name the one that made them, with a copy of that file beside its weights.`,
  )
}
