import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import type { ChannelStatistics } from '../models/image-normalisation.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from '../models/vit-config.ts'
import { openWeights } from '../models/weights-file.ts'

/** The tensor of such a file that is no weight: AverageFeatures', f32 [rows · columns, D]. */
export const AVERAGE_FEATURES = 'average_features'

/** The metadata key of a safetensors file under which an encoder states itself. */
const KEY = 'encoder'

const statistics = z.array(z.number()).length(3)

const statementSchema = z.strictObject({
  format: z.literal(1),
  /** What trained it: `mae`. */
  method: z.string(),
  /** Everything that the computation depends on, the final norm included. */
  model: visionTransformerConfigSchema,
  /** What its images are normalised by, in [0, 1]. */
  statistics: z.strictObject({ mean: statistics, std: statistics }),
  /** What it was trained on, and for how many steps of how many images. */
  training: z.strictObject({ data: z.string(), steps: z.int(), batch: z.int() }),
})

/** What a file of an encoder that was trained here says of itself. */
export interface EncoderStatement {
  readonly method: string
  readonly model: VisionTransformerConfig
  readonly statistics: ChannelStatistics
  readonly training: { readonly data: string; readonly steps: number; readonly batch: number }
}

/** The metadata of such a file: our statement, and the constructor's arguments as the reference names them, for other readers. */
export function encoderMetadata(statement: EncoderStatement): Record<string, string> {
  const { imageSize, patch, hidden, depth, heads } = statement.model
  const config = { img_size: imageSize, patch_size: patch, embed_dim: hidden, depth, num_heads: heads }
  return { [KEY]: JSON.stringify({ format: 1, ...statement }), config: JSON.stringify(config) }
}

/**
 * What a file states.
 *
 * @throws Error, in a sentence, where it states nothing, or not in this form
 */
export function encoderStatement(path: string, metadata: Readonly<Record<string, string>>): EncoderStatement {
  const text = metadata[KEY]
  if (text === undefined) {
    throw new Error(
      `${path} does not say what encoder it holds: the encoder vit needs a file that repa pretrain-encoder wrote. ` +
        'Published weights have names of their own, such as dinov2-vit-b.',
    )
  }
  const what = `${path}, metadata "${KEY}"`
  const { format: _, ...statement } = parseConfiguration(statementSchema, parseJson(text, what), what)
  return statement
}

/** The models of the encoders `vit` among these, by their files, which alone say their sizes. */
export async function statedModels(
  encoders: readonly { readonly name: string; readonly file?: string | undefined }[],
): Promise<ReadonlyMap<string, VisionTransformerConfig>> {
  const models = new Map<string, VisionTransformerConfig>()
  for (const { name, file: path } of encoders) {
    if (name !== 'vit' || path === undefined) continue
    await using file = await openWeights(path)
    models.set(path, encoderStatement(path, file.metadata).model)
  }
  return models
}
