import { AVERAGE_FEATURES, type EncoderStatement, encoderMetadata } from '../alignment/stated-encoder.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import type { PretrainingMethod } from './method.ts'

/** Writes the encoder of a method, and its `averageFeatures`, as a file that `--encoder vit=FILE` takes. */
export async function writeEncoder(
  path: string,
  { name, model, encoder }: PretrainingMethod,
  statement: Pick<EncoderStatement, 'statistics' | 'training'>,
  average: Float32Array,
): Promise<void> {
  const weights = encoder.tensors.map((tensor) => ({
    name: tensor.name,
    dtype: 'f32' as const,
    shape: tensor.entry.shape,
    data: async () => {
      using view = model.arena.view(encoder.role, tensor.entry)
      return (await view.toHost()).data
    },
  }))
  const { hidden } = encoder.config
  const tensors = [
    ...weights,
    {
      name: AVERAGE_FEATURES,
      dtype: 'f32' as const,
      shape: [average.length / hidden, hidden],
      data: new Uint8Array(average.buffer, average.byteOffset, average.byteLength),
    },
  ]
  const metadata = encoderMetadata({ method: name, model: encoder.config, ...statement })
  await writeSafetensors(path, tensors, { metadata, checksum: true, fsync: true })
}
