import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../models/autoencoder-kl.ts'
import { type CpuLevel, native } from '../native.ts'
import { type Device, memoryStats, resetPeakMemory, synchronize } from '../tensor/device.ts'
import { randomNormal } from '../tensor/random.ts'
import { besidePython } from './beside-python.ts'
import { type MeasuredRound, type TimeSeries, timeAlone } from './interleave.ts'
import { aCount, baselineOptions, measuringOptions, roundOptions } from './option-schemas.ts'
import { peakResidentBytes } from './peak-memory.ts'
import {
  BASELINE_LAYOUTS,
  type BaselineLayout,
  PythonBaseline,
  type PythonBaselineInfo,
  type PythonDecoderOptions,
} from './python-baseline.ts'
import { roundsOf } from './rounds.ts'

export interface DecodeBenchmarkOptions {
  /** Side of the image in pixels, a multiple of 8. Default 512. */
  readonly size?: number
  /** Measured decodes, at least 7 against a baseline. */
  readonly rounds?: number
  /** PyTorch's decoder in turn with ours (bench/python/decode.py), on as many threads. */
  readonly against?: 'python'
  /** Of PyTorch's images. By default each is tried by a decode first, and the faster one taken. */
  readonly layout?: BaselineLayout
  /** How the baseline's worker is started, where it is not the package's own. */
  readonly command?: readonly [string, ...string[]]
  readonly device?: Device
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Called after each measured decode. */
  readonly onRound?: (round: MeasuredRound) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...measuringOptions(),
    ...roundOptions(),
    device: z.string().optional(),
    size: aCount().optional(),
    layout: z.enum(BASELINE_LAYOUTS).optional(),
    ...baselineOptions(),
  } satisfies Record<keyof DecodeBenchmarkOptions, z.ZodType>),
)

export interface DecodeBenchmark {
  readonly size: number
  readonly parameters: number
  readonly device: Device
  readonly level: CpuLevel
  readonly threads: number
  readonly ours: {
    readonly seconds: TimeSeries
    readonly peakRssBytes: number
    /** Most that the device's tensors took, weights included. */
    readonly peakDeviceBytes: number
  }
  readonly baseline?: PythonBaselineInfo & {
    readonly seconds: TimeSeries
    readonly peakRssBytes: number
    readonly layout: BaselineLayout
    /** Seconds of a decode in each layout, where none was asked for. */
    readonly tried?: Readonly<Record<BaselineLayout, number>>
  }
  /** Baseline's median over ours: above 1 we are faster. */
  readonly ratio?: number
  /** Median of each pair's ratio. */
  readonly pairedRatio?: number
  /** Baseline's peak resident memory over ours. */
  readonly memoryRatio?: number
}

/** The first touches the memory. */
const WARMUP = 1

/**
 * Times the Stable Diffusion VAE's decoder, with random weights, on one latent in fp32, the whole image at once. With a baseline, its
 * decodes and ours take turns.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds or a size that is no multiple of 8; {Error} where the baseline does not start
 */
export async function benchmarkDecode(options: DecodeBenchmarkOptions = {}): Promise<DecodeBenchmark> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkDecode')
  const rounds = roundsOf(options)
  const { size = 512, device = 'cpu', seed = 0, signal } = options
  if (options.against !== undefined && device !== 'cpu') {
    throw new RangeError(`The decoder's baseline runs on the CPU, not on ${device}; leave \`device\` out.`)
  }
  if (options.layout !== undefined && options.against === undefined) {
    throw new RangeError("layout is of the baseline, and there is none; pass against: 'python'.")
  }
  const config = autoencoderKLConfigSchema.parse({})
  using model = AutoencoderKL.fromConfig(config, device, 'decoder')
  if (size % model.downsampling !== 0) {
    throw new RangeError(`the size is ${size}; expected a multiple of ${model.downsampling}.`)
  }
  const side = size / model.downsampling
  model.initialise(seed)
  const key = { seed, stream: 'noise', step: 0 } as const
  using latents = randomNormal([1, config.latentChannels, side, side], key, device)
  await synchronize(device)
  resetPeakMemory(device)
  const ours = async () => {
    const began = performance.now()
    using _image = model.decode(latents)
    await synchronize(device)
    return (performance.now() - began) / 1000
  }
  const figuresOf = (seconds: TimeSeries): DecodeBenchmark['ours'] => ({
    seconds,
    peakRssBytes: peakResidentBytes(),
    peakDeviceBytes: memoryStats(device).peakBytes,
  })
  const { level, threads } = native().cpuInfo()
  const common = { size, parameters: model.parameterCount, device, level, threads }

  if (options.against === undefined) {
    const seconds = await timeAlone({ ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
    return { ...common, ours: figuresOf(seconds) }
  }

  const decoder = {
    model: {
      channels: config.blockChannels,
      layers: config.layersPerBlock,
      latentChannels: config.latentChannels,
      groups: config.normGroups,
      outChannels: config.outChannels,
    },
    latents: side,
    threads,
    seed,
    ...(options.command && { command: options.command }),
  }
  const tried = options.layout ? undefined : await tryLayouts(decoder, signal)
  const layout = tried ? fastest(tried) : options.layout!
  await using baseline = await PythonBaseline.startDecoder({ ...decoder, layout })
  const compared = await besidePython(baseline, { ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
  const figures = figuresOf(compared.ours)
  const peakRssBytes = await baseline.peakRssBytes()
  return {
    ...common,
    ours: figures,
    baseline: { ...baseline.info, seconds: compared.baseline, peakRssBytes, layout, ...(tried && { tried }) },
    ratio: compared.ratio,
    pairedRatio: compared.pairedRatio,
    memoryRatio: peakRssBytes / figures.peakRssBytes,
  }
}

/**
 * Which is faster differs between PyTorch's versions (bench/python/decode.py). Each runs in a worker of its own, so that the one that is
 * timed has not the other's peak memory.
 */
async function tryLayouts(
  decoder: Omit<PythonDecoderOptions, 'layout'>,
  signal: AbortSignal | undefined,
): Promise<Record<BaselineLayout, number>> {
  const seconds = { contiguous: 0, 'channels-last': 0 }
  for (const layout of BASELINE_LAYOUTS) {
    signal?.throwIfAborted()
    await using worker = await PythonBaseline.startDecoder({ ...decoder, layout })
    seconds[layout] = (await worker.step(WARMUP + 1)).at(-1)!
  }
  return seconds
}

function fastest(seconds: Readonly<Record<BaselineLayout, number>>): BaselineLayout {
  return BASELINE_LAYOUTS.reduce((best, layout) => (seconds[layout] < seconds[best] ? layout : best))
}
