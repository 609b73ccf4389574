import { type InterpolantPath, native, type TimeWeighting } from '../native.ts'
import type { Device } from './device.ts'
import { elementCount } from './dtype.ts'
import type { TokenSubset } from './ops/token-subset.ts'
import { Tensor } from './tensor.ts'

/** What random numbers are drawn for: each has a stream of its own, so that no two uses ever share a number. */
export const RANDOM_STREAMS = {
  initialisation: 0,
  timesteps: 1,
  noise: 2,
  posterior: 3,
  labelDropout: 4,
  sampleNoise: 5,
  sampleLabels: 6,
  sdeNoise: 7,
  teacherTimes: 8,
  classTokenNoise: 9,
  sampleClassToken: 10,
  sdeClassToken: 11,
  keptTokens: 12,
} as const

export type RandomStream = keyof typeof RANDOM_STREAMS

/**
 * Where random numbers come from: they depend on the seed, the stream, the step and the element's index alone (Philox-4x32-10),
 * so a resumed run draws what the unbroken one would have drawn.
 */
export interface RandomKey {
  readonly seed: number
  readonly stream: RandomStream
  /** Training step, or any other index below 2^48. */
  readonly step: number
  /** Global index of the first sample in this process; the numbers of sample b are those of sample b of the whole batch. */
  readonly firstSample?: number
}

const stream = (key: RandomKey) => RANDOM_STREAMS[key.stream]

function seedOf({ seed }: RandomKey): bigint {
  if (Number.isInteger(seed) && seed >= 0) return BigInt(seed)
  throw new RangeError(`The seed is ${seed}; a whole number, not negative, was expected.`)
}

/** Where the numbers of a tensor [B, ...] begin in the sequence. */
const firstElement = (shape: readonly number[], key: RandomKey) => (key.firstSample ?? 0) * elementCount(shape.slice(1))

/** N(0, 1) of shape [B, ...]. */
export function randomNormal(shape: readonly number[], key: RandomKey, device: Device): Tensor {
  const out = Tensor.empty(shape, device)
  fillNormal(out, 1, key)
  return out
}

/** U[0, 1) of shape [B, ...]. */
export function randomUniform(shape: readonly number[], key: RandomKey, device: Device): Tensor {
  const out = Tensor.empty(shape, device)
  fillUniform(out, 0, 1, key)
  return out
}

/** Overwrites with N(0, std²). */
export function fillNormal(out: Tensor, std: number, key: RandomKey): void {
  native().fillNormal(out.handle, std, seedOf(key), stream(key), key.step, firstElement(out.shape, key))
}

/** Overwrites with U[low, high). */
export function fillUniform(out: Tensor, low: number, high: number, key: RandomKey): void {
  native().fillUniform(out.handle, low, high, seedOf(key), stream(key), key.step, firstElement(out.shape, key))
}

/** How training times are distributed. */
export interface TimeDistribution {
  /** Uniform, or lognormal as REPA's `--weighting lognormal` maps it onto the path. */
  readonly weighting: TimeWeighting
  readonly path: InterpolantPath
  /** Each t becomes shift t / (1 − t + shift t): above 1 towards noise, which is at 1. Default 1: as they are. */
  readonly shift?: number
}

/** Training times [B] in [0, 1]. */
export function randomTimesteps(
  batch: number,
  { weighting, path, shift = 1 }: TimeDistribution,
  key: RandomKey,
  device: Device,
): Tensor {
  const out = Tensor.empty([batch], device)
  native().fillTimesteps(out.handle, weighting, path, shift, seedOf(key), stream(key), key.step, key.firstSample ?? 0)
  return out
}

/** Whole numbers i32 [B] from low to high − 1, all equally likely. */
export function randomIntegers(batch: number, low: number, high: number, key: RandomKey, device: Device): Tensor {
  const out = Tensor.empty([batch], device, 'i32')
  native().fillIntegers(out.handle, low, high, seedOf(key), stream(key), key.step, key.firstSample ?? 0)
  return out
}

/** Labels i32 [B] with each replaced by the null class with the given probability. */
export function dropLabels(labels: Tensor, probability: number, nullClass: number, key: RandomKey): Tensor {
  const handle = native().dropLabels(
    labels.handle,
    probability,
    nullClass,
    seedOf(key),
    stream(key),
    key.step,
    key.firstSample ?? 0,
  )
  return new Tensor(handle, labels.device)
}

/** `taken` of each of a batch's samples' `tokens` tokens, every such subset being as likely. */
export function randomTokens(
  { batch, tokens, taken }: { readonly batch: number; readonly tokens: number; readonly taken: number },
  key: RandomKey,
  device: Device,
): TokenSubset {
  const ids = Tensor.empty([batch, taken], device, 'i32')
  const places = Tensor.empty([batch, tokens], device, 'i32')
  native().drawTokens(ids.handle, places.handle, seedOf(key), stream(key), key.step, key.firstSample ?? 0)
  return { ids, places }
}
