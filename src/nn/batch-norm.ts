import { type HostTensor, hostFloat32, toFloat32 } from '../tensor/host-tensor.ts'
import type { StateSource } from './state-dict.ts'

/** A convolution without bias and the BatchNorm behind it, by the names of their modules; `name` is the one that comes of both. */
export interface NormalisedConvolution {
  readonly convolution: string
  readonly batchNorm: string
  readonly name: string
}

/**
 * A state dict in which every BatchNorm, as it is in evaluation mode, has become a part of the convolution in front of it: its weight
 * times γ / √(running variance + ε), and the bias β − running mean · γ / √(running variance + ε). In float64, rounded once. Tensors
 * of no pair stay as they are.
 */
export function foldBatchNorm(
  source: StateSource,
  pairs: readonly NormalisedConvolution[],
  epsilon: number,
): StateSource {
  const folded = new Map<string, { shapeFrom: string; read: () => Promise<HostTensor> }>()
  const taken = new Set<string>()
  for (const { convolution, batchNorm, name } of pairs) {
    const weight = `${convolution}.weight`
    const norm = (part: string) => `${batchNorm}.${part}`
    const parts = [weight, ...['weight', 'bias', 'running_mean', 'running_var'].map(norm)]
    const missing = parts.filter((part) => !source.names.includes(part))
    if (missing.length > 0) {
      throw new Error(`${source.name} has no ${missing.join(', ')}; expected a convolution and its BatchNorm.`)
    }
    for (const part of [...parts, norm('num_batches_tracked')]) taken.add(part)
    const scales = async () => {
      const [gamma, variance] = [await floats(source, norm('weight')), await floats(source, norm('running_var'))]
      return Float64Array.from(gamma, (value, c) => value / Math.sqrt(variance[c]! + epsilon))
    }
    folded.set(`${name}.weight`, {
      shapeFrom: weight,
      read: async () => {
        const [values, scale] = [await floats(source, weight), await scales()]
        const perOutput = values.length / scale.length
        return hostFloat32(
          values.map((value, i) => value * scale[Math.floor(i / perOutput)]!),
          source.shapeOf(weight),
        )
      },
    })
    folded.set(`${name}.bias`, {
      shapeFrom: norm('bias'),
      read: async () => {
        const [beta, mean, scale] = [
          await floats(source, norm('bias')),
          await floats(source, norm('running_mean')),
          await scales(),
        ]
        return hostFloat32(
          beta.map((value, c) => value - mean[c]! * scale[c]!),
          source.shapeOf(norm('bias')),
        )
      },
    })
  }
  return {
    name: source.name,
    names: [...folded.keys(), ...source.names.filter((name) => !taken.has(name))],
    shapeOf: (name) => source.shapeOf(folded.get(name)?.shapeFrom ?? name),
    read: (name) => folded.get(name)?.read() ?? source.read(name),
  }
}

async function floats(source: StateSource, name: string): Promise<Float32Array> {
  return toFloat32(await source.read(name))
}
