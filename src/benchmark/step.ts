import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { LightningDiTPreset, MMDiTPreset, SiTPreset } from '../models/presets.ts'
import { SiT, type SiTConfig } from '../models/sit.ts'
import type { TokenRouting } from '../models/token-route.ts'
import { type CpuLevel, native } from '../native.ts'
import { type Device, memoryStats, resetPeakMemory } from '../tensor/device.ts'
import { RECOMPUTATIONS, type Recomputation } from '../tensor/recomputation.ts'
import { baselineModel } from './baseline-model.ts'
import { besidePython, requireCompiledRegions, requireNoRoute, type StepBaseline } from './beside-python.ts'
import { BusyProcess } from './busy-process.ts'
import { trainingFlops } from './flops.ts'
import { DEFAULT_SIZE, latentsOfSize } from './image-size.ts'
import { interleave, type MeasuredRound, type TimeSeries, timeAlone, timeSeries } from './interleave.ts'
import { aCommand, aShareOfTokens, modelOptions, stepBaselineOptions } from './option-schemas.ts'
import { peakResidentBytes } from './peak-memory.ts'
import { PythonBaseline, type PythonBaselineInfo } from './python-baseline.ts'
import { roundsOf } from './rounds.ts'
import { type SustainedOptions, type SustainedRate, sustainedRate } from './sustained.ts'
import { TrainingStep } from './training-step.ts'

export interface StepBenchmarkOptions {
  /** Default SiT-S/2. */
  readonly model?:
    | SiTPreset
    | LightningDiTPreset
    | MMDiTPreset
    | Pick<SiTConfig, 'depth' | 'hidden' | 'heads' | 'patch'>
  /** Side of the images in pixels, of which eight make one of the latents'. Default 256. */
  readonly size?: number
  /** Default 4. */
  readonly batch?: number
  /** Measured steps, at least 7 against a baseline. */
  readonly rounds?: number
  /** PyTorch's step in turn with ours (bench/python/step.py), on as many threads; `python` is `{}`. */
  readonly against?: 'python' | Omit<StepBaseline, 'command'>
  /** Our step in turn alone and beside another process that keeps a core busy; at least 7 rounds, and no baseline. */
  readonly besideBusyProcess?: boolean
  /** After the measured steps, more of them for so many seconds: whether the rate holds. With neither baseline nor busy process. */
  readonly seconds?: number
  /** How the baseline's worker is started, where it is not the package's own. */
  readonly command?: readonly [string, ...string[]]
  readonly device?: Device
  /** What the backward pass computes again. Default: nothing. */
  readonly recompute?: Recomputation
  /** Share of the tokens that go past the blocks of TREAD's route. Default: none; no baseline knows of it. */
  readonly routeTokens?: number
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Called after each measured step. */
  readonly onRound?: (round: MeasuredRound) => void
  /** Called after each step of the run of `seconds`. */
  readonly onSustained?: SustainedOptions['onStep']
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...modelOptions(),
    device: z.string().optional(),
    against: z.union([z.literal('python'), z.strictObject(stepBaselineOptions()).omit({ command: true })]).optional(),
    command: aCommand().optional(),
    besideBusyProcess: z.boolean().optional(),
    seconds: z.number().positive().optional(),
    recompute: z.enum(RECOMPUTATIONS).optional(),
    routeTokens: aShareOfTokens().optional(),
    onSustained: aFunction().optional(),
  } satisfies Record<keyof StepBenchmarkOptions, z.ZodType>),
)

export interface StepBenchmark {
  readonly model: SiTConfig
  /** Side of the images in pixels. */
  readonly size: number
  readonly parameters: number
  readonly batch: number
  readonly device: Device
  readonly level: CpuLevel
  readonly threads: number
  readonly route: TokenRouting | undefined
  readonly ours: StepFigures & {
    /** Per second, by the median. */
    readonly flops: number
    /** FLOP per second of bare multiply-adds, median of measurements in turn with the steps. */
    readonly fmaPeak: number
    /** `flops` over `fmaPeak`. */
    readonly shareOfPeak: number
    /** Most that the device's tensors took. */
    readonly peakDeviceBytes: number
  }
  /** The run of so many seconds, where one was asked for. */
  readonly sustained?: SustainedRate
  readonly baseline?: StepFigures &
    PythonBaselineInfo &
    Pick<StepBaseline, 'variant' | 'compile' | 'regions'> & {
      /** Of the step before all that take turns, in which is compiled what shall be. */
      readonly warmup: readonly number[]
    }
  /** Baseline's median over ours: above 1 we are faster. */
  readonly ratio?: number
  /** Median of each pair's ratio. */
  readonly pairedRatio?: number
  /** Our step beside a busy process. */
  readonly beside?: {
    readonly seconds: TimeSeries
    readonly imagesPerSecond: number
    /** Its median over that of the steps alone. */
    readonly slowdown: number
    /** Median of each pair's slowdown. */
    readonly pairedSlowdown: number
  }
}

