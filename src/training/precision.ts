import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'

/** What `--precision` takes. */
export const PRECISIONS = ['bf16', 'fp16', 'tf32', 'fp32'] as const

export type Precision = (typeof PRECISIONS)[number]

/** In what a model computes. Master weights, losses, statistics and reductions are fp32 under every policy. */
export interface PrecisionPolicy {
  readonly name: Precision
  /** Of activations, and of the weights' copy that products read. */
  readonly dtype: ComputeDType
  /** Whether products of f32 round their operands to tf32, for `allowTf32` of the device. */
  readonly tf32: boolean
  /** With what dynamic loss scaling begins (AdamWOptions.lossScale); 0: losses are not scaled. */
  readonly lossScale: number
}

/** torch.amp.GradScaler's. bf16 has float32's range, and nothing to scale. */
const FP16_LOSS_SCALE = 2 ** 16

const DTYPES = { fp32: 'f32', tf32: 'f32', bf16: 'bf16', fp16: 'f16' } as const

/** What a device computes in where nothing else is asked for: a CPU in fp32, a GPU's tensor cores in bf16. */
export function defaultPrecision(device: Device): Precision {
  return device === 'cpu' ? 'fp32' : 'bf16'
}

/** The policy of a name on a device. Throws where the device cannot compute in it. */
export function precisionPolicy(name: Precision, device: Device): PrecisionPolicy {
  if (name !== 'fp32' && device === 'cpu') {
    throw new RangeError(
      `The CPU computes in fp32 only, not in ${name}; pass \`precision: 'fp32'\`. A run that began in ${name} goes on on a GPU alone.`,
    )
  }
  return { name, dtype: DTYPES[name], tf32: name === 'tf32', lossScale: name === 'fp16' ? FP16_LOSS_SCALE : 0 }
}
