import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { nearest } from '../configuration/nearest.ts'
import { ConfigurationError, parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { statusOf } from '../formats/path-status.ts'
import { VisionTransformer } from '../models/vit.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from '../models/vit-config.ts'
import type { VisionTransformerPreset } from '../models/vit-presets.ts'
import type { Device } from '../tensor/device.ts'
import type { Encoder } from './encoder.ts'
import { familyOf } from './encoder-families.ts'
import { ENCODER_NAMES, type EncoderName } from './encoder-names.ts'
import { HogEncoder } from './hog.ts'
import { loadStatedEncoder, loadVisionEncoder, VisionEncoder } from './vision-encoder.ts'

export interface LoadEncoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** Of a file of no standard size that does not state its number of heads. */
  readonly heads?: number
  /** Is told, in a sentence, where the file is usable but not what the name promises. */
  readonly onNotice?: (message: string) => void
}

const argumentsSchema = whenNeeded(() =>
  z.strictObject({
    name: z.string(),
    file: z.string().optional(),
    device: z.string().optional(),
    heads: z.int().positive().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<'name' | 'file' | keyof LoadEncoderOptions, z.ZodType>),
)

/**
 * A frozen encoder to align with: the built-in `hog`, `vit` from the file that `repa pretrain-encoder` wrote, or one of the paper's
 * from the file that its authors publish, a checkpoint of their training code, or the same tensors as `.safetensors`
 * (alignment/FAMILY.ts says what of it is read). Every size follows from the tensors. A file of no published size is accepted under
 * any name of its family, with a notice; the file of another published size than the name's is an error.
 *
 * @throws {ConfigurationError} for an unknown name and options that are none; {FileAccessError} where there is no such file; {Error} where none is named or one too many,
 *   and for a file that does not fit; what the file readers throw
 */
export async function loadEncoder(name: string, file?: string, options: LoadEncoderOptions = {}): Promise<Encoder> {
  parseConfiguration(argumentsSchema(), { name, file, ...options }, 'loadEncoder')
  const { device = 'cpu', heads, onNotice = () => {} } = options
  if (name === 'hog') {
    if (file !== undefined) throw new Error(`The encoder hog is built in and takes no file; ${file} was given.`)
    return new HogEncoder()
  }
  if (name === 'vit') {
    if (file !== undefined) {
      await requireFile(file, name, 'repa pretrain-encoder writes it as RUN/encoder.safetensors')
      return loadStatedEncoder(file, device)
    }
    throw new Error(
      'The encoder vit needs the file of its weights: vit=RUN/encoder.safetensors, as repa pretrain-encoder writes it.',
    )
  }
  const family = familyOf(name)
  if (!family) throw new ConfigurationError(unknownEncoder(name))
  const preset = name as VisionTransformerPreset
  if (file === undefined) {
    throw new Error(
      `The encoder ${name} needs the file of its weights; the published one is ${family.publishedFile(preset)}.`,
    )
  }
  await requireFile(file, name, `the published one is ${family.publishedFile(preset)}`)
  return loadVisionEncoder(family, preset, file, { device, heads, onNotice })
}

/**
 * An encoder with undefined weights, for planning: of its published size, or, of one that was trained here, of the size that its file
 * states.
 */
export function emptyEncoder(name: EncoderName, device: Device, stated?: VisionTransformerConfig): Encoder {
  if (name === 'hog') return new HogEncoder()
  if (name === 'vit') {
    if (!stated) {
      throw new Error(
        'The sizes of the encoder vit stand in its file alone: name it, vit=RUN/encoder.safetensors, or plan for a published encoder.',
      )
    }
    // What images are normalised by takes neither memory nor time.
    const statistics = { mean: [0, 0, 0], std: [1, 1, 1] } as const
    return new VisionEncoder({ statistics }, name, VisionTransformer.fromConfig(stated, device))
  }
  const family = familyOf(name)!
  const config = visionTransformerConfigSchema.parse(family.presets[name])
  return new VisionEncoder(family, name, VisionTransformer.fromConfig(config, device))
}

async function requireFile(file: string, name: string, source: string): Promise<void> {
  await statusOf(
    file,
    `There is no ${file}, which is to hold the weights of the encoder ${name}; ${source}. Give the path at which it lies.`,
  )
}

function unknownEncoder(name: string): string {
  const right = nearest(name, ENCODER_NAMES)
  const advice = right ? `; did you mean ${right}?` : '.'
  return `There is no encoder "${name}"${advice} The encoders are ${ENCODER_NAMES.join(', ')}.`
}
