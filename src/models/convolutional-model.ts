import { native } from '../native.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { channelsLast } from '../tensor/ops/layout.ts'
import { Model } from './model.ts'

/** A model of convolutions: its kernels read weights channels last, where files hold [O, C, kh, kw]. For inference. */
export abstract class ConvolutionalModel extends Model {
  override async load(source: StateSource, options?: { ignore?: (name: string) => boolean }): Promise<void> {
    await super.load(source, options)
    for (const entry of this.entries) {
      const [outputs, inputs, rows, columns] = entry.shape
      if (entry.shape.length !== 4 || rows! * columns! === 1) continue
      using weight = this.arena.view('weights', entry)
      using planes = weight.reshape([outputs!, inputs!, rows! * columns!, 1])
      using reordered = channelsLast(planes)
      using target = weight.reshape(reordered.shape)
      native().copy(target.handle, reordered.handle)
    }
    this.arena.refreshCompute()
  }
}
