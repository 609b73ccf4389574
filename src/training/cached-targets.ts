import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { float16ToFloat32 } from '../tensor/float16.ts'
import { cast } from '../tensor/ops/cast.ts'
import { Tensor } from '../tensor/tensor.ts'

/**
 * Cached features of a batch on the device, [B, T, width]: a GPU gets them as they are stored, f16; the CPU, which has no f16,
 * as f32.
 */
export function uploadFeatures(halves: Uint16Array, shape: readonly number[], device: Device): Tensor {
  if (device === 'cpu') return Tensor.from(float16ToFloat32(halves), shape, device)
  return new Tensor(native().fromHost(halves, shape, 'f16', device), device)
}

/** As the alignment loss takes them beside projections of any dtype. */
export function featureTargets(features: Tensor): Tensor {
  return cast(features, 'f32')
}
