import type { Device } from '../tensor/device.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Dataset } from './dataset.ts'
import { mapInOrder } from './ordered-map.ts'

/** Images that are read at a time. */
const READ_AT_ONCE = 8

/** The images of these numbers, in this order, u8 [n, 3, S, S]. */
export async function imageBatch(data: Dataset, indices: ArrayLike<number>, device: Device): Promise<Tensor> {
  const bytes = new Uint8Array(indices.length * data.imageLength)
  const places = Array.from(indices, (_, i) => i)
  const reading = mapInOrder(places, READ_AT_ONCE, (i) =>
    data.readInto(indices[i]!, { image: bytes.subarray(i * data.imageLength, (i + 1) * data.imageLength) }),
  )
  for await (const _ of reading);
  return Tensor.from(bytes, [indices.length, 3, data.imageSize, data.imageSize], device)
}
