import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { SIT_PRESETS, type SiTPreset } from '../models/presets.ts'
import type { CudaDeviceInfo } from '../native.ts'
import { allowTf32Meanwhile, type Device, gpuOf } from '../tensor/device.ts'
import { PRECISIONS, type Precision, precisionPolicy } from '../training/precision.ts'
import { type GpuClocks, readGpuClocks } from './gpu-clocks.ts'
import { type GpuKernelCase, type GpuKernelSizes, gpuKernelCases, Operands } from './gpu-kernel-cases.ts'
import { GpuLimits } from './gpu-limits.ts'
import { DEFAULT_SIZE, tokensOfSize } from './image-size.ts'
import { type TimeSeries, timeSeries } from './interleave.ts'
import { type KernelWishes, kernelWishes } from './kernel-wishes.ts'
import { aCount, aSiTPreset, imageOptions, measuringOptions } from './option-schemas.ts'
import { roundsOf } from './rounds.ts'
import { TimedKernel } from './timed-kernel.ts'

export interface GpuKernelBenchmarkOptions {
  readonly device: Device
  /** A preset, or sizes of one's own. Default SiT-XL/2. */
  readonly model?: SiTPreset | GpuKernelSizes
  /** Of a preset: side of the images in pixels, of which eight make one of the latents'. Default 256. */
  readonly size?: number
  /** Of a preset. Default 256. */
  readonly batch?: number
  /** Default bf16. */
  readonly precision?: Precision
  /** Measurements of each. */
  readonly rounds?: number
  /** Side of the large product whose rate is the limit. Default 8192. */
  readonly probeSide?: number
  readonly signal?: AbortSignal
  readonly onCase?: (done: number, total: number) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...measuringOptions(),
    ...imageOptions(),
    device: z.string(),
    model: z
      .union([
        aSiTPreset(),
        z.strictObject({
          depth: aCount(),
          hidden: aCount(),
          heads: aCount(),
          tokens: aCount(),
          batch: aCount(),
          features: aCount(),
          projector: aCount(),
          parameters: aCount(),
        } satisfies Record<keyof GpuKernelSizes, z.ZodType>),
      ])
      .optional(),
    precision: z.enum(PRECISIONS).optional(),
    probeSide: aCount().optional(),
    onCase: aFunction().optional(),
  } satisfies Record<keyof GpuKernelBenchmarkOptions, z.ZodType>),
)

export interface GpuKernelResult extends Pick<GpuKernelCase, 'family' | 'name' | 'shape'> {
  readonly seconds: TimeSeries
  /** FLOP per second; undefined for a kernel without products. */
  readonly flops: number | undefined
  /** Bytes per second of operands and results, each counted once. */
  readonly bytes: number
  /** What it could not be faster than at the rates that were measured in turn with it, and the least of those two that binds. */
  readonly floorSeconds: number
  readonly bound: 'products' | 'memory'
  /** The floor over its median time. */
  readonly share: number
}

export interface GpuKernelBenchmark extends KernelWishes {
  readonly device: Device
  readonly gpu: CudaDeviceInfo
  readonly precision: Precision
  readonly sizes: GpuKernelSizes
  /** Medians over the whole run: FLOP per second of a large product, bytes per second of a copy. */
  readonly limits: { readonly products: TimeSeries; readonly copy: TimeSeries }
  /** Undefined where nvidia-smi does not answer. */
  readonly clocks: { readonly before: GpuClocks | undefined; readonly after: GpuClocks | undefined }
  readonly kernels: readonly GpuKernelResult[]
}

/** DINOv2 ViT-B's features, and REPA's projector. */
const [FEATURES, PROJECTOR] = [768, 2048]
/** More than caches hold, and no more than a fortieth of a large GPU's memory. */
const PARAMETERS = 2 ** 26

/** The shapes of a preset's step on images of `size` pixels. Throws where its patches do not divide their latents. */
export function gpuKernelSizes(model: SiTPreset, batch: number, size = DEFAULT_SIZE): GpuKernelSizes {
  const { depth, hidden, heads, patch } = SIT_PRESETS[model]
  return {
    depth,
    hidden,
    heads,
    tokens: tokensOfSize(size, patch),
    batch,
    features: FEATURES,
    projector: PROJECTOR,
    parameters: PARAMETERS,
  }
}

/**
 * Times the kernels of a training step on a GPU by its own clock, each in turn with a large product and a copy.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds, a size that patches do not divide, or a precision that the device has not
 */
export async function benchmarkGpuKernels(options: GpuKernelBenchmarkOptions): Promise<GpuKernelBenchmark> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkGpuKernels')
  const rounds = roundsOf(options)
  const { device, model = 'SiT-XL/2', batch = 256, precision = 'bf16', signal, onCase } = options
  const { dtype, tf32 } = precisionPolicy(precision, device)
  using _products = allowTf32Meanwhile(device, tf32)
  const sizes = typeof model === 'string' ? gpuKernelSizes(model, batch, options.size) : model
  const before = await readGpuClocks(device)
  using limits = await GpuLimits.prepare(device, dtype, options.probeSide)
  const rates = { products: [] as number[], copy: [] as number[] }
  const kernels: GpuKernelResult[] = []
  const cases = gpuKernelCases(sizes, dtype)
  for (const kernel of cases) {
    using operands = new Operands(device)
    using timed = await TimedKernel.prepare(device, kernel.prepare(operands))
    const [times, products, copies]: [number[], number[], number[]] = [[], [], []]
    for (let round = 0; round < rounds; round++) {
      signal?.throwIfAborted()
      products.push(await limits.productRate())
      copies.push(await limits.copyRate())
      times.push(await timed.seconds())
    }
    rates.products.push(...products)
    rates.copy.push(...copies)
    kernels.push(resultOf(kernel, timeSeries(times), timeSeries(products).median, timeSeries(copies).median))
    onCase?.(kernels.length, cases.length)
  }
  return {
    device,
    gpu: gpuOf(device)!,
    precision,
    ...kernelWishes(),
    sizes,
    limits: { products: timeSeries(rates.products), copy: timeSeries(rates.copy) },
    clocks: { before, after: await readGpuClocks(device) },
    kernels,
  }
}

function resultOf(kernel: GpuKernelCase, seconds: TimeSeries, productRate: number, copyRate: number): GpuKernelResult {
  const { family, name, shape, flops, bytes } = kernel
  const [forProducts, forMemory] = [flops / productRate, bytes / copyRate]
  const floorSeconds = Math.max(forProducts, forMemory)
  return {
    family,
    name,
    shape,
    seconds,
    flops: flops > 0 ? flops / seconds.median : undefined,
    bytes: bytes / seconds.median,
    floorSeconds,
    bound: forProducts > forMemory ? 'products' : 'memory',
    share: floorSeconds / seconds.median,
  }
}
