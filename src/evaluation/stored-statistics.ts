import { extname } from 'node:path'
import { FileFormatError } from '../formats/errors.ts'
import type { NpzFile } from '../formats/npz.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import { elementAt, type HostTensor, hostFloat32, hostFloat64, toFloat32 } from '../tensor/host-tensor.ts'
import type { Gaussian } from './feature-statistics.ts'

/** Statistics of a set of images, as a file holds them, so that the images need not be seen again. */
export interface StoredStatistics {
  readonly path: string
  /** The network, by its name; files of other programs do not say. */
  readonly network: string | undefined
  /** What the network makes of a fixed picture: tells two sets of weights of one network apart. */
  readonly fingerprint: Float32Array | undefined
  readonly gaussian: Gaussian
  /** sFID's. */
  readonly spatial: Gaussian | undefined
  /** Of some or all of the images, [count, width], for precision and recall. */
  readonly features: HostTensor | undefined
}

const FORMAT = 'repa-statistics-1'

/** Whether a path is that of a file which holds statistics, by its ending. */
export const isStatisticsFile = (path: string): boolean => extname(path).toLowerCase() === '.safetensors'

/** Reads the ADM suite's or pytorch-fid's `mu` and `sigma` (`mu_s` and `sigma_s`: sFID's); undefined where there are none. */
export async function readNpzStatistics(file: NpzFile): Promise<StoredStatistics | undefined> {
  if (!file.names.includes('mu') || !file.names.includes('sigma')) return undefined
  const gaussian = async (mu: string, sigma: string) =>
    gaussianOf(file.path, [mu, await file.read(mu)], [sigma, await file.read(sigma)], undefined)
  const hasSpatial = file.names.includes('mu_s') && file.names.includes('sigma_s')
  return {
    path: file.path,
    network: undefined,
    fingerprint: undefined,
    gaussian: await gaussian('mu', 'sigma'),
    spatial: hasSpatial ? await gaussian('mu_s', 'sigma_s') : undefined,
    features: undefined,
  }
}

/**
 * Reads what `writeFeatureStatistics` wrote, or any safetensors file with `mu` and `sigma`.
 *
 * @throws FileFormatError, FileAccessError
 */
export async function readStatistics(path: string): Promise<StoredStatistics> {
  await using file = await SafetensorsFile.open(path)
  const has = (name: string) => file.tensors.has(name)
  if (!has('mu') || !has('sigma')) {
    const names = [...file.tensors.keys()].slice(0, 5).join(', ')
    throw new FileFormatError(path, `there are no statistics, mu [D] and sigma [D, D], in it; it begins with ${names}.`)
  }
  const images = Number(file.metadata.images)
  const count = Number.isSafeInteger(images) && images > 0 ? images : undefined
  const gaussian = async (mu: string, sigma: string) =>
    gaussianOf(path, [mu, await file.read(mu)], [sigma, await file.read(sigma)], count)
  return {
    path,
    network: file.metadata.network,
    fingerprint: has('fingerprint') ? toFloat32(await file.read('fingerprint')) : undefined,
    gaussian: await gaussian('mu', 'sigma'),
    spatial: has('mu_s') && has('sigma_s') ? await gaussian('mu_s', 'sigma_s') : undefined,
    features: has('features') ? finite(path, await file.read('features')) : undefined,
  }
}

function finite(path: string, features: HostTensor): HostTensor {
  requireFinite(path, 'features', toFloat32(features))
  return features
}

export interface StatisticsToWrite {
  readonly network: string
  readonly fingerprint: Float32Array
  readonly gaussian: Gaussian
  readonly spatial: Gaussian | undefined
  /** [count, width] f32, where there are any. */
  readonly features: Float32Array | undefined
}

/** Writes statistics as safetensors, float64. The file appears under its name when it is whole. */
export async function writeFeatureStatistics(path: string, statistics: StatisticsToWrite): Promise<void> {
  const { network, fingerprint, gaussian, spatial, features } = statistics
  const width = gaussian.mean.length
  const tensors = new Map<string, HostTensor>([
    ...gaussianTensors(gaussian, ''),
    ...(spatial ? gaussianTensors(spatial, '_s') : []),
    ['fingerprint', hostFloat32(fingerprint, [fingerprint.length])],
    ...(features ? [['features', hostFloat32(features, [features.length / width, width])] as const] : []),
  ])
  await writeSafetensors(
    path,
    [...tensors].map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data })),
    {
      metadata: { format: FORMAT, network, ...(gaussian.count !== undefined && { images: String(gaussian.count) }) },
      checksum: true,
    },
  )
}

function gaussianTensors({ mean, covariance }: Gaussian, suffix: string): [string, HostTensor][] {
  const width = mean.length
  return [
    [`mu${suffix}`, hostFloat64(mean, [width])],
    [`sigma${suffix}`, hostFloat64(covariance, [width, width])],
  ]
}

function gaussianOf(
  path: string,
  [mu, mean]: readonly [string, HostTensor],
  [sigma, covariance]: readonly [string, HostTensor],
  count: number | undefined,
): Gaussian {
  const [width] = mean.shape
  if (mean.shape.length !== 1 || String(covariance.shape) !== String([width, width])) {
    throw new FileFormatError(
      path,
      `${mu} has shape [${mean.shape}] and ${sigma} [${covariance.shape}]; expected [D] and [D, D].`,
    )
  }
  const values = { mean: toFloat64(mean), covariance: toFloat64(covariance) }
  requireFinite(path, mu, values.mean)
  requireFinite(path, sigma, values.covariance)
  requireCovariance(path, sigma, values.covariance, width!)
  return { count, mean: values.mean, covariance: values.covariance }
}

function requireFinite(path: string, name: string, values: Float32Array | Float64Array): void {
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0)
    throw new FileFormatError(path, `${name} has ${values[bad]} as number ${bad} (from 0); statistics are finite.`)
}

/** Of the product of two deviations: no rounding, of however long a sum in float32, puts the two halves of a covariance so far apart. */
const ASYMMETRY = 1e-3

function requireCovariance(path: string, name: string, values: Float64Array, width: number): void {
  for (let i = 0; i < width; i++) {
    const variance = values[i * width + i]!
    if (variance < 0) {
      throw new FileFormatError(path, `${name} has ${variance} at [${i}, ${i}]; a variance cannot be below 0.`)
    }
    for (let j = 0; j < i; j++) {
      const [below, above] = [values[i * width + j]!, values[j * width + i]!]
      if (!(Math.abs(below - above) > ASYMMETRY * Math.sqrt(variance * values[j * width + j]!))) continue
      throw new FileFormatError(
        path,
        `${name} has ${below} at [${i}, ${j}] and ${above} at [${j}, ${i}]; a covariance is symmetric.`,
      )
    }
  }
}

function toFloat64(tensor: HostTensor): Float64Array {
  const { dtype, data } = tensor
  if (dtype === 'f64') return new Float64Array(data.slice().buffer)
  const count = tensor.shape.reduce((product, size) => product * size, 1)
  return Float64Array.from({ length: count }, (_, i) => elementAt(tensor, i))
}
