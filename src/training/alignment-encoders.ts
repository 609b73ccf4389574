import { existsSync } from 'node:fs'
import { encoderDigest } from '../alignment/encoder-digest.ts'
import { loadEncoder } from '../alignment/encoders.ts'
import type { Dataset } from '../data/dataset.ts'
import type { FeatureSettings } from '../data/dataset-info.ts'
import type { Device } from '../tensor/device.ts'
import { type AlignmentEncoder, isCached } from './cached-encoder.ts'
import { sizesOf, type TrainingConfiguration } from './configuration.ts'

/** What decides whether cached features will do. */
type AlignedConfiguration = Pick<
  TrainingConfiguration,
  'encoders' | 'model' | 'classTokenWeight' | 'alignAttentionWeight'
>

export interface OpenEncodersOptions {
  readonly device: Device
  /** Is told, in a sentence, where an encoder runs although its features are cached, and why. */
  readonly onNotice: (sentence: string) => void
}

/**
 * Opens the encoders of a configuration, for the caller to dispose of by `disposeEncoders`. One whose features the data set has is
 * not loaded: where its file is named it must be the one that the features were made with, their grid must be the model's, and no class
 * token must be asked for; otherwise the encoder runs, and `onNotice` is told why.
 *
 * @throws what `loadEncoder` throws; {Error} where no file is named and the features do not fit the model
 */
export async function openEncoders(
  configuration: AlignedConfiguration,
  data: Dataset,
  { device, onNotice }: OpenEncodersOptions,
): Promise<AlignmentEncoder[]> {
  const opened: AlignmentEncoder[] = []
  try {
    for (const { name, file, sha256 } of configuration.encoders) {
      // A run has looked into its files already.
      const digest = async (path: string) => sha256 ?? encoderDigest(name, path)
      const settings = await usableFeatures({ name, file }, configuration, data, { onNotice, digest })
      opened.push(
        settings
          ? { name, width: settings.width, store: await data.openFeatures(settings) }
          : await loadEncoder(name, file, { device, onNotice }),
      )
    }
    return opened
  } catch (error) {
    await disposeEncoders(opened)
    throw error
  }
}

export async function disposeEncoders(encoders: readonly AlignmentEncoder[]): Promise<void> {
  for (const encoder of encoders) {
    if (isCached(encoder)) await encoder.store[Symbol.asyncDispose]()
    else encoder[Symbol.dispose]()
  }
}

/**
 * The encoders that `openEncoders` would not load, for the data set has their features. A file that is not here, as a plan's need not
 * be, counts as the one that they were made with, and `onNotice` is told so.
 *
 * @throws {Error} where no file is named and the features do not fit the model
 */
export async function encodersWithFeatures(
  configuration: AlignedConfiguration,
  data: Dataset,
  onNotice: (sentence: string) => void,
): Promise<string[]> {
  const names: string[] = []
  for (const encoder of configuration.encoders) {
    const digest = async (file: string): Promise<string | undefined> => {
      if (existsSync(file)) return encoderDigest(encoder.name, file)
      onNotice(
        `${file} is not here: the features of ${encoder.name} in '${data.path}' are taken for its own; a training compares them.`,
      )
      return undefined
    }
    if (await usableFeatures(encoder, configuration, data, { onNotice, digest })) names.push(encoder.name)
  }
  return names
}

interface FeatureCheck {
  /** Is told where there are features and the encoder runs nevertheless, and why. */
  readonly onNotice: (sentence: string) => void
  /** SHA-256 of a file; undefined where that cannot be known. */
  readonly digest: (file: string) => Promise<string | undefined>
}

/** An encoder's features in the data set, where they are what the encoder would give for this model; undefined where it must run. */
async function usableFeatures(
  { name, file }: TrainingConfiguration['encoders'][number],
  configuration: AlignedConfiguration,
  data: Dataset,
  { onNotice, digest }: FeatureCheck,
): Promise<FeatureSettings | undefined> {
  const settings = data.features.find(({ encoder }) => encoder === name)
  if (!settings) return undefined
  const obstacle =
    configuration.classTokenWeight > 0
      ? 'have no class token, which classTokenWeight denoises'
      : configuration.alignAttentionWeight > 0 && configuration.encoders[0]?.name === name
        ? 'have no attention, which alignAttentionWeight compares'
        : await obstacleOf(settings, file, gridOf(configuration, data), digest)
  if (obstacle === undefined) return settings
  const sentence = `The features of ${name} in '${data.path}' ${obstacle}`
  if (file === undefined && settings.weights !== undefined) {
    throw new Error(
      `${sentence}; name the encoder's file, \`encoders: [{ name: '${name}', file: 'FILE' }]\`, to run it instead.`,
    )
  }
  onNotice(`${sentence}: the encoder runs.`)
  return undefined
}

/** Rows and columns of the model's tokens. */
function gridOf({ model }: Pick<TrainingConfiguration, 'model'>, data: Dataset): readonly [number, number] {
  const { patch } = sizesOf(model)
  const [, height, width] = data.latentShape
  return [height / patch, width / patch]
}

/** Why cached features cannot be used; undefined where they can. */
async function obstacleOf(
  { grid, weights }: FeatureSettings,
  file: string | undefined,
  [rows, columns]: readonly [number, number],
  digest: FeatureCheck['digest'],
): Promise<string | undefined> {
  if (grid[0] !== rows || grid[1] !== columns) {
    return `have ${grid.join(' × ')} tokens, the model ${rows} × ${columns}`
  }
  if (file === undefined || weights === undefined) return undefined
  const own = await digest(file)
  if (own === undefined || own === weights) return undefined
  return `were made with another file than ${file} (SHA-256 ${weights.slice(0, 12)}…, not ${own.slice(0, 12)}…)`
}
