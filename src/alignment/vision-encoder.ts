import { basename } from 'node:path'
import { VisionTransformer } from '../models/vit.ts'
import {
  type PositionInterpolation,
  type VisionTransformerConfig,
  type VisionTransformerOptions,
  visionTransformerConfigSchema,
} from '../models/vit-config.ts'
import type { VisionTransformerPreset } from '../models/vit-presets.ts'
import { statedConfig, vitConfig } from '../models/vit-weights.ts'
import { openWeights } from '../models/weights-file.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type Device, synchronize } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AverageFeatures } from './average-features.ts'
import type { Encoder, FeatureOptions } from './encoder.ts'
import type { EncoderFamily, Resampling } from './encoder-family.ts'
import { normalizedInput } from './preprocessing.ts'
import { AVERAGE_FEATURES, encoderStatement } from './stated-encoder.ts'

/**
 * REPA fits the tables of all encoders that it knows to the grid with timm's resample_abs_pos_embed, not in the models' own ways, which
 * give others.
 */
export const REPA_INTERPOLATION: PositionInterpolation = { antialias: true, offset: 0 }

/** Images are resized without antialias, tables with it. */
const REPA_RESAMPLING: Resampling = { imageAntialias: false, positions: REPA_INTERPOLATION }

type VisionEncoderName = VisionTransformerPreset | 'vit'

/** Rows and columns at most of what REPA runs encoders on that have no mode for images of 512 pixels. */
const LARGEST_GRID = 16

/** What of a family the features depend on. */
type Preprocessing = Pick<EncoderFamily, 'statistics' | 'resampling' | 'largeGrids'>

/** A frozen vision transformer as REPA's teacher: its patch tokens, and for REG its class token. */
export class VisionEncoder implements Encoder {
  readonly name: VisionEncoderName
  readonly model: VisionTransformer
  readonly #family: Preprocessing
  readonly #average: AverageFeatures | undefined

  /** Takes the model over, and the average that is taken off its features: disposing the encoder disposes them. */
  constructor(family: Preprocessing, name: VisionEncoderName, model: VisionTransformer, average?: AverageFeatures) {
    this.name = name
    this.model = model
    this.#family = family
    this.#average = average
  }

  get width(): number {
    return this.model.config.hidden
  }

  get grid(): readonly [number, number] | undefined {
    const { imageSize, patch } = this.model.config
    return this.name === 'vit' ? [imageSize / patch, imageSize / patch] : undefined
  }

  /** Without the final norm a class token has a scale of its own, and REG's noise is of scale 1. */
  get hasClassToken(): boolean {
    const { classToken, finalNorm } = this.model.config
    return classToken && finalNorm
  }

  get attention(): { readonly blocks: number; readonly heads: number } {
    const { depth, heads } = this.model.config
    return { blocks: depth, heads }
  }

  computeIn(dtype: ComputeDType): void {
    this.model.computeIn(dtype)
  }

