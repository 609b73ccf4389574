/** Files of a whole CLIP: what beside the towers' own readers (alignment/clip.ts, models/clip-text-weights.ts) is to be known of them. */
import { clip, clipImageState, type StatedClipImage, towerTraits } from '../alignment/clip.ts'
import { listed } from '../models/state-shapes.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { vitConfig } from '../models/vit-weights.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'

/** The image tower of a file, with ln_post. */
export interface ClipImageTower {
  readonly state: StateSource
  readonly config: VisionTransformerConfig
}

/**
 * Its sizes follow from the tensors; heads are of 64 columns and the activation is QuickGELU where nothing else is stated.
 *
 * @throws {Error} where the file holds no such tower; {ConfigurationError} where the shapes are no transformer's
 */
export function clipImageTower(file: StateSource, stated: StatedClipImage = {}): ClipImageTower {
  const state = clipImageState(file, { finalNorm: true })
  const traits = { ...clip.traits, finalNorm: true, ...towerTraits(stated) }
  const known = Object.values({ ...clip.presets, ...clip.others })
  return { state, config: vitConfig(state, { family: clip.title, traits, heads: stated.num_attention_heads, known }) }
}

/** A matrix [E, D] that takes a tower's features, D of them, into the space that both towers share. */
export interface ClipProjection {
  readonly values: Float32Array
  readonly shape: readonly [number, number]
}

/** As the Transformers library keeps them, and as OpenAI does: [D, E], by which features are multiplied. */
const LAYOUTS = [
  { image: 'visual_projection.weight', text: 'text_projection.weight', isTransposed: false },
  { image: 'visual.proj', text: 'text_projection', isTransposed: true },
] as const

/**
 * The projections of both towers.
 *
 * @throws {Error} where the file has not both, or they lead to spaces of different widths
 */
export async function clipProjections(file: StateSource): Promise<{ image: ClipProjection; text: ClipProjection }> {
  const { name, names } = file
  const layout = LAYOUTS.find((own) => names.includes(own.image) && names.includes(own.text))
  if (!layout) {
    throw new Error(
      `${name} holds no whole CLIP: it has neither visual.proj and text_projection, OpenAI's projections of its two towers, nor the ` +
        `Transformers library's visual_projection.weight and text_projection.weight. ${listed(names)}`,
    )
  }
  const [image, text] = [await projection(file, layout.image, layout), await projection(file, layout.text, layout)]
  if (image.shape[0] === text.shape[0]) return { image, text }
  throw new Error(
    `${name}: ${layout.image} gives ${image.shape[0]} features of an image and ${layout.text} ${text.shape[0]} of a text; expected as many.`,
  )
}

async function projection(
  file: StateSource,
  name: string,
  { isTransposed }: { readonly isTransposed: boolean },
): Promise<ClipProjection> {
  const shape = file.shapeOf(name)
  if (shape.length !== 2) throw new Error(`${file.name}: ${name} has shape [${shape}]; expected a matrix.`)
  const values = toFloat32(await file.read(name))
  const [rows, columns] = shape as [number, number]
  if (!isTransposed) return { values, shape: [rows, columns] }
  const turned = values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
  return { values: turned, shape: [columns, rows] }
}
