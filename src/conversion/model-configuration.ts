import { parseConfiguration } from '../configuration/parse.ts'
import { inferKind } from '../models/infer-kind.ts'
import { assumedConvention, assumedHeads, inferTransformerConfig } from '../models/infer-transformer.ts'
import {
  type AnyTransformerConfig,
  type TransformerKind,
  textOf,
  transformerConfigSchema,
} from '../models/transformer-kinds.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import type { TensorSources } from './training-checkpoint.ts'

/** What tensors do not show, as far as something else tells it. */
export interface ModelKnowledge {
  readonly heads?: number
  readonly kind?: TransformerKind
  readonly classes?: number
  readonly alignDepth?: number
}

/**
 * A model's configuration from the names and shapes of its state dict. What they do not show is taken from `known`, or else
 * assumed, with a sentence in `notes` for each assumption.
 *
 * @throws {Error} where the tensors are not those of a SiT or a DiT
 */
export async function modelConfigOf(
  tensors: TensorSources,
  known: ModelKnowledge,
  path: string,
  notes: string[],
): Promise<AnyTransformerConfig> {
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]))
  const read = async (name: string): Promise<HostTensor> => {
    const { dtype, shape, data } = tensors.get(name)!
    return { dtype, shape, data: typeof data === 'function' ? await data() : data }
  }
  const found = known.kind === undefined ? await inferKind({ shapes, read, path }) : undefined
  if (found) notes.push(found.sentence)
  const kind = known.kind ?? found?.kind
  const inferred = inferTransformerConfig(shapes, path, { heads: known.heads, kind })
  const { depth, alignWidths } = inferred
  const guess = assumedHeads(shapes, path, inferred, known)
  if (guess !== undefined) notes.push(guess)
  const direction = assumedConvention(shapes, path, inferred, {})
  if (direction !== undefined) notes.push(direction)
  const ofLabels = textOf(inferred)
    ? {}
    : labelsOf(shapes.get('y_embedder.embedding_table.weight')![0]!, inferred, known, notes)
  return parseConfiguration(
    transformerConfigSchema,
    {
      ...inferred,
      ...ofLabels,
      ...(alignWidths.length > 0 && { alignDepth: alignDepthOf(depth, known.alignDepth, notes) }),
    },
    `${path}: the model that its shapes tell`,
  )
}

/** What a label table of so many rows is of. */
function labelsOf(
  labels: number,
  inferred: AnyTransformerConfig,
  known: ModelKnowledge,
  notes: string[],
): Pick<AnyTransformerConfig, 'classes' | 'classDropout'> {
  const { classes = inferred.classes } = known
  if (known.classes === undefined) {
    notes.push(`The label table of ${labels} rows is taken for ${classes} classes and the null class.`)
  }
  return { classes, classDropout: labels > classes ? inferred.classDropout : 0 }
}

function alignDepthOf(depth: number, known: number | undefined, notes: string[]): number {
  const alignDepth = Math.min(known ?? 8, depth)
  if (known === undefined || known > depth) {
    const why = known === undefined ? 'does not tell' : `says ${known} of a model of ${depth} blocks as`
    notes.push(`The file ${why} the block that is aligned: ${alignDepth} assumed; --align-depth sets it.`)
  }
  return alignDepth
}
