import type { Encoder } from '../alignment/encoder.ts'
import { ALONE, type World } from '../distributed/world.ts'
import type { SiT } from '../models/sit.ts'
import { keptTokens, type TokenRouting, usualRoute } from '../models/token-route.ts'
import { synchronize } from '../tensor/device.ts'
import { cast } from '../tensor/ops/cast.ts'
import { mean } from '../tensor/ops/loss.ts'
import type { TokenSubset } from '../tensor/ops/token-subset.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { type RandomKey, randomNormal, randomTimesteps, randomTokens } from '../tensor/random.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { forwardBackward } from '../training/forward-backward.ts'
import { AdamW, type AdamWOptions } from '../training/optimizer.ts'
import { RepeatedStep } from '../training/repeated-step.ts'
import { requireRoute } from '../training/requirements.ts'
import { SiTObjective } from '../training/sit-objective.ts'
import { PIXELS_PER_LATENT } from './image-size.ts'

export interface TrainingStepOptions {
  /** Of this process. */
  readonly batch: number
  /** The processes whose gradients are summed, as Trainer's are. Default: this one alone. */
  readonly world?: World
  readonly seed?: number
  /** Makes each step's targets of the images, u8 and 8 times as wide as the latents; without it the targets are given. */
  readonly encoder?: Encoder
  /** Default 0: losses are not scaled. */
  readonly lossScale?: AdamWOptions['lossScale']
  /** What the backward pass computes again. Default: nothing. */
  readonly recompute?: Recomputation
  /** Share of the tokens that go past the blocks of TREAD's route, others at every step. Default: none. */
  readonly routeTokens?: number | undefined
  /** On a GPU: the second step is recorded, and it and all that follow are replayed. */
  readonly cudaGraph?: boolean
}

const UNIFORM = { weighting: 'uniform', path: 'linear' } as const

type Inputs = {
  readonly latents: Tensor
  readonly condition: Tensor
  readonly images: Tensor | undefined
  readonly t: Tensor
  readonly noise: Tensor
  readonly keptIds: Tensor | undefined
  readonly keptPlaces: Tensor | undefined
}

type Losses = { readonly denoising: Tensor; readonly alignment: Tensor | undefined }

/**
 * Training steps on synthetic data, as Trainer makes them: the encoder where there is one, loss, backward pass, clipping, AdamW and EMA.
 * Latents, labels (or captions' hidden states) and images (or the encoder's features) are drawn once; noise, times and a route's tokens for
 * each step, outside of what is timed.
 */
export class TrainingStep implements Disposable {
  /** Undefined where all tokens pass every block. */
  readonly route: TokenRouting | undefined
  readonly #model: SiT
  readonly #options: TrainingStepOptions
  readonly #world: World
  readonly #seed: number
  readonly #optimizer: AdamW
  readonly #objective = new SiTObjective()
  readonly #latents: Tensor
  readonly #condition: Tensor
  readonly #images: Tensor | undefined
  readonly #targets: readonly Tensor[]
  readonly #repeated: RepeatedStep<Inputs, Losses>
  #step = 0
  #enqueueSeconds = 0

