import type { Device } from '../../tensor/device.ts'
import { planar } from '../../tensor/planes.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { GoldenFile } from '../golden-set.ts'

/** A photo u8 [H, W, 3] of a file, or a batch of such → [N, 3, H, W] on the device. */
export async function photos(file: GoldenFile, name: string, device: Device): Promise<Tensor> {
  const { data, shape } = await file.read(name)
  const [height, width] = shape.slice(-3) as [number, number]
  return Tensor.from(planar(data, height * width), [data.length / (3 * height * width), 3, height, width], device)
}