interface StepFigures {
  readonly seconds: TimeSeries
  readonly imagesPerSecond: number
  readonly peakRssBytes: number
}

/** Feature width of the encoder that is aligned with: DINOv2 ViT-B, the reference's choice. */
const ENCODER_WIDTH = 768
const ALIGN_DEPTH = 8
/** The first step touches the memory, the second packs and caches what the third finds. */
const WARMUP = 2
const PEAK_SECONDS = 0.05

/**
 * Times training steps of a SiT with REPA in fp32 on synthetic latents, the encoder's features given. With a baseline, its
 * steps and ours take turns.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds, a size that is no multiple of 8, regions where nothing is compiled, or more than one of a baseline, a busy process and a run of so many seconds; {Error} where the baseline does not start or refuses its surroundings
 */
export async function benchmarkStep(options: StepBenchmarkOptions = {}): Promise<StepBenchmark> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkStep')
  const rounds = roundsOf(options)
  const { model: preset = 'SiT-S/2', size = DEFAULT_SIZE, batch = 4, device = 'cpu', seed = 0, signal } = options
  if (options.against !== undefined && options.besideBusyProcess) {
    throw new RangeError('A baseline and a busy process cannot both be beside our step; measure one, then the other.')
  }
  const against = options.against === 'python' ? {} : options.against
  if (against) {
    requireNoRoute(options)
    requireCompiledRegions(against)
  }
  if (options.seconds !== undefined && (options.against !== undefined || options.besideBusyProcess)) {
    throw new RangeError('A run of so many seconds is of our step alone, with nothing beside it.')
  }
  // Its limit is a CPU's, the multiply-adds of the cores.
  if (device !== 'cpu') {
    throw new RangeError(`benchmarkStep measures the CPU, not ${device}; benchmarkGpuStep measures a GPU.`)
  }
  const depth = typeof preset === 'string' ? ALIGN_DEPTH : Math.min(ALIGN_DEPTH, preset.depth)
  using model = SiT.create(preset, {
    inputSize: latentsOfSize(size),
    alignWidths: [ENCODER_WIDTH],
    alignDepth: depth,
    device,
    seed,
  })
  const { config } = model
  const { level, threads } = native().cpuInfo()
  resetPeakMemory(device)
  const { recompute, routeTokens } = options
  using step = new TrainingStep(model, { batch, seed, recompute, routeTokens })
  const { route } = step
  const peaks: number[] = []
  const ours = async () => {
    const seconds = await step.run()
    peaks.push(await native().measureFmaPeak(PEAK_SECONDS))
    return seconds
  }
  const figuresOf = (seconds: TimeSeries): StepBenchmark['ours'] => {
    const flops = (batch * trainingFlops(config, route)) / seconds.median
    const fmaPeak = timeSeries(peaks).median
    return {
      seconds,
      imagesPerSecond: batch / seconds.median,
      flops,
      fmaPeak,
      shareOfPeak: flops / fmaPeak,
      peakRssBytes: peakResidentBytes(),
      peakDeviceBytes: memoryStats(device).peakBytes,
    }
  }
  const common = { model: config, size, parameters: model.parameterCount, batch, device, level, threads, route }

  if (options.besideBusyProcess) {
    const compared = await interleave({
      ours,
      baseline: async () => {
        await using _busy = await BusyProcess.start()
        return await step.run()
      },
      rounds,
      warmup: WARMUP,
      signal,
      onRound: ({ index, ours: seconds }) => options.onRound?.({ index, rounds, seconds }),
    })
    return {
      ...common,
      ours: figuresOf(compared.ours),
      beside: {
        seconds: compared.baseline,
        imagesPerSecond: batch / compared.baseline.median,
        slowdown: compared.ratio,
        pairedSlowdown: compared.pairedRatio,
      },
    }
  }

  if (against === undefined) {
    const seconds = await timeAlone({ ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
    const figures = figuresOf(seconds)
    if (options.seconds === undefined) return { ...common, ours: figures }
    const sustained = await sustainedRate({
      step: () => step.run(),
      batch,
      seconds: options.seconds,
      short: figures.imagesPerSecond,
      signal,
      onStep: options.onSustained,
    })
    return { ...common, ours: figures, sustained }
  }

  await using baseline = await PythonBaseline.start({
    model: baselineModel(config),
    batch,
    threads,
    seed,
    ...against,
    ...(options.command && { command: options.command }),
  })
  const warmup = await baseline.step(1)
  const compared = await besidePython(baseline, { ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
  return {
    ...common,
    ours: figuresOf(compared.ours),
    baseline: {
      ...baseline.info,
      variant: against.variant ?? 'tuned',
      ...(against.compile && { compile: against.compile, regions: against.regions ?? 'whole' }),
      warmup,
      seconds: compared.baseline,
      imagesPerSecond: batch / compared.baseline.median,
      peakRssBytes: await baseline.peakRssBytes(),
    },
    ratio: compared.ratio,
    pairedRatio: compared.pairedRatio,
  }
}