  constructor(model: SiT, options: TrainingStepOptions) {
    const { batch, seed = 0, encoder, lossScale = 0, routeTokens = 0, world = ALONE } = options
    if (routeTokens > 0) this.route = { share: routeTokens, ...usualRoute(model.config.depth) }
    requireRoute(model, this)
    this.#model = model
    this.#options = options
    this.#world = world
    this.#seed = seed
    this.#repeated = new RepeatedStep({ capture: options.cudaGraph === true, world, arena: () => model.arena })
    this.#optimizer = new AdamW(model.arena, { lossScale }, world)
    this.#latents = randomNormal(this.#latentShape, this.#key('posterior'), model.device)
    const { classes, alignWidths } = model.config
    const { text } = model
    this.#condition = text
      ? randomNormal([batch, text.tokens, text.width], this.#key('sampleClassToken'), model.device)
      : Tensor.from(
          Int32Array.from({ length: batch }, (_, i) => (i * 7919) % classes),
          [batch],
          model.device,
        )
    this.#images = encoder && this.#makeImages()
    this.#targets = encoder
      ? []
      : alignWidths.map((width, k) =>
          randomNormal([batch, model.tokens, width], { ...this.#key('sampleNoise'), step: k }, model.device),
        )
  }

  /** Makes one step; the seconds that it took, the device, and those of the other processes, being idle before and after. */
  run(): Promise<number> {
    return this.#timed()
  }

  /** What the host took to enqueue the last step: nearly all of it where the device has to wait for the host. */
  get enqueueSeconds(): number {
    return this.#enqueueSeconds
  }

  /**
   * The same, its operations launched one by one also where steps are recorded: to see what each of them costs. The recording is dropped: a
   * step beside it would want the step's memory a second time.
   */
  async runPlain(): Promise<void> {
    this.#repeated.forget()
    await this.#timed()
  }

  async #timed(): Promise<number> {
    const { device } = this.#model
    using noise = randomNormal(this.#latentShape, this.#key('noise'), device)
    using t = randomTimesteps(this.#options.batch, UNIFORM, this.#key('timesteps'), device)
    const kept = this.#drawTokens()
    using keptIds = kept?.ids
    using keptPlaces = kept?.places
    const inputs = {
      latents: this.#latents,
      condition: this.#condition,
      images: this.#images,
      t,
      noise,
      keptIds,
      keptPlaces,
    }
    this.#step++
    await synchronize(device)
    await this.#world.meet()
    const began = performance.now()
    scope(() => void this.#repeated.run(inputs, (own) => this.#compute(own)))
    this.#enqueueSeconds = (performance.now() - began) / 1000
    await synchronize(device)
    return (performance.now() - began) / 1000
  }

  #drawTokens(): TokenSubset | undefined {
    const { route } = this
    if (!route) return undefined
    const { batch } = this.#options
    const { tokens, device } = this.#model
    return randomTokens({ batch, tokens, taken: keptTokens(tokens, route.share) }, this.#key('keptTokens'), device)
  }

  #compute({ latents, condition, images, t, noise, keptIds, keptPlaces }: Inputs): Losses {
    const targets = images ? [this.#features(images)] : this.#targets
    const route = this.route && { ...this.route, kept: { ids: keptIds!, places: keptPlaces! } }
    const batch = { latents, condition, t, noise, targets, route }
    const losses = forwardBackward(this.#model, batch, {
      objective: this.#objective,
      alignWeight: 0.5,
      scaling: this.#optimizer.scaling,
      recompute: this.#options.recompute,
      ...(this.#world.size > 1 && {
        onFinal: (parameters: readonly Parameter[]) => this.#optimizer.exchange.begin(parameters),
      }),
    })
    this.#optimizer.step(1 / this.#world.size)
    return {
      denoising: mean(losses.denoising),
      alignment: losses.alignment && cast(losses.alignment, 'f32'),
    }
  }

  #features(images: Tensor): Tensor {
    return scope(() => this.#options.encoder!.features(images, this.#model.grid))
  }

  #makeImages(): Tensor {
    const [height, width] = this.#model.config.inputSize.map((side) => PIXELS_PER_LATENT * side) as [number, number]
    const bytes = new Uint8Array(this.#options.batch * 3 * height * width)
    // A linear congruential generator's upper byte: anything but an even picture does.
    let state = this.#seed
    for (let i = 0; i < bytes.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      bytes[i] = state >>> 24
    }
    return Tensor.from(bytes, [this.#options.batch, 3, height, width], this.#model.device)
  }

  get #latentShape(): readonly number[] {
    const { channels, inputSize } = this.#model.config
    return [this.#options.batch, channels, ...inputSize]
  }

  #key(stream: RandomKey['stream']): RandomKey {
    return { seed: this.#seed, stream, step: this.#step }
  }

  dispose(): void {
    this.#repeated.forget()
    for (const tensor of [this.#latents, this.#condition, this.#images, ...this.#targets]) tensor?.dispose()
    this.#optimizer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
