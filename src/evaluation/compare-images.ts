import { dirname, extname } from 'node:path'
import * as z from 'zod'
import { aFunction, anObjectWith, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { oneAhead } from '../data/one-ahead.ts'
import { noticeUnfinished } from '../diffusion/unfinished-sampling.ts'
import { makeFolder } from '../formats/make-folder.ts'
import { NpzFile } from '../formats/npz.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'
import type { FeatureNetwork } from './feature-network.ts'
import { FeatureStatistics, type Gaussian } from './feature-statistics.ts'
import { frechetDistance } from './frechet-distance.ts'
import { IMAGES_ARRAY, type ImageSet, openImageSet, openNpzImages } from './image-set.ts'
import { InceptionScore } from './inception-score.ts'
import { KeptFeatures } from './kept-features.ts'
import { PRECISION_RECALL_NEIGHBOURS, precisionRecall } from './precision-recall.ts'
import {
  isStatisticsFile,
  readNpzStatistics,
  readStatistics,
  type StoredStatistics,
  writeFeatureStatistics,
} from './stored-statistics.ts'

/** Images of a side whose features are kept for precision and recall: as many as the ADM suite samples. */
const KEPT_FEATURES = 50_000
/** Of the reference's, that are stored with its statistics: as many as the ADM suite's reference batch holds. */
const STORED_FEATURES = 10_000
/** How far the features of the fixed picture may be apart, relative to their length, on two machines. */
const FINGERPRINT_TOLERANCE = 1e-3

export type ComparisonSide = 'reference' | 'samples'

/** What takes its time: the network on either side's images, and the comparison of all images with each other for precision and recall. */
export type ComparisonPart = ComparisonSide | 'neighbours'

export interface CompareImagesOptions {
  /** A folder or zip of images, an npz (`arr_0`, or `mu` and `sigma`), or stored statistics (.safetensors). */
  readonly reference: string
  /** Likewise. Without it only the reference's statistics are made, for `saveStatistics`. */
  readonly samples?: string | undefined
  readonly network: FeatureNetwork
  /** Where the reference's statistics go, as safetensors; the folder is made. */
  readonly saveStatistics?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** Called with 0 as a part is begun, and after each batch of images. */
  readonly onProgress?: (part: ComparisonPart, done: number, total: number) => void
  /** Is told, in a sentence, what makes the numbers less than they seem. */
  readonly onNotice?: (message: string) => void
}

const schema = whenNeeded(() =>
  z.strictObject({
    reference: z.string(),
    samples: z.string().optional(),
    network: anObjectWith('run', 'a network, as loadInceptionNetwork or loadFeatureNetwork gives it'),
    saveStatistics: z.string().optional(),
    signal: aSignal().optional(),
    onProgress: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof CompareImagesOptions, z.ZodType>),
)

export interface ImageComparison {
  /** The Fréchet distance in the network's features. */
  readonly fid: number | null
  /** That of the spatial features of the Inception network; null with any other. */
  readonly sfid: number | null
  /** The samples' Inception Score; likewise. */
  readonly is: number | null
  /** Null where a side has statistics alone, and no features. */
  readonly precision: number | null
  readonly recall: number | null
  readonly network: string
  readonly features: number
  /** Images of each side; null where a file of statistics does not say. */
  readonly referenceImages: number | null
  readonly sampleImages: number | null
}

/** What is known of one side. */
interface Side extends Disposable {
  readonly gaussian: Gaussian
  readonly spatial: Gaussian | undefined
  readonly store: KeptFeatures | undefined
  readonly inceptionScore: number | undefined
  /** Of its images, `WIDTH×HEIGHT`; undefined where they were not seen. */
  readonly size: string | undefined
}

/**
 * How close samples are to a reference in a network's features: Fréchet distance, precision and recall, and with the Inception
 * network sFID and the Inception Score, as the ADM suite computes them. Images are streamed: what grows with their number are the
 * features that precision and recall compare, of at most 50,000 images a side.
 *
 * @throws {ConfigurationError} for options that are none; {Error} in one sentence for images of mixed sizes, features that are not finite, and statistics of another network
 */
export async function compareImages(options: CompareImagesOptions): Promise<ImageComparison> {
  parseConfiguration(schema(), options, 'the options of compareImages')
  const { network, samples, saveStatistics, onNotice = () => {} } = options
  if (samples !== undefined) await noticeUnfinished(samples, onNotice)
  // Before hours of work for what could not be written then.
  if (saveStatistics !== undefined) await makeFolder(dirname(saveStatistics))
  // Both, before the first is seen: it may take an hour.
  await using referenceFiles = await openSide(options.reference, network)
  await using samplesFiles = samples === undefined ? undefined : await openSide(samples, network)
  using reference = await measure(referenceFiles, 'reference', options)
  warnOfFewImages(reference.gaussian, 'reference', network, onNotice)
  if (saveStatistics !== undefined) await save(saveStatistics, reference, network)
  const about = { network: network.name, features: network.width, referenceImages: reference.gaussian.count ?? null }
  if (samples === undefined || samplesFiles === undefined) {
    return { fid: null, sfid: null, is: null, precision: null, recall: null, ...about, sampleImages: null }
  }
  using sampled = await measure(samplesFiles, 'samples', options)
  warnOfFewImages(sampled.gaussian, 'samples', network, onNotice)
  if (reference.size !== undefined && sampled.size !== undefined && reference.size !== sampled.size) {
    onNotice(
      `The reference's images are ${reference.size} pixels and the samples ${sampled.size}: the distance is that of the sizes, too.`,
    )
  }
  const names = [options.reference, samples] as const
  const fid = await frechetDistance(reference.gaussian, sampled.gaussian, names)
  const sfid =
    reference.spatial && sampled.spatial ? await frechetDistance(reference.spatial, sampled.spatial, names) : undefined
  if (network.spatialWidth !== undefined) noticeOfSpatial(reference, sampled, onNotice)
  const neighbours = await compareNeighbours(reference, sampled, options)
  return {
    fid,
    sfid: sfid ?? null,
    is: sampled.inceptionScore ?? null,
    precision: neighbours?.precision ?? null,
    recall: neighbours?.recall ?? null,
    ...about,
    sampleImages: sampled.gaussian.count ?? null,
  }
}

function noticeOfSpatial(reference: Side, samples: Side, onNotice: (message: string) => void): void {
  if (reference.spatial && samples.spatial) return
  const who = reference.spatial ? 'samples have' : 'reference has'
  onNotice(
    `The ${who} no statistics of spatial features (mu_s and sigma_s): there is no sFID, and if they are pytorch-fid's, which resizes images otherwise, the FID is not the ADM suite's.`,
  )
}

async function compareNeighbours(
  reference: Side,
  samples: Side,
  { signal, onProgress, onNotice = () => {} }: CompareImagesOptions,
) {
  if (!reference.store || !samples.store) {
    const side = reference.store ? 'samples' : 'reference'
    const has = side === 'reference' ? 'has' : 'have'
    onNotice(`The ${side} ${has} statistics alone, no features or images: there is no precision and recall.`)
    return undefined
  }
  for (const [whose, { gaussian, store }] of [
    ["reference's", reference],
    ["samples'", samples],
  ] as const) {
    const { count = 0 } = gaussian
    if (store!.count >= count) continue
    onNotice(
      `Precision and recall take ${store!.count} of the ${whose} ${count} images, spread evenly over them: they are not those of another number.`,
    )
  }
  const fewest = Math.min(reference.store.count, samples.store.count)
  if (fewest <= PRECISION_RECALL_NEIGHBOURS) {
    const needed = PRECISION_RECALL_NEIGHBOURS + 1
    onNotice(`With ${fewest} images on a side there is no precision and recall: they need at least ${needed}.`)
    return undefined
  }
  const images = reference.store.count + samples.store.count
  onProgress?.('neighbours', 0, images)
  return precisionRecall(reference.store, samples.store, {
    signal,
    onProgress: (share) => onProgress?.('neighbours', Math.round(share * images), images),
  })
}

/** FID of a covariance that lacks directions is of another size than that of one that does not. */
function warnOfFewImages(
  { count }: Gaussian,
  side: ComparisonSide,
  { name, width }: FeatureNetwork,
  onNotice: (message: string) => void,
): void {
  if (count === undefined || count > width) return
  onNotice(
    `The ${side} ${side === 'reference' ? 'is' : 'are'} ${count} images, fewer than the ${width + 1} that a covariance of ${name}'s ${width} features needs: it is singular (rank ${count - 1}), the Fréchet distance comes out too large, and it cannot be compared with one of another number of images.`,
  )
}

/** What a path holds: statistics, images, or both, as the ADM suite's reference batch does. */
interface OpenedSide extends AsyncDisposable {
  readonly stored: StoredStatistics | undefined
  readonly images: ImageSet | undefined
}

async function openSide(path: string, network: FeatureNetwork): Promise<OpenedSide> {
  if (isStatisticsFile(path)) {
    const stored = await readStatistics(path)
    await requireSameNetwork(stored, network)
    return openedSide(stored, undefined)
  }
  if (extname(path).toLowerCase() !== '.npz') return openedSide(undefined, await openImageSet(path))
  const file = await NpzFile.open(path)
  let stored: StoredStatistics | undefined
  try {
    stored = await readNpzStatistics(file)
    if (stored) await requireSameNetwork(stored, network)
  } catch (error) {
    await file.close()
    throw error
  }
  if (!stored || file.names.includes(IMAGES_ARRAY)) return openedSide(stored, await openNpzImages(file))
  await file.close()
  return openedSide(stored, undefined)
}

function openedSide(stored: StoredStatistics | undefined, images: ImageSet | undefined): OpenedSide {
  return { stored, images, [Symbol.asyncDispose]: async () => images?.[Symbol.asyncDispose]() }
}

async function measure(
  { stored, images }: OpenedSide,
  side: ComparisonSide,
  options: CompareImagesOptions,
): Promise<Side> {
  return images ? await ofImages(images, side, options, stored) : ofStatistics(stored!, options.network)
}

/** `stored`: the Gaussians of all images, where they are known already; these are then some of them, for everything else. */
async function ofImages(
  images: ImageSet,
  side: ComparisonSide,
  options: CompareImagesOptions,
  stored?: StoredStatistics,
): Promise<Side> {
  const { network, signal, onProgress } = options
  using statistics = stored ? undefined : new FeatureStatistics(network.width)
  using spatial = stored || network.spatialWidth === undefined ? undefined : new FeatureStatistics(network.spatialWidth)
  const score = network.classes === undefined ? undefined : new InceptionScore(network.classes)
  const store = new KeptFeatures(network.width, images.count, KEPT_FEATURES)
  try {
    let done = 0
    let size: string | undefined
    onProgress?.(side, 0, images.count)
    const ran = oneAhead(images.batches(network.batch), (batch) => {
      signal?.throwIfAborted()
      size ??= `${batch.width}×${batch.height}`
      return network.run(batch)
    })
    for await (const made of ran) {
      requireFinite(made.features, network.width, done, { path: images.path, what: 'a feature', network })
      if (made.logits) {
        requireFinite(made.logits, network.classes!, done, { path: images.path, what: "a class's logit", network })
      }
      statistics?.add(made.features)
      if (made.spatial) spatial?.add(made.spatial)
      if (made.logits) score?.addLogits(made.logits)
      store.add(made.features)
      done += made.features.length / network.width
      onProgress?.(side, done, images.count)
    }
    return {
      ...(stored
        ? gaussiansOf(stored, network)
        : { gaussian: await statistics!.finish(), spatial: await spatial?.finish() }),
      store,
      inceptionScore: score?.finish(),
      size,
      [Symbol.dispose]: () => store[Symbol.dispose](),
    }
  } catch (error) {
    store[Symbol.dispose]()
    throw error instanceof RangeError ? new Error(`${images.path}: ${error.message}`, { cause: error }) : error
  }
}

/** Of values [n, width], of images from `first` on. */
function requireFinite(
  values: Float32Array,
  width: number,
  first: number,
  { path, what, network }: { path: string; what: string; network: FeatureNetwork },
): void {
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad < 0) return
  throw new Error(
    `${path}: ${network.name} gives image ${first + Math.floor(bad / width)} (from 0) ${what} that is ${values[bad]}; check the network's weights.`,
  )
}

function ofStatistics(stored: StoredStatistics, network: FeatureNetwork): Side {
  let features: KeptFeatures | undefined
  if (stored.features) {
    const [count, width] = stored.features.shape as [number, number]
    features = new KeptFeatures(width, count, count)
    features.add(toFloat32(stored.features))
  }
  return {
    ...gaussiansOf(stored, network),
    store: features,
    inceptionScore: undefined,
    size: undefined,
    [Symbol.dispose]: () => features?.[Symbol.dispose](),
  }
}

function gaussiansOf({ gaussian, spatial }: StoredStatistics, { spatialWidth }: FeatureNetwork) {
  return { gaussian, spatial: spatialWidth === undefined ? undefined : spatial }
}

async function requireSameNetwork(stored: StoredStatistics, network: FeatureNetwork): Promise<void> {
  const { path, network: name, gaussian, fingerprint } = stored
  const width = gaussian.mean.length
  if ((name !== undefined && name !== network.name) || width !== network.width) {
    const whose = name === undefined ? 'another network' : name
    throw new Error(
      `${path} holds statistics of ${width} features of ${whose}; ${network.name} has ${network.width}. Only statistics of one network can be compared: make them again from the images.`,
    )
  }
  if (!fingerprint) return
  const own = await fingerprintOf(network)
  let [difference, length] = [0, 0]
  own.forEach((value, i) => {
    difference += (value - fingerprint[i]!) ** 2
    length += value ** 2
  })
  if (difference <= FINGERPRINT_TOLERANCE ** 2 * length) return
  throw new Error(
    `${path} holds statistics that ${network.name} made with other weights than these; make them again with the same file of weights.`,
  )
}

/** Side of the picture that tells networks apart. */
const PICTURE = 64

/** A network's features of a fixed picture. */
async function fingerprintOf(network: FeatureNetwork): Promise<Float32Array> {
  const pixels = new Uint8Array(PICTURE * PICTURE * 3)
  for (let i = 0; i < pixels.length; i++) {
    const [x, y, channel] = [Math.floor(i / 3) % PICTURE, Math.floor(i / 3 / PICTURE), i % 3]
    pixels[i] = (x * (2 + channel) + 3 * y + ((x * y) >> 3)) & 255
  }
  return (await network.run({ pixels, count: 1, height: PICTURE, width: PICTURE })).features
}

async function save(path: string, reference: Side, network: FeatureNetwork): Promise<void> {
  const { gaussian, spatial, store } = reference
  using kept = store && (await spreadOver(store, STORED_FEATURES))
  await writeFeatureStatistics(path, {
    network: network.name,
    fingerprint: await fingerprintOf(network),
    gaussian,
    spatial,
    features: kept && (await kept.tensor.data()).subarray(0, kept.count * kept.width),
  })
}

/** At most `capacity` of a store's features, evenly spread over them, in a store of their own. */
async function spreadOver(store: KeptFeatures, capacity: number): Promise<KeptFeatures> {
  const part = new KeptFeatures(store.width, store.count, capacity)
  part.add((await store.tensor.data()).subarray(0, store.count * store.width))
  return part
}
