import { loadEncoder } from '../alignment/encoders.ts'
import type { Dataset } from '../data/dataset.ts'
import { fileDigest } from '../formats/file-digest.ts'
import { transformerOfPreset } from '../models/transformer-kinds.ts'
import type { Device } from '../tensor/device.ts'
import { type AlignmentEncoder, isCached } from './cached-encoder.ts'
import type { TrainingConfiguration } from './configuration.ts'

export interface OpenEncodersOptions {
  readonly device: Device
  /** Is told, in a sentence, where an encoder runs although its features are cached, and why. */
  readonly notice: (sentence: string) => void
}

/**
 * Opens the encoders of a configuration, for the caller to dispose of by `disposeEncoders`. One whose features the data set has is
 * not loaded: where its file is named it must be the one that the features were made with, and their grid must be the model's;
 * otherwise the encoder runs, and `notice` is told why.
 *
 * @throws what `loadEncoder` throws; {Error} where no file is named and the features do not fit the model
 */
export async function openEncoders(
  configuration: Pick<TrainingConfiguration, 'encoders' | 'model'>,
  data: Dataset,
  { device, notice }: OpenEncodersOptions,
): Promise<AlignmentEncoder[]> {
  const opened: AlignmentEncoder[] = []
  try {
    for (const { name, file } of configuration.encoders) {
      const settings = data.features.find(({ encoder }) => encoder === name)
      const obstacle = settings && (await obstacleOf(settings, file, gridOf(configuration, data)))
      if (settings && obstacle === undefined) {
        opened.push({ name, width: settings.width, store: await data.openFeatures(settings) })
        continue
      }
      if (obstacle !== undefined) {
        const sentence = `The features of ${name} in '${data.path}' ${obstacle}`
        if (file === undefined && settings?.weights !== undefined) {
          throw new Error(`${sentence}; name the encoder's file, --encoder ${name}=FILE, to run it instead.`)
        }
        notice(`${sentence}: the encoder runs.`)
      }
      opened.push(await loadEncoder(name, file, { device, notice }))
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

/** The encoders whose features the data set has on the model's grid; with which files they were made is not looked at. */
export function encodersWithFeatures(
  configuration: Pick<TrainingConfiguration, 'encoders' | 'model'>,
  data: Dataset,
): string[] {
  const grid = String(gridOf(configuration, data))
  const there = new Set(
    data.features.filter((settings) => String(settings.grid) === grid).map(({ encoder }) => encoder),
  )
  return configuration.encoders.map(({ name }) => name).filter((name) => there.has(name))
}

/** Rows and columns of the model's tokens. */
function gridOf({ model }: Pick<TrainingConfiguration, 'model'>, data: Dataset): readonly [number, number] {
  const { patch } = typeof model === 'string' ? transformerOfPreset(model) : model
  const [, height, width] = data.latentShape
  return [height / patch, width / patch]
}

/** Why cached features cannot be used; undefined where they can. */
async function obstacleOf(
  { grid, weights }: Dataset['features'][number],
  file: string | undefined,
  [rows, columns]: readonly [number, number],
): Promise<string | undefined> {
  if (grid[0] !== rows || grid[1] !== columns) {
    return `have ${grid.join(' × ')} tokens, the model ${rows} × ${columns}`
  }
  if (file === undefined || weights === undefined) return undefined
  const digest = await fileDigest(file)
  if (digest === weights) return undefined
  return `were made with another file than ${file} (SHA-256 ${weights.slice(0, 12)}…, not ${digest.slice(0, 12)}…)`
}
