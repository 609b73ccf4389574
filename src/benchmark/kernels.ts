import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { SIT_PRESETS, type SiTPreset } from '../models/presets.ts'
import { native } from '../native.ts'
import { synchronize } from '../tensor/device.ts'
import { randomNormal } from '../tensor/random.ts'
import { Tensor } from '../tensor/tensor.ts'
import { DEFAULT_SIZE, tokensOfSize } from './image-size.ts'
import { timeSeries } from './interleave.ts'
import { type KernelCase, kernelCases } from './kernel-cases.ts'
import { aSiTPreset, imageOptions, measuringOptions } from './option-schemas.ts'
import { roundsOf } from './rounds.ts'

export interface KernelBenchmarkOptions {
  readonly model?: SiTPreset
  /** Side of the images in pixels, of which eight make one of the latents'. Default 256. */
  readonly size?: number
  readonly batch?: number
  /** Measurements of each. */
  readonly rounds?: number
  readonly signal?: AbortSignal
  readonly onCase?: (done: number, total: number) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    ...measuringOptions(),
    ...imageOptions(),
    model: aSiTPreset().optional(),
    onCase: aFunction().optional(),
  } satisfies Record<keyof KernelBenchmarkOptions, z.ZodType>),
)

export interface KernelResult {
  readonly family: string
  readonly name: string
  readonly shape: string
  /** Of one call, median. */
  readonly seconds: number
  /** FLOP or bytes per second. */
  readonly rate: number
  readonly unit: 'FLOP/s' | 'B/s'
  /**
   * What the machine gave in turn with it: bare multiply-adds; or sum += x over memory, two reads and a write. (Not a copy: its
   * destination is read into the caches first, which is traffic that nobody counts.)
   */
  readonly limit: number
  readonly share: number
}

const DEVICE = 'cpu'
/** A kernel is repeated for so long in every round. */
const ROUND_SECONDS = 0.02
/** More than caches hold. */
const STREAM_FLOATS = 2 ** 25

/**
 * Times the kernels of a training step, each in turn with the limit that it is compared with.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for too few rounds, or a size that patches do not divide
 */
export async function benchmarkKernels(options: KernelBenchmarkOptions = {}): Promise<KernelResult[]> {
  parseConfiguration(optionsSchema(), options, 'the options of benchmarkKernels')
  const rounds = roundsOf(options)
  const { model = 'SiT-S/2', size = DEFAULT_SIZE, batch = 4, signal, onCase } = options
  const preset = SIT_PRESETS[model]
  using x = Tensor.zeros([STREAM_FLOATS], DEVICE)
  using sum = Tensor.zeros([STREAM_FLOATS], DEVICE)
  const streamRate = async () =>
    (12 * STREAM_FLOATS) / (await secondsOf(() => native().accumulate(sum.handle, x.handle), 1))
  const results: KernelResult[] = []
  const cases = kernelCases(preset, { batch, tokens: tokensOfSize(size, preset.patch) })
  for (const kernel of cases) {
    signal?.throwIfAborted()
    const limit = 'flops' in kernel.work ? () => native().measureFmaPeak(ROUND_SECONDS) : streamRate
    results.push(await measure(kernel, rounds, limit))
    onCase?.(results.length, cases.length)
  }
  return results
}

async function measure(kernel: KernelCase, rounds: number, limitOf: () => Promise<number>): Promise<KernelResult> {
  const { family, name, shape, work } = kernel
  const operands: Tensor[] = []
  const own = (tensor: Tensor) => {
    operands.push(tensor)
    return tensor
  }
  const make = (...size: number[]) =>
    own(randomNormal(size, { seed: 0, stream: 'noise', step: operands.length }, DEVICE))
  try {
    const run = kernel.prepare(make, own)
    await secondsOf(run, 1)
    const repeats = Math.max(1, Math.round(ROUND_SECONDS / (await secondsOf(run, 1))))
    const times: number[] = []
    const limits: number[] = []
    for (let round = 0; round < rounds; round++) {
      times.push((await secondsOf(run, repeats)) / repeats)
      limits.push(await limitOf())
    }
    const [seconds, limit] = [timeSeries(times).median, timeSeries(limits).median]
    const [amount, unit] = 'flops' in work ? ([work.flops, 'FLOP/s'] as const) : ([work.bytes, 'B/s'] as const)
    const rate = amount / seconds
    return { family, name, shape, seconds, rate, unit, limit, share: rate / limit }
  } finally {
    for (const tensor of operands) tensor.dispose()
  }
}

async function secondsOf(run: () => void, repeats: number): Promise<number> {
  await synchronize(DEVICE)
  const began = performance.now()
  for (let i = 0; i < repeats; i++) run()
  await synchronize(DEVICE)
  return (performance.now() - began) / 1000
}
