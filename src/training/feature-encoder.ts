import * as z from 'zod'
import type { Encoder } from '../alignment/encoder.ts'
import { encoderDigest } from '../alignment/encoder-digest.ts'
import { loadEncoder } from '../alignment/encoders.ts'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { FeatureEncoder, TokenGrid } from '../data/feature-encoder.ts'
import type { Device } from '../tensor/device.ts'
import { elementCount } from '../tensor/dtype.ts'
import { numberToFloat16 } from '../tensor/float16.ts'
import { cast } from '../tensor/ops/cast.ts'
import { toPlanes } from '../tensor/planes.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface OpenFeatureEncoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** Things to tell the user: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({ device: z.string().optional(), onNotice: aFunction().optional() } satisfies Record<
    keyof OpenFeatureEncoderOptions,
    z.ZodType
  >),
)

/** Enough images to fill the device. */
const BATCH = { cpu: 8, gpu: 64 } as const

/** An encoder of `loadEncoder`, for `prepareDataset` to cache its features: they are computed in f32 and rounded to f16. */
export async function openFeatureEncoder(
  name: string,
  file?: string,
  options: OpenFeatureEncoderOptions = {},
): Promise<FeatureEncoder & Disposable> {
  parseConfiguration(optionsSchema(), options, 'the options of openFeatureEncoder')
  const { device = 'cpu' } = options
  const encoder = await loadEncoder(name, file, options)
  try {
    const weights = file === undefined ? undefined : await encoderDigest(name, file)
    return {
      name: encoder.name,
      weights,
      width: encoder.width,
      batchSize: device === 'cpu' ? BATCH.cpu : BATCH.gpu,
      encode: (images, size, grid) => encode(encoder, images, size, grid, device),
      [Symbol.dispose]: () => encoder[Symbol.dispose](),
    }
  } catch (error) {
    encoder[Symbol.dispose]()
    throw error
  }
}

async function encode(
  encoder: Encoder,
  images: readonly Uint8Array[],
  size: number,
  grid: TokenGrid,
  device: Device,
): Promise<Uint16Array[]> {
  const planes = new Uint8Array(images.length * 3 * size * size)
  for (const [i, data] of images.entries()) toPlanes({ width: size, height: size, data }, planes, i * 3 * size * size)
  using features = scope(() => {
    const found = encoder.features(Tensor.from(planes, [images.length, 3, size, size], device), grid)
    return device === 'cpu' ? found : cast(found, 'f16')
  })
  const halves =
    features.dtype === 'f16' ? await features.dataAs('f16') : Uint16Array.from(await features.data(), numberToFloat16)
  const length = elementCount(features.shape) / images.length
  return images.map((_, i) => halves.subarray(i * length, (i + 1) * length))
}
