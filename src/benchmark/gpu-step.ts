import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { ALONE, type World } from '../distributed/world.ts'
import { aWorld } from '../distributed/world-schema.ts'
import type { LightningDiTPreset, MMDiTPreset, SiTPreset } from '../models/presets.ts'
import type { SiTConfig } from '../models/sit.ts'
import type { TokenRouting } from '../models/token-route.ts'
import { type CudaDeviceInfo, native } from '../native.ts'
import { type Device, gpuOf, trimMemory } from '../tensor/device.ts'
import { RECOMPUTATIONS, type Recomputation } from '../tensor/recomputation.ts'
import { PRECISIONS, type Precision } from '../training/precision.ts'
import { baselineModel } from './baseline-model.ts'
import {
  besidePython,
  precisionOfBaseline,
  requireCompiledRegions,
  requireNoRoute,
  type StepBaseline,
} from './beside-python.ts'
import { type GpuClocks, readGpuClocks } from './gpu-clocks.ts'
import { type GpuOperation, type GpuSideFigures, GpuTrainingSide } from './gpu-training-side.ts'
import { gpuByCudaName, peakFlops } from './gpus.ts'
import { DEFAULT_SIZE } from './image-size.ts'
import { type MeasuredRound, type TimeSeries, timeSeries } from './interleave.ts'
import { type KernelWishes, kernelWishes } from './kernel-wishes.ts'
import { aCount, aShareOfTokens, modelOptions, stepBaselineOptions } from './option-schemas.ts'
import { peakResidentBytes } from './peak-memory.ts'
import { type BaselineEncoder, PythonBaseline, type PythonBaselineInfo } from './python-baseline.ts'
import { roundsOf } from './rounds.ts'
import { type SustainedOptions, type SustainedRate, sustainedRate } from './sustained.ts'

export interface GpuStepBenchmarkOptions {
  readonly device: Device
  /** Default SiT-B/2. */
  readonly model?: SiTPreset | LightningDiTPreset | MMDiTPreset | FreeSizes
  /** Side of the images in pixels, of which eight make one of the latents'. Default 256. */
  readonly size?: number
  /** Of all processes. Default 64. */
  readonly batch?: number
  /** The processes that share it, with a GPU each, as `withProcesses` gives them. Default: this one alone. Without a baseline. */
  readonly world?: World
  /** Measured steps, at least 7 against a baseline. */
  readonly rounds?: number
  /** Default bf16. */
  readonly precision?: Precision
  /** Of random weights, makes each step's targets of images; without it the targets are given, as wide as DINOv2 ViT-B's. */
  readonly encoder?: BaselineEncoder
  readonly cudaGraph?: boolean
  /** What our backward pass computes again. Default: nothing. */
  readonly recompute?: Recomputation
  /** Share of the tokens that go past the blocks of TREAD's route. Default: none; no baseline knows of it. */
  readonly routeTokens?: number
  /** After the measured steps, more of them for so many seconds, with nothing between: whether the rate holds. Without a baseline. */
  readonly seconds?: number
  /** PyTorch's step on the same GPU. */
  readonly against?: GpuBaseline
  readonly seed?: number
  /** Side of the large product whose rate is the limit. Default 8192. */
  readonly probeSide?: number
  readonly signal?: AbortSignal
  readonly onRound?: (round: MeasuredRound) => void
  /** Called after each step of the run of `seconds`. */
  readonly onSustained?: SustainedOptions['onStep']
}

/** A model of any size; what is not said is as the presets have it. */
export type FreeSizes = Pick<SiTConfig, 'depth' | 'hidden' | 'heads' | 'patch'> &
  Partial<Pick<SiTConfig, 'classes' | 'projectorWidth' | 'text'>>

export interface GpuBaseline extends StepBaseline {
  /**
   * `steps` (default): the two sides' steps take turns, which wants memory for both. `blocks`: each side is alone on the GPU, ours
   * before and after.
   */
  readonly turns?: 'steps' | 'blocks'
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...modelOptions(),
    device: z.string(),
    precision: z.enum(PRECISIONS).optional(),
    encoder: z
      .union([
        z.enum(['dinov2-vit-s', 'dinov2-vit-b', 'dinov2-vit-l']),
        z.strictObject({ hidden: aCount(), depth: aCount(), heads: aCount() }),
      ])
      .optional(),
    cudaGraph: z.boolean().optional(),
    world: aWorld('meet').optional(),
    recompute: z.enum(RECOMPUTATIONS).optional(),
    routeTokens: aShareOfTokens().optional(),
    seconds: z.number().positive().optional(),
    against: z
      .strictObject({
        ...stepBaselineOptions(),
        turns: z.enum(['steps', 'blocks']).optional(),
      } satisfies Record<keyof GpuBaseline, z.ZodType>)
      .optional(),
    probeSide: aCount().optional(),
    onSustained: aFunction().optional(),
  } satisfies Record<keyof GpuStepBenchmarkOptions, z.ZodType>),
)

