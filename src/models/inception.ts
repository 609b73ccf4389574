/**
 * The Inception-v3 that FID is defined by: TensorFlow's graph of 2015 (1008 classes, no auxiliary head) under the names of its PyTorch
 * ports, pytorch-fid's pt_inception-2015-12-05 and torch-fidelity's weights-inception-2015-12-05, which hold the same tensors. It
 * differs from torchvision's: average pools leave the padding out of the count, and the pool of the last block takes the maximum.
 * Frozen: every BatchNorm (ε = 0.001) is folded into its convolution when the weights are loaded.
 */
import { foldBatchNorm, type NormalisedConvolution } from '../nn/batch-norm.ts'
import { Conv2d } from '../nn/conv2d.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { concatenate } from '../tensor/ops/concatenate.ts'
import { averageOfPixels, conv2d, type Padding, pool2d } from '../tensor/ops/conv2d.ts'
import { linear } from '../tensor/ops/linear.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ConvolutionalModel } from './convolutional-model.ts'

/** Side of the images that the network takes. */
export const INCEPTION_SIZE = 299
export const INCEPTION_FEATURES = 2048
export const INCEPTION_CLASSES = 1008
/** sFID's features: the first seven channels of `mixed_6/conv`, 17 × 17 each. */
const SPATIAL_CHANNELS = 7
export const INCEPTION_SPATIAL_FEATURES = 17 * 17 * SPATIAL_CHANNELS

const BATCH_NORM_EPSILON = 0.001

type Layer = (x: Tensor) => Tensor
type Kernel = number | readonly [rows: number, columns: number]

/** Declares layers under the names of a state dict. */
class Declarations {
  readonly list = new ParameterList()
  readonly convolutions: string[] = []

  /** Convolution, BatchNorm and ReLU: torchvision's BasicConv2d. The padding keeps the size unless `valid`. */
  conv(
    name: string,
    inputs: number,
    outputs: number,
    kernel: Kernel,
    { stride = 1, valid = false }: { stride?: number; valid?: boolean } = {},
  ): Layer {
    const weights = new Conv2d(this.list, name, { inputs, outputs, kernel })
    this.convolutions.push(name)
    return (x) => conv2d(x, weights, { stride, activation: 'relu', ...(valid && { padding: 0 }) })
  }
}

/** One after the other; what is between is freed. */
function chain(...layers: readonly Layer[]): Layer {
  return (x) =>
    layers.reduce((input, layer) => {
      const output = layer(input)
      if (input !== x) release(input)
      return output
    }, x)
}

/** Side by side on one input, joined channel by channel. */
function branches(...layers: readonly Layer[]): Layer {
  return (x) => {
    const outputs = layers.map((layer) => layer(x))
    const joined = concatenate(outputs)
    for (const output of outputs) release(output)
    return joined
  }
}

const AROUND: Padding = [1, 1, 1, 1]
const maxPool: Layer = (x) => pool2d(x, { kind: 'max', kernel: [3, 3], stride: [2, 2] })
const averagePoolSame: Layer = (x) => pool2d(x, { kind: 'average', kernel: [3, 3], stride: [1, 1], padding: AROUND })
const maxPoolSame: Layer = (x) => pool2d(x, { kind: 'max', kernel: [3, 3], stride: [1, 1], padding: AROUND })

function blockA(d: Declarations, name: string, inputs: number, poolFeatures: number): Layer {
  const conv = (branch: string, ...rest: [number, number, Kernel]) => d.conv(`${name}.${branch}`, ...rest)
  return branches(
    conv('branch1x1', inputs, 64, 1),
    chain(conv('branch5x5_1', inputs, 48, 1), conv('branch5x5_2', 48, 64, 5)),
    chain(conv('branch3x3dbl_1', inputs, 64, 1), conv('branch3x3dbl_2', 64, 96, 3), conv('branch3x3dbl_3', 96, 96, 3)),
    chain(averagePoolSame, conv('branch_pool', inputs, poolFeatures, 1)),
  )
}

const DOWN = { stride: 2, valid: true } as const

