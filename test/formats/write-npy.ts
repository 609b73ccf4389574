import { writeWhole } from '../../src/formats/atomic-file.ts'
import { encodeNpy } from '../../src/formats/npy.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'

export async function writeNpy(path: string, tensor: HostTensor): Promise<void> {
  await writeWhole(path, encodeNpy(tensor))
}
