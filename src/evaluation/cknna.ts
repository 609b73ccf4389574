import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { KeyedPermutation } from '../data/permutation.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { blockFeatures } from './block-features.ts'
import { requireCknnaOptions } from './evaluation-options.ts'
import { encoderGrid } from './feature-network.ts'
import {
  cknnaOfPaper,
  cknnaOfPlatonicRep,
  mutualKnn,
  normaliseRows,
  type PreparedRepresentation,
  prepareRepresentation,
} from './representation-alignment.ts'

/** The paper's numbers: 10,000 images, 10 neighbours. */
const PAPER = { images: 10_000, neighbours: 10 } as const
/** The epoch whose permutation draws the images: none that a training reaches. */
const DRAW = 2 ** 40 + 1

export interface EvaluateCknnaOptions {
  readonly model: AnyTransformer
  readonly data: Dataset
  /** Makes the latents of the images, in place of those that the data hold. */
  readonly autoencoder?: Autoencoder | undefined
  /** Of a model that denoises a class token along (REG): whose class token that is. */
  readonly classTokenEncoder?: Encoder | undefined
  /** Of a model of text: what encodes its captions. */
  readonly captionEncoder?: CaptionEncoder | undefined
  readonly encoder: Encoder
  /** Images, drawn by the seed. Default 10,000, or all where there are fewer. */
  readonly images?: number | undefined
  /** k. Default 10. */
  readonly neighbours?: number | undefined
  /** Blocks, from 1. Default: every block. */
  readonly layers?: readonly number[] | undefined
  /** Noise levels from 0 to 1: see `noisyInput`. Default: 0, the data itself. */
  readonly noise?: readonly number[] | undefined
  readonly path: InterpolantPath
  readonly seed: number
  readonly batch: number
  readonly signal?: AbortSignal | undefined
  /** Called with 0 as a noise level is begun, and after each batch. */
  readonly onProgress?: (noise: number, done: number, total: number) => void
}

/** One point of the curve. */
export interface CknnaPoint {
  readonly layer: number
  readonly noise: number
  /** As REPA's paper writes it (equations 21 to 24). */
  readonly cknna: number
  /** As platonic-rep computes it. */
  readonly platonicCknna: number
  /** The mean share of mutual neighbours. */
  readonly mutualKnn: number
}

export interface CknnaResult {
  readonly kind: 'cknna'
  readonly encoder: string
  readonly images: number
  readonly neighbours: number
  readonly layers: readonly number[]
  readonly noise: readonly number[]
  readonly points: readonly CknnaPoint[]
}

/**
 * How far a model's layers are aligned with an encoder, by layer and noise level: features of both averaged over their tokens and
 * divided by their length, as platonic-rep's callers do (of raw features the longest vectors would be everybody's neighbours). The
 * encoder sees the clean images, the model noisy latents and no class.
 *
 * @throws {ConfigurationError} for options that are none; {Error} for features that are not finite, or are the same for every image
 */
export async function evaluateCknna(options: EvaluateCknnaOptions): Promise<CknnaResult> {
  requireCknnaOptions(options)
  const { model, data, encoder, noise = [0], seed, signal, onProgress } = options
  const layers = options.layers ?? Array.from({ length: model.config.depth }, (_, i) => i + 1)
  const count = Math.min(options.images ?? PAPER.images, data.length)
  const neighbours = options.neighbours ?? PAPER.neighbours
  if (count <= neighbours + 2) {
    throw new Error(`${count} images are too few for ${neighbours} neighbours of each; expected more.`)
  }
  const order = new KeyedPermutation(data.length, seed, DRAW)
  const indices = Int32Array.from({ length: count }, (_, i) => order.at(i))
  const grid = encoderGrid(encoder, data.imageSize)
  const points: CknnaPoint[] = []
  let target: PreparedRepresentation | undefined
  for (const level of noise) {
    const outputs = layers.map(() => new Float32Array(count * model.config.hidden))
    const encoded = target ? undefined : new Float32Array(count * encoder.width)
    let at = 0
    onProgress?.(level, 0, count)
    const batches = blockFeatures({
      ...options,
      indices,
      layers,
      noise: level,
      encoder: encoded && { encoder, grid: [grid, grid] },
    })
    for await (const batch of batches) {
      batch.layers.forEach((features, layer) => {
        outputs[layer]!.set(features, at * model.config.hidden)
      })
      if (batch.encoder) encoded?.set(batch.encoder, at * encoder.width)
      at += batch.labels.length
      onProgress?.(level, at, count)
    }
    target ??= await prepared(encoded!, encoder.width, neighbours, `the encoder ${encoder.name}`)
    for (const [i, values] of outputs.entries()) {
      // Of 10,000 images each takes seconds.
      signal?.throwIfAborted()
      const own = await prepared(values, model.config.hidden, neighbours, `layer ${layers[i]} at noise level ${level}`)
      points.push({
        layer: layers[i]!,
        noise: level,
        cknna: cknnaOfPaper(own, target),
        platonicCknna: cknnaOfPlatonicRep(own, target),
        mutualKnn: mutualKnn(own.neighbours, target.neighbours),
      })
    }
  }
  return { kind: 'cknna', encoder: encoder.name, images: count, neighbours, layers, noise, points }
}

async function prepared(features: Float32Array, width: number, neighbours: number, whose: string) {
  // Of equal rows the kernels' differences from their means are nothing but rounding.
  if (features.every((value, i) => value === features[i % width])) {
    throw new Error(`The features of ${whose} are the same for every image: there are no neighbours.`)
  }
  const values = Float64Array.from(features)
  return prepareRepresentation(normaliseRows({ values, count: values.length / width, width }), neighbours)
}
