import type { SiT } from '../models/sit.ts'
import { synchronize } from '../tensor/device.ts'
import { mean } from '../tensor/ops/loss.ts'
import { type RandomKey, randomNormal, randomTimesteps } from '../tensor/random.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { forwardBackward } from '../training/objective.ts'
import { AdamW } from '../training/optimizer.ts'
import { SiTObjective } from '../training/sit-objective.ts'

/**
 * Training steps on synthetic data, as Trainer makes them: loss, backward pass, clipping, AdamW and EMA. Latents, labels and
 * the encoder's features are drawn once; noise and times for each step, outside of what is timed.
 */
export class TrainingStep implements Disposable {
  readonly #model: SiT
  readonly #batch: number
  readonly #seed: number
  readonly #optimizer: AdamW
  readonly #latents: Tensor
  readonly #labels: Tensor
  readonly #targets: readonly Tensor[]
  #step = 0

  constructor(model: SiT, batch: number, seed = 0) {
    this.#model = model
    this.#batch = batch
    this.#seed = seed
    this.#optimizer = new AdamW(model.arena)
    this.#latents = randomNormal(this.#latentShape, this.#key('posterior'), model.device)
    const { classes, alignWidths } = model.config
    const labels = Int32Array.from({ length: batch }, (_, i) => (i * 7919) % classes)
    this.#labels = Tensor.from(labels, [batch], model.device)
    this.#targets = alignWidths.map((width, k) =>
      randomNormal([batch, model.tokens, width], { ...this.#key('sampleNoise'), step: k }, model.device),
    )
  }

  /** Makes one step; the seconds that it took, the device being idle before and after. */
  async run(): Promise<number> {
    const { device } = this.#model
    using noise = randomNormal(this.#latentShape, this.#key('noise'), device)
    using t = randomTimesteps(this.#batch, 'uniform', 'linear', this.#key('timesteps'), device)
    this.#step++
    await synchronize(device)
    const began = performance.now()
    scope(() => {
      const batch = { latents: this.#latents, labels: this.#labels, t, noise, targets: this.#targets }
      const losses = forwardBackward(this.#model, batch, { objective: new SiTObjective(), alignWeight: 0.5 })
      this.#optimizer.step()
      mean(losses.denoising)
    })
    await synchronize(device)
    return (performance.now() - began) / 1000
  }

  get #latentShape(): readonly number[] {
    const { channels, inputSize } = this.#model.config
    return [this.#batch, channels, ...inputSize]
  }

  #key(stream: RandomKey['stream']): RandomKey {
    return { seed: this.#seed, stream, step: this.#step }
  }

  dispose(): void {
    for (const tensor of [this.#latents, this.#labels, ...this.#targets]) tensor.dispose()
    this.#optimizer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
