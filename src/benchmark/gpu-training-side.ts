import { dinov2 } from '../alignment/dinov2.ts'
import { VisionEncoder } from '../alignment/vision-encoder.ts'
import { ALONE } from '../distributed/world.ts'
import { SiT, type SiTConfig } from '../models/sit.ts'
import type { TokenRouting } from '../models/token-route.ts'
import { VisionTransformer } from '../models/vit.ts'
import { allowTf32Meanwhile, type Device, memoryStats, profile, resetPeakMemory } from '../tensor/device.ts'
import { precisionPolicy } from '../training/precision.ts'
import { encoderFlops, trainingFlops } from './flops.ts'
import { GpuLimits } from './gpu-limits.ts'
import type { GpuStepBenchmarkOptions } from './gpu-step.ts'
import { DEFAULT_SIZE, latentsOfSize } from './image-size.ts'
import type { BaselineEncoder } from './python-baseline.ts'
import { TrainingStep } from './training-step.ts'

/** What the operations of one name cost in a step. */
export interface GpuOperation {
  readonly name: string
  readonly calls: number
  readonly seconds: number
  /** Of all operations' time. */
  readonly share: number
}

/** What one side found out beside the times of its steps. */
export interface GpuSideFigures {
  readonly config: SiTConfig
  readonly parameters: number
  readonly route: TokenRouting | undefined
  readonly flopsPerImage: number
  readonly peakDeviceBytes: number
  readonly rates: { readonly products: readonly number[]; readonly copy: readonly number[] }
  /** Of each step: the seconds that the host took to enqueue it. */
  readonly enqueueing: readonly number[]
  readonly operations: readonly GpuOperation[]
}

/** DINOv2 ViT-B's, the reference's choice. */
const FEATURE_WIDTH = 768
const ALIGN_DEPTH = 8
/** Touches the memory; fills the allocator's caches; with a graph, records it and replays it. */
const WARMUP = 3

interface Parts {
  readonly model: SiT
  readonly encoder: VisionEncoder | undefined
  readonly training: TrainingStep
  readonly limits: GpuLimits
  /** What is to be disposed of, the last that was made first. */
  readonly made: readonly Disposable[]
}

/** The model, its encoder and the probes on the GPU, warmed up. */
export class GpuTrainingSide implements Disposable {
  readonly config: SiTConfig
  readonly #options: GpuStepBenchmarkOptions
  readonly #model: SiT
  readonly #encoder: VisionEncoder | undefined
  readonly #training: TrainingStep
  readonly #limits: GpuLimits
  readonly #made: readonly Disposable[]
  readonly #peakDeviceBytes: number
  readonly #rates = { products: [] as number[], copy: [] as number[] }
  readonly #enqueueing: number[] = []

  private constructor(
    options: GpuStepBenchmarkOptions,
    { model, encoder, training, limits, made }: Parts,
    peakDeviceBytes: number,
  ) {
    this.config = model.config
    this.#options = options
    this.#model = model
    this.#encoder = encoder
    this.#training = training
    this.#limits = limits
    this.#made = made
    this.#peakDeviceBytes = peakDeviceBytes
  }

  static async start(options: GpuStepBenchmarkOptions): Promise<GpuTrainingSide> {
    const {
      device,
      model: preset = 'SiT-B/2',
      size = DEFAULT_SIZE,
      batch = 64,
      precision = 'bf16',
      seed = 0,
      cudaGraph = false,
      recompute,
      routeTokens,
      world = ALONE,
    } = options
    const { dtype, tf32, lossScale } = precisionPolicy(precision, device)
    const made: Disposable[] = [allowTf32Meanwhile(device, tf32)]
    const own = <T extends Disposable>(value: T): T => {
      made.unshift(value)
      return value
    }
    try {
      const before = memoryStats(device).liveBytes
      resetPeakMemory(device)
      const encoder = options.encoder && own(randomEncoder(options.encoder, device, seed))
      encoder?.computeIn(dtype)
      const model = own(
        SiT.create(preset, {
          inputSize: latentsOfSize(size),
          alignWidths: [encoder?.width ?? FEATURE_WIDTH],
          alignDepth: typeof preset === 'string' ? ALIGN_DEPTH : Math.min(ALIGN_DEPTH, preset.depth),
          device,
          seed,
        }),
      )
      model.computeIn(dtype)
      const ofStep = { seed, lossScale, cudaGraph, recompute, routeTokens, world, ...(encoder && { encoder }) }
      const step = { ...ofStep, batch: batch / world.size }
      const training = own(new TrainingStep(model, step))
      for (let i = 0; i < WARMUP; i++) await training.run()
      const peakDeviceBytes = memoryStats(device).peakBytes - before
      const limits = own(await GpuLimits.prepare(device, dtype, options.probeSide))
      return new GpuTrainingSide(options, { model, encoder, training, limits, made }, peakDeviceBytes)
    } catch (error) {
      for (const value of made) value[Symbol.dispose]()
      throw error
    }
  }

  /** The seconds of one step; the limits are measured after it. */
  async step(): Promise<number> {
    const seconds = await this.#training.run()
    this.#enqueueing.push(this.#training.enqueueSeconds)
    this.#rates.products.push(await this.#limits.productRate())
    this.#rates.copy.push(await this.#limits.copyRate())
    return seconds
  }

  /** The same with nothing measured after it, so that the next may begin at once. */
  stepAlone(): Promise<number> {
    return this.#training.run()
  }

  async figures(): Promise<GpuSideFigures> {
    const patches = this.#model.tokens
    return {
      config: this.config,
      parameters: this.#model.parameterCount,
      route: this.#training.route,
      flopsPerImage:
        trainingFlops(this.config, this.#training.route) +
        (this.#encoder ? encoderFlops(this.#encoder.model.config, patches) : 0),
      peakDeviceBytes: this.#peakDeviceBytes,
      rates: this.#rates,
      enqueueing: this.#enqueueing,
      operations: await this.#operations(),
    }
  }

  /** A step whose every operation is timed; a recorded one is a single operation, so it is launched anew. */
  async #operations(): Promise<GpuOperation[]> {
    const { device } = this.#options
    const costs = await profile(device, () => this.#training.runPlain())
    const total = [...costs.values()].reduce((sum, { seconds }) => sum + seconds, 0)
    return [...costs].map(([name, { calls, seconds }]) => ({ name, calls, seconds, share: seconds / total }))
  }

  [Symbol.dispose](): void {
    for (const value of this.#made) value[Symbol.dispose]()
  }
}

/** With weights of its own, as no published file is needed to know how long it takes. */
function randomEncoder(encoder: BaselineEncoder, device: Device, seed: number): VisionEncoder {
  const model = VisionTransformer.create(encoder, { device, seed })
  return new VisionEncoder(dinov2, typeof encoder === 'string' ? encoder : 'dinov2-vit-s', model)
}
