import { native } from '../../src/native.ts'
import type { Device } from '../../src/tensor/device.ts'
import type { ComputeDType } from '../../src/tensor/dtype.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { fromValues, type NdArray, roundTo } from '../reference/array.ts'

/** A tensor of a dtype of computation from the host, its values rounded: without any kernel. */
export function narrowTensor(values: NdArray, device: Device, dtype: ComputeDType): Tensor {
  if (dtype === 'f32') return Tensor.from(Float32Array.from(values.data), values.shape, device)
  const bits = Uint16Array.from(values.data, (value) => (dtype === 'bf16' ? bf16Bits : f16Bits)(roundTo(dtype, value)))
  return new Tensor(native().fromHost(bits, values.shape, dtype, device), device)
}

/** The values of a tensor of such a dtype, likewise. */
export async function narrowValues(tensor: Tensor): Promise<NdArray> {
  return fromValues(tensor.shape, toFloat32(await tensor.toHost()))
}

function bf16Bits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16
}

function f16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (Number.isNaN(magnitude)) return 0x7fff
  if (magnitude >= 65520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24)
  const exponent = Math.floor(Math.log2(magnitude))
  return sign | ((exponent + 15) << 10) | ((magnitude / 2 ** exponent - 1) * 1024)
}
