/** `metric.*`: measures of alignment, the Fréchet distance, precision and recall, the Inception Score. */
import * as z from 'zod'
import { FeatureStatistics } from '../../evaluation/feature-statistics.ts'
import { frechetDistance } from '../../evaluation/frechet-distance.ts'
import { InceptionScore } from '../../evaluation/inception-score.ts'
import { KeptFeatures } from '../../evaluation/kept-features.ts'
import { precisionRecall } from '../../evaluation/precision-recall.ts'
import {
  cka,
  cknna,
  cycleKnn,
  mutualKnn,
  neighboursOf,
  type Representation,
  removeOutliers,
} from '../../evaluation/representation-alignment.ts'
import { type HostTensor, hostFloat32, hostFloat64, toFloat32 } from '../../tensor/host-tensor.ts'
import { compareTensors } from '../comparison.ts'
import type { GoldenFile } from '../golden-set.ts'
import type { Runner } from './kind.ts'

const alignmentArguments = z.object({
  topk: z.int().min(2),
  /** By `PREPARATION.MEASURE.ARGUMENT=VALUE…`. */
  values: z.record(z.string(), z.object({ value: z.number(), value_f64: z.number().optional() })),
})

/** Against float64 values of the reference, and against its float32 ones. */
const FLOAT64_TOLERANCE = { atol: 1e-9, rtol: 0 }
const FLOAT32_TOLERANCE = { atol: 5e-4, rtol: 0 }
/** The quantile at which the reference's preparation clamps features. */
const OUTLIER_QUANTILE = 0.95

export const metricAlignment: Runner = async function* (file) {
  const { topk, values } = file.args(alignmentArguments)
  const raw = { A: await file.read('A'), B: await file.read('B') }
  for (const name of Object.keys(file.tensors)) {
    const source = /^([AB])_outliers_removed$/.exec(name)?.[1] as 'A' | 'B' | undefined
    if (!source) continue
    const removed = removeOutliers(toFloat32(raw[source]), OUTLIER_QUANTILE)
    yield await file.compare(name, hostFloat32(removed, raw[source].shape))
  }
  for (const [name, { value, value_f64: float64 }] of Object.entries(values)) {
    const [preparation = '', measure = '', ...settings] = splitName(name)
    const [a, b] = [prepared(raw.A, preparation, name), prepared(raw.B, preparation, name)]
    const actual = await measured(measure, a, b, new Map(settings.map(setting)), topk, name)
    const tolerance = float64 === undefined ? FLOAT32_TOLERANCE : FLOAT64_TOLERANCE
    yield compareTensors({ name, role: 'output' }, scalar(actual), scalar(float64 ?? value), tolerance)
  }
}

/** At the points that no number has: `raw.cka.rbf_sigma=1.0`. */
const splitName = (name: string): string[] => name.split(/\.(?=[a-z_])/i)

const setting = (text: string): [string, string] => {
  const equals = text.indexOf('=')
  return [text.slice(0, equals), text.slice(equals + 1)]
}

function prepared(tensor: HostTensor, preparation: string, name: string): Representation {
  const [count, width] = tensor.shape as [number, number]
  const values = toFloat32(tensor)
  const of = (features: Float32Array) => ({ values: Float64Array.from(features), count, width })
  if (preparation === 'raw') return of(values)
  if (preparation === 'l2') return of(normalisedInFloat32(values, width))
  if (preparation === 'prepare') return of(normalisedInFloat32(removeOutliers(values, OUTLIER_QUANTILE), width))
  throw new Error(`Nothing here prepares features as ${preparation} (${name}): expected raw, l2 or prepare.`)
}

/**
 * torch's normalize of float32 rows, to the last bit: the reference goes on in float64 from there, and a norm that is rounded otherwise
 * moves its values by more than their tolerance. Squares are added in eight lanes by fused multiply-adds (a product of two floats is
 * exact in a double), then the lanes in order, then what is left over.
 */