function blockB(d: Declarations, name: string, inputs: number): Layer {
  return branches(
    d.conv(`${name}.branch3x3`, inputs, 384, 3, DOWN),
    chain(
      d.conv(`${name}.branch3x3dbl_1`, inputs, 64, 1),
      d.conv(`${name}.branch3x3dbl_2`, 64, 96, 3),
      d.conv(`${name}.branch3x3dbl_3`, 96, 96, 3, DOWN),
    ),
    maxPool,
  )
}

/** The branches of an InceptionC; the first of them alone is what sFID looks at. */
function branchesOfC(d: Declarations, name: string, width: number): [Layer, Layer, Layer, Layer] {
  const inputs = 768
  const conv = (branch: string, ...rest: [number, number, Kernel]) => d.conv(`${name}.${branch}`, ...rest)
  return [
    conv('branch1x1', inputs, 192, 1),
    chain(
      conv('branch7x7_1', inputs, width, 1),
      conv('branch7x7_2', width, width, [1, 7]),
      conv('branch7x7_3', width, 192, [7, 1]),
    ),
    chain(
      conv('branch7x7dbl_1', inputs, width, 1),
      conv('branch7x7dbl_2', width, width, [7, 1]),
      conv('branch7x7dbl_3', width, width, [1, 7]),
      conv('branch7x7dbl_4', width, width, [7, 1]),
      conv('branch7x7dbl_5', width, 192, [1, 7]),
    ),
    chain(averagePoolSame, conv('branch_pool', inputs, 192, 1)),
  ]
}

function blockD(d: Declarations, name: string, inputs: number): Layer {
  return branches(
    chain(d.conv(`${name}.branch3x3_1`, inputs, 192, 1), d.conv(`${name}.branch3x3_2`, 192, 320, 3, DOWN)),
    chain(
      d.conv(`${name}.branch7x7x3_1`, inputs, 192, 1),
      d.conv(`${name}.branch7x7x3_2`, 192, 192, [1, 7]),
      d.conv(`${name}.branch7x7x3_3`, 192, 192, [7, 1]),
      d.conv(`${name}.branch7x7x3_4`, 192, 192, 3, DOWN),
    ),
    maxPool,
  )
}

function blockE(d: Declarations, name: string, inputs: number, pool: Layer): Layer {
  const conv = (branch: string, ...rest: [number, number, Kernel]) => d.conv(`${name}.${branch}`, ...rest)
  return branches(
    conv('branch1x1', inputs, 320, 1),
    chain(
      conv('branch3x3_1', inputs, 384, 1),
      branches(conv('branch3x3_2a', 384, 384, [1, 3]), conv('branch3x3_2b', 384, 384, [3, 1])),
    ),
    chain(
      conv('branch3x3dbl_1', inputs, 448, 1),
      conv('branch3x3dbl_2', 448, 384, 3),
      branches(conv('branch3x3dbl_3a', 384, 384, [1, 3]), conv('branch3x3dbl_3b', 384, 384, [3, 1])),
    ),
    chain(pool, conv('branch_pool', inputs, 192, 1)),
  )
}

/** The parts of the network between which something is looked at. */
class Network extends Declarations {
  /** To 64 channels, 73 × 73. */
  readonly first: Layer
  /** To 192 channels, 35 × 35. */
  readonly second: Layer
  /** To 768 channels, 17 × 17: Mixed_6c. */
  readonly third: Layer
  /** TensorFlow's mixed_6. */
  readonly mixed6d: readonly [Layer, Layer, Layer, Layer]
  readonly mixed6e: Layer
  /** To 2048 channels, 8 × 8. */
  readonly last: Layer
  readonly classifier: Linear

  constructor() {
    super()
    this.first = chain(
      this.conv('Conv2d_1a_3x3', 3, 32, 3, DOWN),
      this.conv('Conv2d_2a_3x3', 32, 32, 3, { valid: true }),
      this.conv('Conv2d_2b_3x3', 32, 64, 3),
      maxPool,
    )
    this.second = chain(
      this.conv('Conv2d_3b_1x1', 64, 80, 1),
      this.conv('Conv2d_4a_3x3', 80, 192, 3, { valid: true }),
      maxPool,
    )
    this.third = chain(
      blockA(this, 'Mixed_5b', 192, 32),
      blockA(this, 'Mixed_5c', 256, 64),
      blockA(this, 'Mixed_5d', 288, 64),
      blockB(this, 'Mixed_6a', 288),
      branches(...branchesOfC(this, 'Mixed_6b', 128)),
      branches(...branchesOfC(this, 'Mixed_6c', 160)),
    )
    this.mixed6d = branchesOfC(this, 'Mixed_6d', 160)
    this.mixed6e = branches(...branchesOfC(this, 'Mixed_6e', 192))
    this.last = chain(
      blockD(this, 'Mixed_7a', 768),
      blockE(this, 'Mixed_7b', 1280, averagePoolSame),
      blockE(this, 'Mixed_7c', 2048, maxPoolSame),
    )
    this.classifier = new Linear(this.list, 'fc', INCEPTION_FEATURES, INCEPTION_CLASSES)
  }
}

