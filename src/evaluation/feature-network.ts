import * as z from 'zod'
import type { Encoder } from '../alignment/encoder.ts'
import { loadEncoder } from '../alignment/encoders.ts'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { requirePath } from '../configuration/path-argument.ts'
import {
  INCEPTION_CLASSES,
  INCEPTION_FEATURES,
  INCEPTION_SPATIAL_FEATURES,
  InceptionV3,
  isInceptionV3,
  spatialFeatures,
} from '../models/inception.ts'
import { ResNetCifar, resNetCifarConfig, resNetCifarState } from '../models/resnet-cifar.ts'
import { openWeights } from '../models/weights-file.ts'
import type { Device } from '../tensor/device.ts'
import { averageOfPixels } from '../tensor/ops/conv2d.ts'
import { planar } from '../tensor/planes.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { ImageBatch } from './image-set.ts'
import { admInceptionInput } from './inception-input.ts'

/** What a network makes of a batch of images, row by row. */
export interface ImageFeatures {
  /** [n, width] */
  readonly features: Float32Array
  /** [n, spatialWidth]: sFID's, of the Inception network alone. */
  readonly spatial?: Float32Array
  /** [n, classes]: for the Inception Score, likewise. */
  readonly logits?: Float32Array
}

/** A frozen network whose features images are compared by. */
export interface FeatureNetwork extends Disposable {
  /** `inception`, or the encoder's name. Statistics of networks of two names cannot be compared. */
  readonly name: string
  /** Features of an image. */
  readonly width: number
  readonly spatialWidth?: number
  readonly classes?: number
  /** How many images it takes at a time. */
  readonly batch: number
  run(images: ImageBatch): Promise<ImageFeatures>
}

export interface FeatureNetworkOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** Things to tell the user: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({ device: z.string().optional(), onNotice: aFunction().optional() } satisfies Record<
    keyof FeatureNetworkOptions,
    z.ZodType
  >),
)

/** The network of the ADM suite, from pytorch-fid's file, torch-fidelity's, or the same tensors as safetensors. */
export async function loadInceptionNetwork(file: string, options: FeatureNetworkOptions = {}): Promise<FeatureNetwork> {
  requirePath(file, 'the file of loadInceptionNetwork')
  parseConfiguration(optionsSchema(), options, 'the options of loadInceptionNetwork')
  const { device = 'cpu' } = options
  await using source = await openWeights(file)
  if (!isInceptionV3(source)) {
    throw new Error(
      `${file} is not the Inception network of FID (1008 classes, no auxiliary head); expected pytorch-fid's pt_inception-2015-12-05-6726825d.pth or the same tensors as safetensors.`,
    )
  }
  const model = new InceptionV3(device)
  try {
    await model.load(source)
  } catch (error) {
    model.dispose()
    throw error
  }
  return {
    name: 'inception',
    width: INCEPTION_FEATURES,
    spatialWidth: INCEPTION_SPATIAL_FEATURES,
    classes: INCEPTION_CLASSES,
    batch: device === 'cpu' ? 8 : 64,
    [Symbol.dispose]: () => model.dispose(),
    async run(images) {
      using planes = planesOf(images, device)
      const output = scope(() => model.forward(admInceptionInput(planes)))
      using features = output.features
      using spatial = output.spatial
      using logits = output.logits
      const [pool, pixels, scores] = await Promise.all([features.data(), spatial.data(), logits.data()])
      return { features: pool, spatial: spatialFeatures(pixels, spatial.shape.at(-1)!), logits: scores }
    },
  }
}

/** Cells of the grid on which an encoder sees an image of 256 pixels, along one side, as REPA's teachers do. */
const GRID = 16
/** Of hog on small images: cells of this many pixels. */
const HOG_CELL = 4

/**
 * An encoder's features, averaged over their grid; `resnet-cifar` is the CIFAR ResNet's 64 pooled ones. The grid is REPA's 16 × 16
 * (32 × 32 from 512 pixels of the shorter side on); hog's cells are at least 4 pixels wide.
 */
export async function loadFeatureNetwork(
  name: string,
  file?: string,
  options: FeatureNetworkOptions = {},
): Promise<FeatureNetwork> {
  parseConfiguration(optionsSchema(), options, 'the options of loadFeatureNetwork')
  const { device = 'cpu' } = options
  if (name === 'resnet-cifar') {
    if (file === undefined) {
      throw new Error('resnet-cifar needs the file of its weights, for example resnet-cifar=resnet20-12fca82f.th.')
    }
    return loadResNetCifar(file, device)
  }
  return encoderNetwork(await loadEncoder(name, file, options), device)
}

/** Cells along a side of the grid on which an encoder sees an image that is so many pixels long there. */
export function encoderGrid({ name, grid }: Pick<Encoder, 'name' | 'grid'>, side: number): number {
  if (grid) return grid[0]
  return name === 'hog' ? Math.max(1, Math.min(GRID, Math.floor(side / HOG_CELL))) : GRID * (side >= 512 ? 2 : 1)
}

/** An encoder's mean feature of an image. Takes the encoder over. */
export function encoderNetwork(encoder: Encoder, device: Device): FeatureNetwork {
  return {
    name: encoder.name,
    width: encoder.width,
    batch: device === 'cpu' ? 32 : 256,
    [Symbol.dispose]: () => encoder[Symbol.dispose](),
    async run(images) {
      using planes = planesOf(images, device)
      // Square, as the encoders' own training has it, whatever the image.
      const side = encoderGrid(encoder, Math.min(images.height, images.width))
      using mean = meanOfTokens(() => encoder.features(planes, [side, side]))
      return { features: await mean.data() }
    },
  }
}

/** [B, T, D] → [B, D] f32, freeing what it is made of. */
export function meanOfTokens(make: () => Tensor): Tensor {
  return scope(() => {
    const tokens = make()
    const [batch, count, width] = tokens.shape as [number, number, number]
    return averageOfPixels(tokens.reshape([batch, count, 1, width]))
  })
}

async function loadResNetCifar(file: string, device: Device): Promise<FeatureNetwork> {
  await using source = await openWeights(file)
  const state = resNetCifarState(source)
  const model = new ResNetCifar(resNetCifarConfig(state), device)
  try {
    await model.load(state)
  } catch (error) {
    model.dispose()
    throw error
  }
  return {
    name: 'resnet-cifar',
    width: 64,
    batch: device === 'cpu' ? 64 : 512,
    [Symbol.dispose]: () => model.dispose(),
    async run(images) {
      using planes = planesOf(images, device)
      using features = scope(() => model.forward(planes).features)
      return { features: await features.data() }
    },
  }
}

/** [N, H, W, 3] bytes → u8 [N, 3, H, W] on the device. */
function planesOf({ pixels, count, height, width }: ImageBatch, device: Device): Tensor {
  return keep(Tensor.from(planar(pixels, height * width), [count, 3, height, width], device))
}
