import type { ChannelStatistics } from '../models/image-normalisation.ts'
import type { PositionInterpolation, VisionTransformerConfig, VisionTransformerOptions } from '../models/vit-config.ts'
import type { VisionTransformerPreset } from '../models/vit-presets.ts'
import type { StateSource } from '../nn/state-dict.ts'

/** How what does not fit a grid of tokens is made to: both are bicubic. */
export interface Resampling {
  /** Whether images are resized with antialias. */
  readonly imageAntialias: boolean
  readonly positions: PositionInterpolation
}

/** A family of published encoders: their sizes, their files, and how REPA (utils.py, train.py) takes features from them. */
export interface EncoderFamily {
  /** As its authors write it. */
  readonly title: string
  /** The models that can be named, by REPA's names. */
  readonly presets: Readonly<Partial<Record<VisionTransformerPreset, VisionTransformerOptions>>>
  /** Published models that REPA does not align with, to tell a user whose file is one of them. */
  readonly others?: Readonly<Record<string, VisionTransformerOptions>>
  /** What all of its models have in common. */
  readonly traits: Partial<VisionTransformerOptions>
  readonly statistics: ChannelStatistics
  /** Default: REPA's, which is the same for all encoders that it knows. */
  readonly resampling?: Resampling
  /** Where the weights of a model are published. */
  readonly publishedFile: (name: VisionTransformerPreset) => string
  /** Keys of the state dict in a torch checkpoint, where it is not the file itself; default: the usual ones. */
  readonly stateKeys?: readonly string[]
  /**
   * The file's tensors under the names of models/vit.ts, without the heads, decoders and towers that are known and not wanted.
   *
   * @throws Error, in a sentence, for a file of another model
   */
  readonly state: (file: StateSource) => StateSource
  /** What of the traits a file itself says, in numbers and not in shapes. */
  readonly statedTraits?: (file: StateSource) => Promise<Partial<VisionTransformerOptions>>
  /** What of them a file beside the weights says. */
  readonly traitsBeside?: (weights: string) => Promise<Partial<VisionTransformerOptions>>
  /** What `state` gave, as the model of this configuration has it, where that takes more than other names. */
  readonly arranged?: (state: StateSource, config: VisionTransformerConfig) => StateSource
  /** What the user is to know of a file that `state` takes but that is not what the family's name says; undefined: nothing. */
  readonly remark?: (file: StateSource) => string | undefined
  /**
   * Whether the model of this name is run on grids beyond 16 x 16, as those of 512-pixel images are. Of the encoders that REPA
   * knows, it does that with DINOv2 without registers alone (train.py asserts it).
   */
  readonly largeGrids?: (name: VisionTransformerPreset) => boolean
}