export interface InceptionOutput {
  /** [N, 2048]: the last block, averaged over its pixels. */
  readonly features: Tensor
  /** [N, 17, 17, 192]: the first branch of mixed_6; sFID takes its first seven channels. */
  readonly spatial: Tensor
  /** [N, 1008], without the classifier's bias, as the ADM suite's Inception Score takes them. */
  readonly logits: Tensor
}

export class InceptionV3 extends ConvolutionalModel {
  readonly #network: Network

  constructor(device: Device) {
    const network = new Network()
    super(network.list, device)
    this.#network = network
  }

  override async load(source: StateSource, options?: { ignore?: (name: string) => boolean }): Promise<void> {
    const pairs: NormalisedConvolution[] = this.#network.convolutions.map((name) => ({
      convolution: `${name}.conv`,
      batchNorm: `${name}.bn`,
      name,
    }))
    await super.load(foldBatchNorm(source, pairs, BATCH_NORM_EPSILON), options)
  }

  /**
   * Images [N, 299, 299, 3] f32 in about [−1, 1]. `observe` is shown `block0` [N, 73, 73, 64], `block1` [N, 35, 35, 192] and `block2`
   * [N, 17, 17, 768], as pytorch-fid counts its outputs, and what mixed_6 is made of, `mixed6c`, of `block2`'s shape.
   */
  forward(images: Tensor, observe?: (name: string, tensor: Tensor) => void): InceptionOutput {
    const [, height, width, channels] = images.shape
    if (images.shape.length !== 4 || height !== INCEPTION_SIZE || width !== INCEPTION_SIZE || channels !== 3) {
      throw new RangeError(`InceptionV3: the images have shape [${images.shape}]; expected [N, 299, 299, 3].`)
    }
    return scope(() => {
      const { first, second, third, mixed6d, mixed6e, last, classifier } = this.#network
      const step = (layer: Layer, x: Tensor, name?: string) => {
        const output = scope(() => layer(x))
        if (x !== images) release(x)
        if (name) observe?.(name, output)
        return output
      }
      const block1 = step(second, step(first, images, 'block0'), 'block1')
      const mixed6c = step(third, block1, 'mixed6c')
      const parts = mixed6d.map((branch) => scope(() => branch(mixed6c)))
      release(mixed6c)
      const joined = concatenate(parts)
      const [spatial, ...others] = parts
      for (const part of others) release(part)
      const block3 = step(last, step(mixed6e, joined, 'block2'))
      const features = averageOfPixels(block3)
      const logits = linear(features, { weight: classifier.weight, bias: undefined })
      return { features, spatial: spatial!, logits }
    })
  }
}

/** Whether a state dict is that network's, by the layers that only it has in this form. */
export function isInceptionV3(source: StateSource): boolean {
  const has = (name: string) => source.names.includes(name)
  return (
    has('Mixed_7c.branch3x3dbl_3b.conv.weight') &&
    has('fc.weight') &&
    source.shapeOf('fc.weight')[0] === INCEPTION_CLASSES
  )
}

/** sFID's features of one batch: [N, 17, 17, 192] → [N, 2023], pixel by pixel, its seven channels within. */
export function spatialFeatures(spatial: Float32Array, channels: number): Float32Array {
  const pixels = spatial.length / channels
  const features = new Float32Array(pixels * SPATIAL_CHANNELS)
  for (let p = 0; p < pixels; p++) {
    features.set(spatial.subarray(p * channels, p * channels + SPATIAL_CHANNELS), p * SPATIAL_CHANNELS)
  }
  return features
}
