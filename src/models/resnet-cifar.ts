/**
 * The ResNets of He et al. (arXiv 1512.03385, section 4.2) for CIFAR-10 as akamaster/pytorch_resnet_cifar10 trains and publishes
 * them: 6n + 2 layers (n = 3: ResNet-20), shortcuts of option A, which have no parameters. Frozen: BatchNorm (ε = 1e-5) is folded
 * into the convolutions when the weights are loaded.
 */

import { foldBatchNorm, type NormalisedConvolution } from '../nn/batch-norm.ts'
import { Conv2d } from '../nn/conv2d.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { averageOfPixels, conv2d } from '../tensor/ops/conv2d.ts'
import { channelsLast } from '../tensor/ops/layout.ts'
import { linear } from '../tensor/ops/linear.ts'
import { normalizeImages } from '../tensor/ops/pixels.ts'
import { release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { ConvolutionalModel } from './convolutional-model.ts'
import { IMAGENET } from './image-normalisation.ts'

export interface ResNetCifarConfig {
  /** Blocks of two convolutions in each of the three stages: n. */
  readonly blocks: number
  readonly classes: number
}

const BATCH_NORM_EPSILON = 1e-5
/** Channels of the three stages. */
const STAGES = [16, 32, 64] as const

interface Block {
  readonly first: Conv2d
  readonly second: Conv2d
  readonly stride: 1 | 2
  readonly outputs: number
}

export interface ResNetCifarOutput {
  /** [N, H/4, W/4, 64]: the last stage. */
  readonly layer3: Tensor
  /** [N, 64]: its mean over the pixels. */
  readonly features: Tensor
  /** [N, classes] */
  readonly logits: Tensor
}

export class ResNetCifar extends ConvolutionalModel {
  readonly config: ResNetCifarConfig
  readonly #stem: Conv2d
  readonly #blocks: readonly Block[]
  readonly #classifier: Linear
  /** By output channels: the weights of the shortcuts that change the number of channels. */
  readonly #shortcuts = new Map<number, Tensor>()

  constructor(config: ResNetCifarConfig, device: Device) {
    const list = new ParameterList()
    const conv = (name: string, inputs: number, outputs: number) =>
      new Conv2d(list, name, { inputs, outputs, kernel: 3 })
    const stem = conv('conv1', 3, STAGES[0])
    const blocks: Block[] = []
    let inputs: number = STAGES[0]
    STAGES.forEach((outputs, stage) => {
      for (let block = 0; block < config.blocks; block++) {
        const name = `layer${stage + 1}.${block}`
        blocks.push({
          first: conv(`${name}.conv1`, inputs, outputs),
          second: conv(`${name}.conv2`, outputs, outputs),
          stride: stage > 0 && block === 0 ? 2 : 1,
          outputs,
        })
        inputs = outputs
      }
    })
    const classifier = new Linear(list, 'linear', STAGES[2], config.classes)
    super(list, device)
    this.config = config
    this.#stem = stem
    this.#blocks = blocks
    this.#classifier = classifier
    for (const [before, after] of [
      [STAGES[0], STAGES[1]],
      [STAGES[1], STAGES[2]],
    ] as const) {
      this.#shortcuts.set(after, Tensor.from(shortcutWeight(before, after), [after, 1, 1, before], device))
    }
  }

  override async load(source: StateSource, options?: { ignore?: (name: string) => boolean }): Promise<void> {
    const pairs: NormalisedConvolution[] = this.entries.flatMap(({ name }) => {
      const match = /^(.*conv)(\d)\.weight$/.exec(name)
      if (!match) return []
      const [, path, index] = match
      const module = `${path}${index}`
      return [{ convolution: module, batchNorm: `${path!.slice(0, -'conv'.length)}bn${index}`, name: module }]
    })
    await super.load(foldBatchNorm(source, pairs, BATCH_NORM_EPSILON), options)
  }

  /** Images u8 [N, 3, H, W], H and W multiples of 4. */
  forward(images: Tensor): ResNetCifarOutput {
    const [, channels, height, width] = images.shape
    if (images.shape.length !== 4 || channels !== 3 || height! % 4 !== 0 || width! % 4 !== 0) {
      throw new RangeError(
        `ResNetCifar: the images have shape [${images.shape}]; expected [N, 3, H, W] with H and W multiples of 4.`,
      )
    }
    return scope(() => {
      // By ImageNet's statistics, as in that repository's training.
      const planes = normalizeImages(images, { divisor: 255, ...IMAGENET })
      const pixels = channelsLast(planes)
      release(planes)
      let x = conv2d(pixels, this.#stem, { activation: 'relu' })
      release(pixels)
      for (const block of this.#blocks) {
        const input = x
        x = scope(() => this.#block(input, block))
        release(input)
      }
      const features = averageOfPixels(x)
      return { layer3: x, features, logits: linear(features, this.#classifier) }
    })
  }

  #block(x: Tensor, { first, second, stride, outputs }: Block): Tensor {
    const hidden = conv2d(x, first, { stride, activation: 'relu' })
    const weight = this.#shortcuts.get(outputs)
    const residual = stride === 1 || !weight ? x : conv2d(x, { weight, bias: undefined }, { stride, padding: 0 })
    return conv2d(hidden, second, { residual, activation: 'relu' })
  }

  override dispose(): void {
    for (const weight of this.#shortcuts.values()) weight.dispose()
    super.dispose()
  }
}

/**
 * Option A: every second pixel of every second row, and the new channels are zeros, as many before the old ones as behind. A
 * convolution of one pixel whose weights are 0 and 1 does that to the last bit.
 */
function shortcutWeight(before: number, after: number): Float32Array {
  const weight = new Float32Array(after * before)
  const first = (after - before) / 2
  for (let c = 0; c < before; c++) weight[(first + c) * before + c] = 1
  return weight
}

/** The state dict under the bare names: files that were trained on several GPUs have `module.` in front of each. */
export function resNetCifarState(source: StateSource): StateSource {
  const prefix = 'module.'
  if (!source.names.every((name) => name.startsWith(prefix))) return source
  return {
    name: source.name,
    names: source.names.map((name) => name.slice(prefix.length)),
    shapeOf: (name) => source.shapeOf(prefix + name),
    read: (name) => source.read(prefix + name),
  }
}

/** The sizes of a state dict. Throws where it is no such network's. */
export function resNetCifarConfig(state: StateSource): ResNetCifarConfig {
  const blocks = new Set(state.names.flatMap((name) => /^layer3\.(\d+)\.conv1\.weight$/.exec(name)?.[1] ?? [])).size
  if (blocks === 0 || !state.names.includes('linear.weight') || !state.names.includes('conv1.weight')) {
    throw new Error(
      `${state.name} is no CIFAR ResNet: expected the state dict of pytorch_resnet_cifar10, with layer1 to layer3 and linear.`,
    )
  }
  return { blocks, classes: state.shapeOf('linear.weight')[0]! }
}
