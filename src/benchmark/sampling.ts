import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { type Guidance, isGuidedAt } from '../diffusion/guidance.ts'
import { sampleFlow, sdeTimes } from '../diffusion/samplers.ts'
import type { LightningDiTPreset, MMDiTPreset, SiTPreset } from '../models/presets.ts'
import { SiT, type SiTConfig } from '../models/sit.ts'
import { type CpuLevel, native } from '../native.ts'
import { allowTf32Meanwhile, type Device, gpuOf, memoryStats, resetPeakMemory, synchronize } from '../tensor/device.ts'
import { randomNormal } from '../tensor/random.ts'
import { defaultPrecision, PRECISIONS, type Precision, precisionPolicy } from '../training/precision.ts'
import { baselineModel } from './baseline-model.ts'
import { besidePython, precisionOfBaseline } from './beside-python.ts'
import { forwardFlops } from './flops.ts'
import { GpuLimits } from './gpu-limits.ts'
import { DEFAULT_SIZE, latentsOfSize } from './image-size.ts'
import { type MeasuredRound, type TimeSeries, timeAlone, timeSeries } from './interleave.ts'
import { aCount, baselineOptions, modelOptions } from './option-schemas.ts'
import { peakResidentBytes } from './peak-memory.ts'
import { PythonBaseline, type PythonBaselineInfo } from './python-baseline.ts'
import { roundsOf } from './rounds.ts'

export interface SamplingBenchmarkOptions {
  /** Default SiT-S/2. */
  readonly model?:
    | SiTPreset
    | LightningDiTPreset
    | MMDiTPreset
    | Pick<SiTConfig, 'depth' | 'hidden' | 'heads' | 'patch'>
  /** Side of the images in pixels, of which eight make one of the latents'. Default 256. */
  readonly size?: number
  /** Images at once. Default 4. */
  readonly batch?: number
  /** Of the SDE. Default 10; the paper's images are made in 250. */
  readonly steps?: number
  /** Default: the paper's, 1.8 where t ≤ 0.7. */
  readonly guidance?: Guidance
  /** Measured batches, at least 7 against a baseline. */
  readonly rounds?: number
  /** Default: bf16 on a GPU, fp32 on the CPU. */
  readonly precision?: Precision
  /** PyTorch's sampler in turn with ours (bench/python/sample.py), on the same device. */
  readonly against?: 'python'
  /** How the baseline's worker is started, where it is not the package's own. */
  readonly command?: readonly [string, ...string[]]
  readonly device?: Device
  /** On a GPU: side of the large product whose rate is the limit. Default 8192. */
  readonly probeSide?: number
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Called after each measured batch. */
  readonly onRound?: (round: MeasuredRound) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...modelOptions(),
    device: z.string().optional(),
    // The sampler checks both.
    steps: z.unknown().optional(),
    guidance: z.unknown().optional(),
    precision: z.enum(PRECISIONS).optional(),
    ...baselineOptions(),
    probeSide: aCount().optional(),
  } satisfies Record<keyof SamplingBenchmarkOptions, z.ZodType>),
)

/** Of a batch of images from noise. */
export interface SamplingFigures {
  readonly seconds: TimeSeries
  /** Of so many steps, by the median. */
  readonly imagesPerSecond: number
  readonly secondsPerStep: number
  readonly peakRssBytes: number
}

export interface SamplingBenchmark {
  readonly model: SiTConfig
  /** Side of the images in pixels. */
  readonly size: number
  readonly parameters: number
  readonly batch: number
  readonly steps: number
  readonly guidance: Guidance
  /** How often the model is run for an image: twice in a step that is guided. */
  readonly evaluations: number
  readonly device: Device
  /** The GPU's name. */
  readonly gpu?: string
  readonly precision: Precision
  readonly level: CpuLevel
  readonly threads: number
  readonly ours: SamplingFigures & {
    /** Per second, by the median. */
    readonly flops: number
    /** FLOP per second in turn with the batches: of bare multiply-adds on the CPU, of a large product on a GPU. */
    readonly limit: number
    /** `flops` over `limit`. */
    readonly shareOfLimit: number
    /** Most that a batch's tensors took, the model's among them. */
    readonly peakDeviceBytes: number
  }
  readonly baseline?: SamplingFigures & PythonBaselineInfo & { readonly peakDeviceBytes?: number }
  /** Baseline's median over ours: above 1 we are faster. */
  readonly ratio?: number
  /** Median of each pair's ratio. */
  readonly pairedRatio?: number
}

/** Pairs before those that count: ours has been run once by then, the baseline's not. */
const WARMUP = 1
/** Of a measurement of the CPU's multiply-adds. */
const PEAK_SECONDS = 0.05
/** With which the paper's best figures are made (FID 1.42). */
const PAPER_GUIDANCE: Guidance = { scale: 1.8, low: 0, high: 0.7 }

