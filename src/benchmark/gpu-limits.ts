import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { cast } from '../tensor/ops/cast.ts'
import { randomNormal } from '../tensor/random.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { TimedKernel } from './timed-kernel.ts'

/** Of the square product that is the probe: so large that neither the caches nor the ends of the kernels matter. */
const PROBE_SIDE = 8192
/** Copied for each element of a matrix of that side: 1 GiB in all. */
const COPIED_BYTES = 16

/**
 * What a GPU gives here and now, under its power limit and clocks: the rate of a large square product of random numbers (zeros
 * would flatter it: they take less power) by the kernel that products take, and that of a copy.
 */
export class GpuLimits implements Disposable {
  readonly #tensors: readonly Tensor[]
  readonly #product: TimedKernel
  readonly #copy: TimedKernel
  readonly #side: number

  private constructor(tensors: readonly Tensor[], product: TimedKernel, copy: TimedKernel, side: number) {
    this.#tensors = tensors
    this.#product = product
    this.#copy = copy
    this.#side = side
  }

  static async prepare(device: Device, dtype: ComputeDType, side = PROBE_SIDE): Promise<GpuLimits> {
    const copyBytes = COPIED_BYTES * side ** 2
    const normal = (step: number) =>
      scope(() => keep(cast(randomNormal([side, side], { seed: 0, stream: 'noise', step }, device), dtype)))
    const [a, b] = [normal(0), normal(1)]
    const [from, to] = [Tensor.empty([copyBytes], device, 'u8'), Tensor.empty([copyBytes], device, 'u8')]
    const tensors = [a, b, from, to].map(keep)
    try {
      const product = await TimedKernel.prepare(device, () =>
        scope(() => {
          const [out] = native().linear(a.handle, b.handle, null, 'none', false, dtype)
          new Tensor(out, device)
        }),
      )
      const copy = await TimedKernel.prepare(device, () => native().copy(to.handle, from.handle))
      return new GpuLimits(tensors, product, copy, side)
    } catch (error) {
      for (const tensor of tensors) tensor.dispose()
      throw error
    }
  }

  /** FLOP per second of the product. */
  async productRate(): Promise<number> {
    return (2 * this.#side ** 3) / (await this.#product.seconds())
  }

  /** Bytes per second, read and written, of the copy. */
  async copyRate(): Promise<number> {
    return (2 * COPIED_BYTES * this.#side ** 2) / (await this.#copy.seconds())
  }

  [Symbol.dispose](): void {
    this.#product[Symbol.dispose]()
    this.#copy[Symbol.dispose]()
    for (const tensor of this.#tensors) tensor.dispose()
  }
}
