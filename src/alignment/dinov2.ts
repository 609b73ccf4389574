import { basename } from 'node:path'
import { dinov2Config, dinov2State, statedConfig } from '../models/dinov2-weights.ts'
import { VisionTransformer } from '../models/vit.ts'
import {
  type PositionInterpolation,
  type VisionTransformerConfig,
  visionTransformerConfigSchema,
} from '../models/vit-config.ts'
import { DINOV2_PRESETS, type DINOv2Preset } from '../models/vit-presets.ts'
import { openWeights } from '../models/weights-file.ts'
import { type Device, synchronize } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Encoder } from './encoder.ts'
import { imageNetInput } from './preprocessing.ts'

/** REPA fits the table to the grid with timm's resample_abs_pos_embed, not in DINOv2's own way: another table. */
export const REPA_INTERPOLATION: PositionInterpolation = { antialias: true, offset: 0 }

/** A frozen DINOv2 as REPA's teacher: the patch tokens after the final norm. */
export class DINOv2Encoder implements Encoder {
  readonly name: DINOv2Preset
  readonly model: VisionTransformer

  /** Takes the model over: disposing the encoder disposes it. */
  constructor(name: DINOv2Preset, model: VisionTransformer) {
    this.name = name
    this.model = model
  }

  get width(): number {
    return this.model.config.hidden
  }

  computeIn(dtype: ComputeDType): void {
    this.model.computeIn(dtype)
  }

  /** Images become grid · patch pixels: 256 with a grid of 16 x 16 become 224, 512 with 32 x 32 become 448, as in the reference. */
  features(images: Tensor, [rows, columns]: readonly [number, number]): Tensor {
    const { patch } = this.model.config
    return scope(() => {
      const input = imageNetInput(images, [rows * patch, columns * patch])
      return this.model.patchFeatures(input, { interpolation: REPA_INTERPOLATION })
    })
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }
}

/** Loads a file of DINOv2 weights; see `loadEncoder`. */
export async function loadDINOv2(
  name: DINOv2Preset,
  path: string,
  options: { device: Device; heads?: number | undefined; notice: (message: string) => void },
): Promise<DINOv2Encoder> {
  await using file = await openWeights(path)
  const state = dinov2State(file)
  const config = dinov2Config(state, { heads: options.heads, stated: statedConfig(path, file.metadata) })
  const standard = visionTransformerConfigSchema.parse(DINOV2_PRESETS[name])
  if (sizesOf(config) !== sizesOf(standard)) {
    const other = presetOf(config)
    if (other) {
      throw new Error(
        `${path} holds ${other} (${sizesOf(config)}), not ${name} (${sizesOf(standard)}); ` +
          `name the encoder ${other}, or pass the file of ${name}.`,
      )
    }
    options.notice(
      `${basename(path)} is not the standard ${name} (${sizesOf(standard)}); it is used as it is: ${sizesOf(config)}.`,
    )
  }
  const model = VisionTransformer.fromConfig(config, options.device)
  try {
    await model.load(state)
    await synchronize(options.device)
  } catch (error) {
    model.dispose()
    throw error
  }
  return new DINOv2Encoder(name, model)
}

/** Everything that tells one size from another, for comparison and to be read. */
function sizesOf(config: VisionTransformerConfig): string {
  const { hidden, depth, heads, ffn, ffnWidth, registers, patch, channels, imageSize } = config
  const side = imageSize / patch
  const input = channels === 3 ? '' : `, ${channels} channels`
  return (
    `width ${hidden}, depth ${depth}, ${heads} heads, ${ffn} ${ffnWidth}, ${registers} registers, patch ${patch}, ` +
    `pos_embed [1, ${1 + side ** 2}, ${hidden}]${input}`
  )
}

function presetOf(config: VisionTransformerConfig): DINOv2Preset | undefined {
  const names = Object.keys(DINOV2_PRESETS) as DINOv2Preset[]
  return names.find((name) => sizesOf(visionTransformerConfigSchema.parse(DINOV2_PRESETS[name])) === sizesOf(config))
}