/**
 * Times REPA's stochastic sampler: batches of images' latents from noise, by a SiT of random weights without projectors.
 * With a baseline, its batches and ours take turns.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds or steps, a size that is no multiple of 8, or a precision that the device or the baseline has not; {Error} where the baseline does not start
 */
export async function benchmarkSampling(options: SamplingBenchmarkOptions = {}): Promise<SamplingBenchmark> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkSampling')
  const rounds = roundsOf(options)
  const { model: preset = 'SiT-S/2', size = DEFAULT_SIZE, batch = 4, steps = 10, guidance = PAPER_GUIDANCE } = options
  const { device = 'cpu', seed = 0, signal } = options
  const precision = options.precision ?? defaultPrecision(device)
  const theirPrecision = options.against && precisionOfBaseline(precision)
  const { dtype, tf32 } = precisionPolicy(precision, device)
  using _products = allowTf32Meanwhile(device, tf32)
  const before = memoryStats(device).liveBytes
  resetPeakMemory(device)
  using model = SiT.create(preset, { inputSize: latentsOfSize(size), alignWidths: [], device, seed })
  model.computeIn(dtype)
  const { config } = model
  const { channels, inputSize, classes, text } = config
  if (text && options.against) {
    throw new RangeError(
      "The baseline's sampler is of models of classes, and the model is of text; leave it out, or take a SiT.",
    )
  }
  const shape = [batch, channels, ...inputSize]
  const normal = (stream: 'sampleNoise' | 'sdeNoise', step: number) =>
    randomNormal(shape, { seed, stream, step }, device)
  using noise = normal('sampleNoise', 0)
  const captions = (tokens: number, width: number, samples: number, step: number) =>
    randomNormal([samples, tokens, width], { seed, stream: 'sampleClassToken', step }, device)
  using given = text && captions(text.tokens, text.width, batch, 0)
  using none = text && captions(text.tokens, text.width, 1, 1)
  const condition = given && none ? { text: given, none } : Int32Array.from({ length: batch }, (_, i) => i % classes)
  const sampler = { mode: 'sde', steps, guidance, noise: (step: number) => normal('sdeNoise', step), signal } as const
  const run = async () => {
    const began = performance.now()
    using _latents = await sampleFlow(model, noise, condition, sampler)
    await synchronize(device)
    return (performance.now() - began) / 1000
  }
  // The memory of a batch is asked for before the probe takes its own.
  signal?.throwIfAborted()
  await run()
  const peakDeviceBytes = memoryStats(device).peakBytes - before
  using limits = device === 'cpu' ? undefined : await GpuLimits.prepare(device, dtype, options.probeSide)
  const rates: number[] = []
  const ours = async () => {
    const seconds = await run()
    rates.push(limits ? await limits.productRate() : await native().measureFmaPeak(PEAK_SECONDS))
    return seconds
  }
  const evaluations = sdeTimes(steps)
    .slice(0, -1)
    .reduce((sum, t) => sum + (isGuidedAt(guidance, t) ? 2 : 1), 0)
  const figuresOf = (seconds: TimeSeries): Omit<SamplingFigures, 'peakRssBytes'> => ({
    seconds,
    imagesPerSecond: batch / seconds.median,
    secondsPerStep: seconds.median / steps,
  })
  const oursOf = (seconds: TimeSeries): SamplingBenchmark['ours'] => {
    const flops = (batch * evaluations * forwardFlops(config)) / seconds.median
    const limit = timeSeries(rates).median
    return {
      ...figuresOf(seconds),
      flops,
      limit,
      shareOfLimit: flops / limit,
      peakRssBytes: peakResidentBytes(),
      peakDeviceBytes,
    }
  }
  const { level, threads } = native().cpuInfo()
  const gpu = gpuOf(device)?.name
  const common = {
    model: config,
    size,
    parameters: model.parameterCount,
    batch,
    steps,
    guidance,
    evaluations,
    device,
    precision,
    level,
    threads,
    ...(gpu !== undefined && { gpu }),
  }

  if (theirPrecision === undefined) {
    const seconds = await timeAlone({ ours, rounds, warmup: 0, signal, onRound: options.onRound })
    return { ...common, ours: oursOf(seconds) }
  }

  await using baseline = await PythonBaseline.startSampler({
    model: baselineModel(config),
    batch,
    steps,
    guidance,
    threads,
    seed,
    device,
    precision: theirPrecision,
    ...(options.command && { command: options.command }),
  })
  const compared = await besidePython(baseline, { ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
  const theirPeakDeviceBytes = await baseline.peakDeviceBytes()
  return {
    ...common,
    ours: oursOf(compared.ours),
    baseline: {
      ...baseline.info,
      ...figuresOf(compared.baseline),
      peakRssBytes: await baseline.peakRssBytes(),
      ...(theirPeakDeviceBytes !== undefined && { peakDeviceBytes: theirPeakDeviceBytes }),
    },
    ratio: compared.ratio,
    pairedRatio: compared.pairedRatio,
  }
}
