/** How fast a planned step may be expected to run, and on what that rests. */
import { type Gpu, gpuByCudaName, peakFlops } from '../benchmark/gpus.ts'
import type { Precision } from '../training/precision.ts'
import type { MeasuredStep } from './measurements.ts'

/** Where nothing is measured: a share of the data sheet's peak. A guess, no figure of ours. */
const ASSUMED_SHARE = 0.4

export interface SpeedRequest {
  readonly model: string
  /** Side of the images in pixels. */
  readonly size: number
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
  /** That it comes from, if only by the share of another GPU's peak. */
  readonly measurement: MeasuredStep | undefined
  /** Of the GPU's peak, where that is assumed. */
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
  const { share } = request
  const measured = share === undefined ? newest(request, measurements) : undefined
  if (measured) return fromMeasurement(measured, request)
  if (request.device === 'cpu') return undefined
  if (share !== undefined) return assumed(request, share, ', as `shareOfPeak` says')
  const why = '; no training step has been measured in this precision on any GPU to plan for yet'
  return assumed(request, ASSUMED_SHARE, why)
}

function assumed({ gpu, precision, flopsPerImage }: SpeedRequest, share: number, why: string): ExpectedSpeed {
  const flops = share * peakFlops(gpu, precision)
  const peak = `${(peakFlops(gpu, precision) / 1e12).toFixed(0)} TFLOP/s of ${precision} on a data sheet`
  return {
    basis: 'assumed',
    imagesPerSecond: flops / flopsPerImage,
    flops,
    explanation: `ASSUMED, not measured: ${Math.round(100 * share)} % of an ${gpu.name}'s ${peak}${why}`,
    measurement: undefined,
    share,
  }
}

/** The measured GPU's line of the table. */
const gpuOf = ({ device, machine }: MeasuredStep) => (device === 'cpu' ? undefined : gpuByCudaName(machine))

/**
 * Of the newest file with any that fits: the same model where it has it, on images of this size, and the nearest batch. A GPU that is in no
 * table fits none.
 */
function newest(
  { model, size, batch, device, precision }: SpeedRequest,
  all: readonly MeasuredStep[],
): MeasuredStep | undefined {
  const fitting = all.filter(
    (step) => step.precision === precision && step.device.startsWith(device) && (device === 'cpu' || gpuOf(step)),
  )
  const [first] = fitting
  return fitting
    .filter(({ file }) => file === first?.file)
    .sort(
      (a, b) =>
        Number(b.model === model) - Number(a.model === model) ||
        Number(b.size === size) - Number(a.size === size) ||
        Math.abs(a.batch - batch) - Math.abs(b.batch - batch),
    )[0]
}

function fromMeasurement(measurement: MeasuredStep, request: SpeedRequest): ExpectedSpeed {
  const { machine, file, threads, flops } = measurement
  const size = measurement.size === request.size ? '' : ` at ${measurement.size} pixels`
  const where = `${measurement.model}${size} at batch ${measurement.batch} on ${machine}${threads ? `, ${threads} threads` : ''} (bench/results/${file})`
  const gpu = gpuOf(measurement)
  if (gpu && peakFlops(gpu, request.precision) !== peakFlops(request.gpu, request.precision)) {
    const share = flops / peakFlops(gpu, request.precision)
    return { ...assumed(request, share, `, the share that was reached by ${where}`), measurement }
  }
  const isSame =
    (gpu === undefined || gpu === request.gpu) &&
    measurement.model === request.model &&
    measurement.size === request.size &&
    measurement.batch === request.batch &&
    request.flopsPerImage === request.trainingFlopsPerImage &&
    // A route has the same model make fewer.
    Math.abs(flops / measurement.imagesPerSecond / request.flopsPerImage - 1) < 0.01
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
