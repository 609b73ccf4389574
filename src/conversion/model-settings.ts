import type { AnyTransformerConfig } from '../models/transformer-kinds.ts'
import { usualTeacherDepth } from '../training/alignment-settings.ts'
import { alignDepthOf, modelSetting, type TrainingOptions } from '../training/configuration.ts'

/** REG's own. */
const CLASS_TOKEN_WEIGHT = 0.03

/** SRA's own. */
const SELF_ALIGN_WEIGHT = 0.2

/**
 * What a run's configuration must say for the run to be of this model: its sizes, and what brings the layers that it has for its losses. What
 * no model tells is assumed, with a sentence in `notes`.
 *
 * @param told the weight of the class token's loss, where the file says it
 */
export function settingsOf(
  model: AnyTransformerConfig,
  { classTokenWeight }: { readonly classTokenWeight?: number | null | undefined },
  notes: string[],
): TrainingOptions {
  const { projector, projectorWidth, classDropout } = model
  return {
    model: modelSetting(model),
    projector,
    projectorWidth,
    classDropout,
    classTokenWeight: classTokenWeightOf(model, classTokenWeight, notes),
    ...(model.selfAlignment ? selfAlignmentOf(model, notes) : { alignDepth: model.alignDepth }),
  }
}

function classTokenWeightOf(
  model: AnyTransformerConfig,
  told: number | null | undefined,
  notes: string[],
): number | undefined {
  if (model.kind !== 'SiT' || model.classTokenWidth === undefined) return undefined
  if (told) return told
  notes.push(
    `The file does not tell the weight of the class token's loss: ${CLASS_TOKEN_WEIGHT} assumed; \`classTokenWeight\` sets it.`,
  )
  return CLASS_TOKEN_WEIGHT
}

/** Its blocks are those of a run that names none. */
function selfAlignmentOf(model: AnyTransformerConfig, notes: string[]): TrainingOptions {
  const { depth, alignWidths } = model
  const teacherDepth = usualTeacherDepth(depth)
  // Tensors without projectors tell of no block, and the one that they are taken to mean is as deep as can be.
  const alignDepth = alignWidths.length === 0 && model.alignDepth > teacherDepth ? undefined : model.alignDepth
  const block = alignDepthOf({ model: modelSetting(model), alignDepth })
  notes.push(
    `The file does not tell how the model was aligned with its own average: a weight of ${SELF_ALIGN_WEIGHT}, as SRA's code has it, and ` +
      `block ${block} with the average's block ${teacherDepth} assumed; \`selfAlignWeight\`, \`selfAlignDepth\` and ` +
      '`selfAlignTeacherDepth` set them.',
  )
  return { selfAlignWeight: SELF_ALIGN_WEIGHT, ...(alignDepth !== undefined && { alignDepth }) }
}
