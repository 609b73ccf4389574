import { AVERAGE_FEATURES, type EncoderStatement, encoderMetadata } from '../alignment/stated-encoder.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import type { FeatureStandardisation } from './feature-standardisation.ts'
import type { PretrainingMethod } from './method.ts'

/** The final LayerNorm: the features' channels are multiplied by its weight. */
const FINAL_NORM = ['norm.weight', 'norm.bias']

/**
 * Writes the encoder of a method as a file that `--encoder vit=FILE` takes, with its features' average beside the weights. The final
 * norm is divided by each channel's deviation, so that a cosine with the features hears all channels and not the few loud ones.
 */
export async function writeEncoder(
  path: string,
  { name, model, encoder }: PretrainingMethod,
  statement: Pick<EncoderStatement, 'statistics' | 'training'>,
  { average, deviation }: FeatureStandardisation,
): Promise<void> {
  // A channel that says the same of every image stays as it is.
  const divisors = deviation.map((value) => value || 1)
  const divided = (values: Float32Array | Float64Array) =>
    Float32Array.from(values, (value, i) => value / divisors[i % divisors.length]!)
  const weights = encoder.tensors.map((tensor) => ({
    name: tensor.name,
    dtype: 'f32' as const,
    shape: tensor.entry.shape,
    data: async () => {
      using view = model.arena.view(encoder.role, tensor.entry)
      if (FINAL_NORM.includes(tensor.name)) return bytesOf(divided(await view.data()))
      return (await view.toHost()).data
    },
  }))
  const tensors = [
    ...weights,
    {
      name: AVERAGE_FEATURES,
      dtype: 'f32' as const,
      shape: [average.length / divisors.length, divisors.length],
      data: bytesOf(divided(average)),
    },
  ]
  const metadata = encoderMetadata({ method: name, model: encoder.config, ...statement })
  await writeSafetensors(path, tensors, { metadata, checksum: true, fsync: true })
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength)
