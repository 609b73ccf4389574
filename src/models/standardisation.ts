import type { LatentStatistics } from '../formats/latent-statistics.ts'
import type { Device } from '../tensor/device.ts'
import { standardize } from '../tensor/ops/latents.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Mean and deviation of numbers, in the shape of the leading axes of the samples that they are of. */
export interface Statistics extends LatentStatistics {
  readonly shape: readonly number[]
}

/** Brings tensors to (x − mean) / std, and back. */
export class Standardisation implements Disposable {
  readonly #there: { readonly mean: Tensor; readonly std: Tensor }
  /** x std + mean is (x − (−mean / std)) / (1 / std). */
  readonly #back: { readonly mean: Tensor; readonly std: Tensor }

  constructor({ mean, std, shape }: Statistics, device: Device) {
    const upload = (values: Float32Array) => keep(Tensor.from(values, shape, device))
    this.#there = { mean: upload(mean), std: upload(std) }
    this.#back = {
      mean: upload(mean.map((centre, i) => -centre / std[i]!)),
      std: upload(std.map((deviation) => 1 / deviation)),
    }
  }

  apply(x: Tensor): Tensor {
    return standardize(x, this.#there.mean, this.#there.std)
  }

  undo(x: Tensor): Tensor {
    return standardize(x, this.#back.mean, this.#back.std)
  }

  dispose(): void {
    for (const { mean, std } of [this.#there, this.#back]) {
      mean.dispose()
      std.dispose()
    }
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