function normalisedInFloat32(values: Float32Array, width: number): Float32Array {
  const lanes = 8
  const whole = width - (width % lanes)
  const normalised = new Float32Array(values.length)
  for (let row = 0; row < values.length; row += width) {
    const sums = new Float32Array(lanes)
    for (let d = 0; d < whole; d++) sums[d % lanes]! += values[row + d]! ** 2
    let sum = sums.reduce((total, lane) => Math.fround(total + lane))
    for (let d = whole; d < width; d++) sum = Math.fround(sum + values[row + d]! ** 2)
    const norm = Math.max(Math.fround(Math.sqrt(sum)), Math.fround(1e-12))
    for (let d = 0; d < width; d++) normalised[row + d] = values[row + d]! / norm
  }
  return normalised
}

async function measured(
  measure: string,
  a: Representation,
  b: Representation,
  settings: ReadonlyMap<string, string>,
  topk: number,
  name: string,
): Promise<number> {
  const k = Number(settings.get('topk') ?? topk)
  const isTrue = (key: string, otherwise: boolean) => (settings.get(key) ?? (otherwise ? 'True' : 'False')) === 'True'
  const rbf = settings.get('kernel_metric') === 'rbf' ? { rbfSigma: Number(settings.get('rbf_sigma') ?? 1) } : {}
  switch (measure) {
    case 'cknna':
      return cknna(a, b, k, {
        unbiased: isTrue('unbiased', true),
        distanceAgnostic: isTrue('distance_agnostic', false),
      })
    case 'mutual_knn':
      return mutualKnn(await neighboursOf(a, k), await neighboursOf(b, k))
    case 'cycle_knn':
      // The mean over the rows is taken in float32 there, whatever the features are.
      return Math.fround(cycleKnn(await neighboursOf(a, k), await neighboursOf(b, k)))
    case 'cka':
      return cka(a, b, { unbiased: isTrue('unbiased', false), ...rbf })
    case 'unbiased_cka':
      return cka(a, b, { unbiased: true, ...rbf })
    default:
      throw new Error(`Nothing here measures ${measure} (${name}).`)
  }
}

export const metricFrechet: Runner = async function* (file) {
  const gaussians = [await gaussianOf(file, 'act1'), await gaussianOf(file, 'act2')] as const
  for (const [i, { mean, covariance }] of gaussians.entries()) {
    const width = mean.length
    const has = (name: string) => Object.hasOwn(file.tensors, name)
    if (has(`mu${i + 1}`)) yield await file.compare(`mu${i + 1}`, hostFloat64(mean, [width]))
    if (has(`sigma${i + 1}`)) yield await file.compare(`sigma${i + 1}`, hostFloat64(covariance, [width, width]))
  }
  yield await file.compare('fid', scalar(await frechetDistance(...gaussians)))
}

async function gaussianOf(file: GoldenFile, name: string) {
  const features = await file.read(name)
  using statistics = new FeatureStatistics(features.shape[1]!)
  statistics.add(toFloat32(features))
  return await statistics.finish()
}

export const metricPrecisionRecall: Runner = async function* (file) {
  using reference = await featuresOf(file, 'ref')
  using samples = await featuresOf(file, 'sample')
  const result = await precisionRecall(reference, samples)
  const radii = (values: Float32Array) => hostFloat32(values, [values.length, 1])
  yield await file.compare('radii_ref', radii(result.referenceRadii))
  yield await file.compare('radii_sample', radii(result.sampleRadii))
  yield await file.compare('precision', hostFloat64(Float64Array.of(result.precision), [1]))
  yield await file.compare('recall', hostFloat64(Float64Array.of(result.recall), [1]))
}

async function featuresOf(file: GoldenFile, name: string) {
  const tensor = await file.read(name)
  const store = new KeptFeatures(tensor.shape[1]!, tensor.shape[0]!, tensor.shape[0]!)
  store.add(toFloat32(tensor))
  return store
}

/** Outputs `inception_score_splitN`. */
export const metricInceptionScore: Runner = async function* (file) {
  const probabilities = await file.read('probs')
  for (const name of Object.keys(file.tensors)) {
    const split = /^inception_score_split(\d+)$/.exec(name)?.[1]
    if (split === undefined) continue
    const score = new InceptionScore(probabilities.shape[1]!, Number(split))
    score.add(toFloat32(probabilities))
    yield await file.compare(name, scalar(score.finish()))
  }
}

const scalar = (value: number): HostTensor => hostFloat64(Float64Array.of(value), [])
