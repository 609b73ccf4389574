import { Model } from '../models/model.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { VisionNetwork } from '../models/vit-network.ts'
import { xavierUniform } from '../nn/initialiser.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { takeTokens } from '../tensor/ops/tokens.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { DinoHead, type DinoHeadSizes } from './dino-head.ts'

const BACKBONE = 'backbone.'

/**
 * A vision transformer with DINO's head on its class token: the student by the arena's weights, the teacher by their moving average.
 * Parameter names are the reference's.
 */
export class DinoModel extends Model {
  readonly backbone: VisionNetwork
  readonly head: DinoHead
  /** The backbone's tensors under a vision transformer's own names. */
  readonly backboneEntries: readonly { readonly name: string; readonly entry: StateEntry }[]

  constructor(config: VisionTransformerConfig, sizes: Omit<DinoHeadSizes, 'input'>, device: Device) {
    if (!config.classToken) throw new RangeError('DINO trains a vision transformer with a class token.')
    const list = new ParameterList()
    const backbone = new VisionNetwork(list, config, { prefix: BACKBONE, init: xavierUniform, fixedPositions: true })
    const entries = list.entries.map((entry) => ({ name: entry.name.slice(BACKBONE.length), entry }))
    const head = new DinoHead(list, 'head', { ...sizes, input: config.hidden })
    super(list, device)
    this.backbone = backbone
    this.backboneEntries = entries
    this.head = head
  }

  /** Normalised images f32 [N, 3, H, W] → the class tokens behind the last norm, [N, D]. */
  classTokens(images: Tensor): Tensor {
    const { backbone } = this
    return scope(() => {
      const hidden = backbone.encode(scope(() => backbone.embed(images)))
      const tokens = reshape(takeTokens(hidden, 0, 1), [hidden.shape[0]!, hidden.shape[2]!])
      release(hidden)
      return backbone.normed(tokens)
    })
  }

  /** Runs synchronous code while the parameters are the teacher's. */
  asTeacher<R>(body: () => R): R {
    using _average = this.arena.useMeanwhile('ema')
    return body()
  }

  override dispose(): void {
    this.backbone.clear()
    super.dispose()
  }
}
