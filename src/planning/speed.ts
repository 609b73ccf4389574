/** How fast a planned step may be expected to run, and on what that rests. */
import { type Gpu, peakFlops } from '../benchmark/gpus.ts'
import type { Precision } from '../training/precision.ts'
import type { MeasuredStep } from './measurements.ts'

/** Where nothing is measured: a share of the data sheet's peak. A guess, no figure of ours. */
const ASSUMED_SHARE = 0.4

export interface SpeedRequest {
  readonly model: string
  /** Of each process. */
  readonly batch: number
  readonly processes: number
  readonly device: 'cpu' | 'cuda'
  readonly precision: Precision
  /** Of a whole step for one image, the encoder's among them. */
  readonly flopsPerImage: number
  /** Without the encoder's. */
  readonly trainingFlopsPerImage: number
  readonly gpu: Gpu
  /** Of the peak, given by the user: then it counts before any measurement. */
  readonly share: number | undefined
}

export type SpeedBasis = 'measured' | 'scaled from a measurement' | 'assumed'

export interface ExpectedSpeed {
  readonly basis: SpeedBasis
  readonly imagesPerSecond: number
  /** FLOP/s on which it rests. */
  readonly flops: number
  /** A sentence for people: what was measured where, or what is assumed. */
  readonly explanation: string
  readonly measurement: MeasuredStep | undefined
  readonly share: number | undefined
}

/** Undefined where there is nothing to go by: a CPU that nobody has measured in this precision. */
export function expectedSpeed(request: SpeedRequest, measurements: readonly MeasuredStep[]): ExpectedSpeed | undefined {
  const { processes } = request
  const each = speedOfEach(request, measurements)
  if (!each || processes === 1) return each
  return {
    ...each,
    basis: each.basis === 'measured' ? 'scaled from a measurement' : each.basis,
    imagesPerSecond: processes * each.imagesPerSecond,
    explanation: `${each.explanation}; ${processes} times that: what exchanging gradients and weights takes nobody has measured`,
  }
}

function speedOfEach(request: SpeedRequest, measurements: readonly MeasuredStep[]): ExpectedSpeed | undefined {
  const { device, precision, share, flopsPerImage } = request
  const measured = share === undefined ? newest(request, measurements) : undefined
  if (measured) return fromMeasurement(measured, request)
  if (device === 'cpu') return undefined
  const flops = (share ?? ASSUMED_SHARE) * peakFlops(request.gpu, precision)
  const percent = `${Math.round(100 * (share ?? ASSUMED_SHARE))} %`
  const peak = `${(peakFlops(request.gpu, precision) / 1e12).toFixed(0)} TFLOP/s of ${precision} on a data sheet`
  return {
    basis: 'assumed',
    imagesPerSecond: flops / flopsPerImage,
    flops,
    explanation:
      `ASSUMED, not measured: ${percent} of an ${request.gpu.name}'s ${peak}` +
      `${share === undefined ? '; no training step has been measured on a GPU in this precision yet' : ', as --share-of-peak says'}`,
    measurement: undefined,
    share: share ?? ASSUMED_SHARE,
  }
}

/** Of the newest file with any that fits: the same model where it has it, and the nearest batch. */
function newest(
  { model, batch, device, precision }: SpeedRequest,
  all: readonly MeasuredStep[],
): MeasuredStep | undefined {
  const fitting = all.filter((step) => step.precision === precision && step.device.startsWith(device))
  const [first] = fitting
  return fitting
    .filter(({ file }) => file === first?.file)
    .sort(
      (a, b) =>
        Number(b.model === model) - Number(a.model === model) || Math.abs(a.batch - batch) - Math.abs(b.batch - batch),
    )[0]
}

function fromMeasurement(measurement: MeasuredStep, request: SpeedRequest): ExpectedSpeed {
  const { machine, file, threads, flops } = measurement
  const where = `${measurement.model} at batch ${measurement.batch} on ${machine}${threads ? `, ${threads} threads` : ''} (bench/results/${file})`
  const isSame =
    measurement.model === request.model &&
    measurement.batch === request.batch &&
    request.flopsPerImage === request.trainingFlopsPerImage
  if (isSame) {
    return {
      basis: 'measured',
      imagesPerSecond: measurement.imagesPerSecond,
      flops,
      explanation: `measured: ${where}`,
      measurement,
      share: undefined,
    }
  }
  return {
    basis: 'scaled from a measurement',
    imagesPerSecond: flops / request.flopsPerImage,
    flops,
    explanation: `not measured itself: scaled by its operations from ${where}; another machine has another speed`,
    measurement,
    share: undefined,
  }
}
