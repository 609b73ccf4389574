import { join } from 'node:path'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { TaesdDecoder, TaesdEncoder } from '../../src/models/taesd.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { random } from '../reference/array.ts'

/** Writes `taesd_encoder.safetensors` and `taesd_decoder.safetensors`: of the published layout, narrow and with random weights. */
export async function writeNarrowTaesd(folder: string, seed = 1): Promise<void> {
  const config = { width: 8, latentChannels: 4 }
  for (const model of [new TaesdEncoder(config, 'cpu'), new TaesdDecoder(config, 'cpu')]) {
    const half = model instanceof TaesdEncoder ? 'encoder' : 'decoder'
    const tensors = model.entries.map(({ name, shape }, i) => {
      const values = Float32Array.from(random(shape, i + seed, shape.length > 1 ? 0.2 : 0.1).data)
      return { name, ...hostFloat32(values, shape) }
    })
    await writeSafetensors(join(folder, `taesd_${half}.safetensors`), tensors)
    model.dispose()
  }
}
