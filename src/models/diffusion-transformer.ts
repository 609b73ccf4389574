/**
 * What DiT (arXiv 2212.09748) and SiT (arXiv 2401.08740) have in common, whatever network they are: an input, times and a condition give a
 * prediction; and what aligns their hidden states (REPA, arXiv 2410.06940).
 */
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import type { PixelRounding } from '../tensor/ops/pixels.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AdaLNNetwork } from './adaln-network.ts'
import { JointNetwork } from './joint-network.ts'
import { Model, requireSeed } from './model.ts'
import { type TextSettings, type TransformerConfig, tokenGrid } from './transformer-config.ts'
import type {
  ForwardOptions,
  HiddenStatesOptions,
  TransformerNetwork,
  TransformerOutput,
} from './transformer-network.ts'

function declareNetwork(list: ParameterList, config: TransformerConfig): TransformerNetwork {
  return config.text ? new JointNetwork(list, config, config.text) : new AdaLNNetwork(list, config)
}

/** The state dict's tensors of a model of this configuration, in the reference's order: names and shapes, without memory for them. */
export function transformerEntries(config: TransformerConfig): readonly StateEntry[] {
  const list = new ParameterList()
  declareNetwork(list, config)
  return list.entries
}

/** The channels that forward_with_cfg guides, in DiT's code and the original SiT's. */
export const FIRST_GUIDED_CHANNELS = 3

/** What a model has for its alignment. */
export interface AlignmentParts {
  readonly widths: readonly number[]
  readonly depth: number
  readonly projector?: TransformerConfig['projector']
  readonly selfAlignment?: boolean
  /** Of a SiT. */
  readonly classTokenWidth?: number | undefined
}

export abstract class DiffusionTransformer<C extends TransformerConfig = TransformerConfig> extends Model {
  #config: C
  #network: TransformerNetwork

  protected constructor(config: C, device: Device) {
    const list = new ParameterList()
    const network = declareNetwork(list, config)
    super(list, device)
    this.#config = config
    this.#network = network
  }

  get config(): C {
    return this.#config
  }

  /** How many of its first channels the model's own code guides (forward_with_cfg), of however many there are. */
  abstract get guidedChannels(): number

  /** How the script that samples the model makes bytes of its pixels. */
  abstract get pixelRounding(): PixelRounding

  /** The configuration with other values, checked. */
  protected abstract reconfigured(change: Partial<TransformerConfig>): C

  /**
   * Input x [B, C, H, W], times t [B] and a condition (already dropped, in training) → what the model predicts, [B, C, H, W]. The condition
   * is a label, i32 [B], or of a model of text its hidden states, [B, L, W].
   *
   * @throws {RangeError} where x has another shape
   */
  abstract forward(x: Tensor, t: Tensor, condition: Tensor, options?: ForwardOptions): TransformerOutput

  /**
   * Gives the model projectors for encoders of these feature widths, with fresh weights, after block `depth`, with `selfAlignment`
   * the head of that name, and with `classTokenWidth` what denoises a class token; every other weight stays as it is. What is not said of
   * projectors, head and class token stays as well.
   *
   * @throws {ConfigurationError} naming every setting that is wrong
   */
  align({ widths, depth, seed = 0, ...parts }: AlignmentParts & { seed?: number }): void {
    requireSeed(seed)
    const config = this.reconfigured({ alignWidths: [...widths], alignDepth: depth, ...parts })
    const list = new ParameterList()
    const network = declareNetwork(list, config)
    this.#network.clear()
    this.redeclare(list, seed)
    this.#config = config
    this.#network = network
  }

  /** The label that stands for no label: the last row of the label table. */
  get nullClass(): number {
    return this.#config.classes
  }

  /** Width of the class token that is denoised along (REG); undefined: there is none. */
  get classTokenWidth(): number | undefined {
    return this.#config.classTokenWidth
  }

  /** What hidden states of captions the model is told; undefined: it is told classes. */
  get text(): TextSettings | undefined {
    return this.#config.text
  }

  /** Rows and columns of an input's tokens. */
  get grid(): readonly [rows: number, columns: number] {
    return tokenGrid(this.#config)
  }

  /** Tokens of an input. */
  get tokens(): number {
    return this.grid[0] * this.grid[1]
  }

  /** Tokens that the blocks see: an input's, and the class token where there is one. */
  get sequenceTokens(): number {
    return this.tokens + (this.#network.hasClassToken ? 1 : 0)
  }

  /**
   * The hidden states [B, T, D] as they leave block `depth` (from 1), of what `forward` takes; no later block is run. `observe` is shown
   * what a forward pass shows it up to there.
   *
   * @throws {RangeError} where there is no such block, or x has another shape
   */
  hiddenStates(x: Tensor, t: Tensor, condition: Tensor, depth: number, options?: HiddenStatesOptions): Tensor {
    if (!(Number.isInteger(depth) && depth >= 1 && depth <= this.#config.depth)) {
      throw new RangeError(
        `hiddenStates: there is no block ${depth}; the model has the blocks 1 to ${this.#config.depth}.`,
      )
    }
    this.#requireInput(x)
    return this.#network.hiddenStates(x, t, condition, depth, options)
  }

  /** Hidden states [B, T, D] by SRA's head: what is compared with those of the averaged model, [B, T, D]. */
  selfAlignmentProjection(hidden: Tensor): Tensor {
    const head = this.#network.selfAlignmentHead
    if (!head)
      throw new TypeError('The model has no head for self-alignment; give it one by align({ …, selfAlignment: true }).')
    return head.forward(hidden)
  }

  /** What the network makes of it: see its `run`. */
  protected run(x: Tensor, t: Tensor, condition: Tensor, options?: ForwardOptions): TransformerOutput {
    this.#requireInput(x)
    return this.#network.run(x, t, condition, options)
  }

  /** No op sees that rows and columns are others where there are as many patches: positions and the output would be of another grid. */
  #requireInput({ shape }: Tensor): void {
    const { channels, inputSize } = this.#config
    const taken = [channels, ...inputSize]
    if (shape.length === 1 + taken.length && taken.every((size, i) => shape[i + 1] === size)) return
    throw new RangeError(`The input has shape [${shape.join(', ')}]; the model takes [B, ${taken.join(', ')}].`)
  }

  override dispose(): void {
    this.#network.clear()
    super.dispose()
  }
}