  /** Throws for a grid beyond 16 x 16 where the reference runs the model on none. */
  requireGrid([rows, columns]: readonly [number, number]): void {
    const { name } = this
    if (Math.max(rows, columns) <= LARGEST_GRID || name === 'vit' || this.#family.largeGrids?.(name)) return
    throw new RangeError(
      `The encoder ${name} has no mode for images of 512 pixels, whose grid is ${rows} x ${columns}: as in the reference, ` +
        `it goes up to ${LARGEST_GRID} x ${LARGEST_GRID}. Take dinov2-vit-s, -b, -l or -g, one of DINOv3, siglip-vit-b, -l or -so400m, or a ` +
        'model of larger patches.',
    )
  }

  /** Images become grid · patch pixels: 256 with a grid of 16 x 16 and a patch of 14 become 224, 512 with 32 x 32 become 448. */
  features(
    images: Tensor,
    grid: readonly [number, number],
    { classToken = false, attention }: FeatureOptions = {},
  ): Tensor {
    this.requireGrid(grid)
    const { patch } = this.model.config
    const { statistics, resampling = REPA_RESAMPLING } = this.#family
    return scope(() => {
      const size = [grid[0] * patch, grid[1] * patch] as const
      const input = normalizedInput(images, size, statistics, { antialias: resampling.imageAntialias })
      const features = this.model.patchFeatures(input, { interpolation: resampling.positions, classToken, attention })
      return this.#average?.takenOff(features, grid, { classToken }) ?? features
    })
  }

  [Symbol.dispose](): void {
    this.#average?.[Symbol.dispose]()
    this.model.dispose()
  }
}

/** Loads the file of an encoder that was trained here, which states all that there is to know of it. */
export async function loadStatedEncoder(path: string, device: Device): Promise<VisionEncoder> {
  await using file = await openWeights(path)
  const { model: config, statistics } = encoderStatement(path, file.metadata)
  const side = config.imageSize / config.patch
  const average = await averageOf(path, file, [side * side, config.hidden])
  const model = VisionTransformer.fromConfig(config, device)
  try {
    await model.load(file, { ignore: (name) => name === AVERAGE_FEATURES })
    await synchronize(device)
  } catch (error) {
    model.dispose()
    throw error
  }
  return new VisionEncoder({ statistics }, 'vit', model, new AverageFeatures(average, [side, side]))
}

async function averageOf(path: string, file: StateSource, shape: readonly [number, number]): Promise<Float32Array> {
  if (!file.names.includes(AVERAGE_FEATURES)) {
    throw new Error(`${path} has no ${AVERAGE_FEATURES}; write it anew: resume the pretraining that it is of.`)
  }
  const own = file.shapeOf(AVERAGE_FEATURES)
  if (String(own) === String(shape)) return toFloat32(await file.read(AVERAGE_FEATURES))
  throw new Error(`${path}: ${AVERAGE_FEATURES} has shape [${own}]; the encoder that it states gives [${shape}].`)
}

/** Loads a file of a family's weights; see `loadEncoder`. */
export async function loadVisionEncoder(
  family: EncoderFamily,
  name: VisionTransformerPreset,
  path: string,
  options: { device: Device; heads?: number | undefined; onNotice: (message: string) => void },
): Promise<VisionEncoder> {
  await using file = await openWeights(path, family.stateKeys)
  const state = family.state(file)
  const config = vitConfig(state, {
    family: family.title,
    traits: {
      ...family.traits,
      ...(await family.statedTraits?.(file)),
      ...(await family.traitsBeside?.(path)),
    },
    heads: options.heads,
    stated: statedConfig(path, file.metadata),
    known: Object.values({ ...family.presets, ...family.others }),
  })
  const isStandard = hasNamedSize(family, name, config, path)
  const model = VisionTransformer.fromConfig(config, options.device)
  try {
    await model.load(family.arranged?.(state, config) ?? state)
    await synchronize(options.device)
  } catch (error) {
    model.dispose()
    throw error
  }
  const remark = family.remark?.(file)
  if (remark !== undefined) options.onNotice(remark)
  if (!isStandard) {
    options.onNotice(
      `${basename(path)} is not the standard ${name} (${sizesOf(parsed(family.presets[name]!))}); it is used as it is: ` +
        `${sizesOf(config)}.`,
    )
  }
  return new VisionEncoder(family, name, model)
}

/**
 * Whether a model is of the size that the name says.
 *
 * @throws Error where it is of another published size of the family
 */
export function hasNamedSize(
  family: EncoderFamily,
  name: VisionTransformerPreset,
  config: VisionTransformerConfig,
  path: string,
): boolean {
  const wanted = sizesOf(parsed(family.presets[name]!))
  const found = sizesOf(config)
  if (found === wanted) return true
  const published = Object.entries({ ...family.presets, ...family.others })
  const other = published.find(([, size]) => sizesOf(parsed(size)) === found)?.[0]
  if (other === undefined) return false
  const advice = Object.hasOwn(family.presets, other) ? `name the encoder ${other}, or pass` : 'pass'
  throw new Error(`${path} holds ${other} (${found}), not ${name} (${wanted}); ${advice} the file of ${name}.`)
}

const parsed = (options: VisionTransformerOptions) => visionTransformerConfigSchema.parse(options)

/** Everything that tells one size from another, for comparison and to be read. */
function sizesOf(config: VisionTransformerConfig): string {
  const { hidden, depth, heads, ffn, ffnWidth, registers, patch, channels, imageSize, classToken, rope } = config
  const entries = (classToken ? 1 : 0) + (imageSize / patch) ** 2
  const input = channels === 3 ? '' : `, ${channels} channels`
  const positions = rope ? 'rotary positions' : `pos_embed [1, ${entries}, ${hidden}]`
  return (
    `width ${hidden}, depth ${depth}, ${heads} heads, ${ffn} ${ffnWidth}, ${registers} registers, patch ${patch}, ` +
    `${positions}${input}`
  )
}