export interface GpuStepBenchmark extends KernelWishes {
  readonly model: SiTConfig
  /** Side of the images in pixels. */
  readonly size: number
  readonly parameters: number
  /** Of all processes. */
  readonly batch: number
  /** With a GPU each, of which what follows tells of the leader's. */
  readonly processes: number
  readonly device: Device
  readonly gpu: CudaDeviceInfo
  /** As CUDA counts: 13000 is 13.0. */
  readonly driverVersion: number
  readonly precision: Precision
  readonly encoder: BaselineEncoder | undefined
  readonly cudaGraph: boolean
  readonly recompute: Recomputation
  readonly route: TokenRouting | undefined
  /** Undefined where nvidia-smi does not answer. */
  readonly clocks: { readonly before: GpuClocks | undefined; readonly after: GpuClocks | undefined }
  readonly ours: {
    readonly seconds: TimeSeries
    /** What the host took of them to enqueue the step: where it is most of it, the GPU waits for the host. */
    readonly enqueueing: TimeSeries
    /** Of all processes. */
    readonly imagesPerSecond: number
    /** Per second, of this GPU, by the median. */
    readonly flops: number
    /** FLOP per second of a large product and bytes per second of a copy, measured in turn with the steps. */
    readonly productRate: TimeSeries
    readonly copyRate: TimeSeries
    /** `flops` over the median of `productRate`. */
    readonly shareOfProductRate: number
    /** `flops` over the data sheet's dense rate in the precision; undefined in fp32 and for a GPU that is not in the table. */
    readonly mfu: number | undefined
    /** Most that the tensors of the step took. */
    readonly peakDeviceBytes: number
    readonly peakRssBytes: number
  }
  /** The run of so many seconds, where one was asked for. */
  readonly sustained?: SustainedRate
  /** What the operations of one step cost, launched one by one: by the GPU's clock, the dearest first. */
  readonly operations: readonly GpuOperation[]
  readonly baseline?: PythonBaselineInfo &
    Pick<GpuBaseline, 'variant' | 'compile' | 'regions' | 'turns'> & {
      /** Of the steps before those that are measured; what is compiled is so in the first. */
      readonly warmup: readonly number[]
      readonly seconds: TimeSeries
      readonly imagesPerSecond: number
      readonly peakDeviceBytes: number | undefined
      readonly peakRssBytes: number
    }
  /** Baseline's median over ours: above 1 we are faster. */
  readonly ratio?: number
  /** Median of each pair's ratio, where the steps took turns. */
  readonly pairedRatio?: number
}

/** PyTorch compiles, tunes and records in its first steps. */
const BASELINE_WARMUP = 5

/**
 * Times training steps of a SiT with REPA on a GPU, on synthetic latents and images. With a baseline, its steps and ours take turns. Several
 * processes begin each step together, and the time is the leader's, which ends with what all exchange.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds, a size that is no multiple of 8, regions where nothing is compiled, fp16 or a run of so many seconds beside a baseline, or processes that do not divide the batch or are beside a baseline; {Error} where the baseline does not start, or memory does not suffice for both
 */
