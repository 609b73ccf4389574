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
import { PythonBaseline, type PythonBaselineInfo } from './python-baseline.ts'
import { roundsOf } from './rounds.ts'

export interface DecodeBenchmarkOptions {
  /** Side of the image in pixels, a multiple of 8. Default 512. */
  readonly size?: number
  /** Measured decodes, at least 7 against a baseline. */
  readonly rounds?: number
  /** PyTorch's decoder in turn with ours (bench/python/decode.py), on as many threads. */
  readonly against?: 'python'
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
  readonly baseline?: { readonly seconds: TimeSeries; readonly peakRssBytes: number } & PythonBaselineInfo
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
    throw new RangeError(`The decoder's baseline runs on the CPU, not on ${device}; leave --device out.`)
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

  await using baseline = await PythonBaseline.startDecoder({
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
  })
  const compared = await besidePython(baseline, { ours, rounds, warmup: WARMUP, signal, onRound: options.onRound })
  const figures = figuresOf(compared.ours)
  const peakRssBytes = await baseline.peakRssBytes()
  return {
    ...common,
    ours: figures,
    baseline: { ...baseline.info, seconds: compared.baseline, peakRssBytes },
    ratio: compared.ratio,
    pairedRatio: compared.pairedRatio,
    memoryRatio: peakRssBytes / figures.peakRssBytes,
  }
}
