import type { Device } from '../tensor/device.ts'

/** In what a model computes. Master weights, losses, statistics and reductions are fp32 under every policy. */
export interface PrecisionPolicy {
  readonly name: 'fp32' | 'bf16' | 'fp16'
  /** What multiplies the loss before the backward pass and is undone before the update. */
  readonly lossScale: number
}

/** The policy of a name on a device. Throws where the device cannot compute in it. */
export function precisionPolicy(name: PrecisionPolicy['name'], device: Device): PrecisionPolicy {
  if (name !== 'fp32' && device === 'cpu') {
    throw new RangeError(`The CPU computes in fp32 only, not in ${name}; pass --precision fp32.`)
  }
  return { name, lossScale: 1 }
}