export async function benchmarkGpuStep(options: GpuStepBenchmarkOptions): Promise<GpuStepBenchmark> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkGpuStep')
  const rounds = roundsOf(options)
  const { device, batch = 64, precision = 'bf16', against, seed = 0, world = ALONE } = options
  if (against && options.seconds !== undefined) {
    throw new RangeError('A run of so many seconds is of our step alone; leave out the baseline.')
  }
  const { size: processes } = world
  if (batch % processes !== 0) {
    throw new RangeError(`A batch of ${batch} cannot be shared by ${processes} processes; expected a multiple of them.`)
  }
  if (processes > 1 && (against || options.seconds !== undefined)) {
    throw new RangeError(
      `${processes} processes are timed by themselves, for so many rounds; leave out the baseline, and the run of so many seconds.`,
    )
  }
  if (against) {
    requireNoRoute(options)
    requireCompiledRegions(against)
  }
  const baselinePrecision = against && precisionOfBaseline(precision)
  const before = await readGpuClocks(device)
  const measured = await measureSides(options)
  const { config, parameters, flopsPerImage, rates, times, operations } = measured
  const seconds = timeSeries(times.ours)
  const flops = ((batch / processes) * flopsPerImage) / seconds.median
  const gpu = gpuOf(device)!
  const sheet = gpuByCudaName(gpu.name)
  const productRate = timeSeries(rates.products)
  return {
    model: config,
    size: options.size ?? DEFAULT_SIZE,
    parameters,
    batch,
    processes,
    device,
    gpu,
    driverVersion: native().cudaInfo().driverVersion,
    precision,
    ...kernelWishes(),
    encoder: options.encoder,
    cudaGraph: options.cudaGraph ?? false,
    recompute: options.recompute ?? 'none',
    route: measured.route,
    clocks: { before, after: await readGpuClocks(device) },
    ours: {
      seconds,
      enqueueing: timeSeries(measured.enqueueing),
      imagesPerSecond: batch / seconds.median,
      flops,
      productRate,
      copyRate: timeSeries(rates.copy),
      shareOfProductRate: flops / productRate.median,
      mfu: sheet && precision !== 'fp32' ? flops / peakFlops(sheet, precision) : undefined,
      peakDeviceBytes: measured.peakDeviceBytes,
      peakRssBytes: peakResidentBytes(),
    },
    ...(measured.sustained && { sustained: measured.sustained }),
    operations,
    ...(measured.baseline && {
      baseline: {
        ...measured.baseline.info,
        variant: against?.variant ?? 'tuned',
        ...(against?.compile && { compile: against.compile, regions: against.regions ?? 'whole' }),
        turns: against?.turns ?? 'steps',
        warmup: measured.baseline.warmup,
        seconds: timeSeries(times.baseline),
        imagesPerSecond: batch / timeSeries(times.baseline).median,
        peakDeviceBytes: measured.baseline.peakDeviceBytes,
        peakRssBytes: measured.baseline.peakRssBytes,
      },
      ratio: timeSeries(times.baseline).median / seconds.median,
      ...(measured.pairedRatio !== undefined && { pairedRatio: measured.pairedRatio }),
    }),
  }

  async function measureSides({ signal, onRound }: GpuStepBenchmarkOptions): Promise<Measured> {
    const times = { ours: [] as number[], baseline: [] as number[] }
    const startBaseline = (config: SiTConfig) => startWarmBaseline(options, config, baselinePrecision)
    if (!against || against.turns === 'blocks') {
      const first = await measureOurs(options, against ? Math.ceil(rounds / 2) : rounds, times.ours)
      if (!against) return { ...first, times }
      trimMemory(device)
      const baseline = await (async () => {
        const { worker: started, warmup } = await startBaseline(first.config)
        await using worker = started
        for (let index = 0; index < rounds; index++) {
          signal?.throwIfAborted()
          times.baseline.push((await worker.step())[0]!)
        }
        return { ...(await baselineFigures(worker)), warmup }
      })()
      const second = await measureOurs(options, Math.floor(rounds / 2), times.ours)
      const rates = {
        products: [...first.rates.products, ...second.rates.products],
        copy: [...first.rates.copy, ...second.rates.copy],
      }
      return { ...first, rates, enqueueing: [...first.enqueueing, ...second.enqueueing], times, baseline }
    }
    using side = await GpuTrainingSide.start(options)
    const { worker: started, warmup } = await startBaseline(side.config)
    await using worker = started
    const compared = await besidePython(worker, { ours: () => side.step(), rounds, warmup: 1, signal, onRound })
    times.ours.push(...compared.ours.seconds)
    times.baseline.push(...compared.baseline.seconds)
    return {
      ...(await side.figures()),
      times,
      baseline: { ...(await baselineFigures(worker)), warmup },
      pairedRatio: compared.pairedRatio,
    }
  }

  async function measureOurs(
    { signal, onRound, seconds, onSustained }: GpuStepBenchmarkOptions,
    count: number,
    into: number[],
  ): Promise<GpuSideFigures & Pick<Measured, 'sustained'>> {
    using side = await GpuTrainingSide.start(options)
    for (let index = 0; index < count; index++) {
      signal?.throwIfAborted()
      const time = await side.step()
      into.push(time)
      onRound?.({ index: into.length - 1, rounds, seconds: time })
    }
    if (seconds === undefined) return await side.figures()
    const sustained = await sustainedRate({
      step: () => side.stepAlone(),
      batch,
      seconds,
      short: batch / timeSeries(into).median,
      readClocks: () => readGpuClocks(device),
      signal,
      onStep: onSustained,
    })
    return { ...(await side.figures()), sustained }
  }

  async function startWarmBaseline(
    { encoder }: GpuStepBenchmarkOptions,
    config: SiTConfig,
    name: ReturnType<typeof precisionOfBaseline> | undefined,
  ): Promise<{ worker: PythonBaseline; warmup: readonly number[] }> {
    const worker = await PythonBaseline.start({
      model: baselineModel(config),
      batch,
      threads: native().cpuInfo().threads,
      seed,
      device,
      precision: name,
      ...(encoder && { encoder }),
      ...(against?.variant && { variant: against.variant }),
      ...(against?.compile && { compile: against.compile }),
      ...(against?.regions && { regions: against.regions }),
      ...(against?.onLog && { onLog: against.onLog }),
      ...(against?.command && { command: against.command }),
    })
    try {
      return { worker, warmup: await worker.step(BASELINE_WARMUP) }
    } catch (error) {
      await worker.close()
      throw error
    }
  }
}

interface Measured extends GpuSideFigures {
  readonly sustained?: SustainedRate
  readonly times: { readonly ours: readonly number[]; readonly baseline: readonly number[] }
  readonly baseline?: Awaited<ReturnType<typeof baselineFigures>> & { readonly warmup: readonly number[] }
  readonly pairedRatio?: number
}

async function baselineFigures(worker: PythonBaseline) {
  return {
    info: worker.info,
    peakDeviceBytes: await worker.peakDeviceBytes(),
    peakRssBytes: await worker.peakRssBytes(),
  }
}
