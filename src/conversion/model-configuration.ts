import { parseConfiguration } from '../configuration/parse.ts'
import { SIT_PRESETS } from '../models/presets.ts'
import { type SiTConfig, type SiTOptions, sitConfigSchema } from '../models/sit.ts'
import type { TensorSources } from './training-checkpoint.ts'

/** What tensors do not show, as far as something else tells it. */
export interface ModelKnowledge {
  readonly heads?: number
  readonly classes?: number
  readonly alignDepth?: number
}

/** DiT's head_dim, but for the XL size. */
const HEAD_DIM = 64
/** A constant of the reference's constructor. */
const CLASS_DROPOUT = 0.1

/**
 * A SiT's configuration from the names and shapes of its state dict. What they do not show is taken from `known`, or else
 * assumed, with a sentence in `notes` for each assumption.
 *
 * @throws {Error} where the tensors are not those of a SiT
 */
export function sitConfigOf(tensors: TensorSources, known: ModelKnowledge, path: string, notes: string[]): SiTConfig {
  const shapeOf = (name: string, rank: number): readonly number[] => {
    const shape = tensors.get(name)?.shape
    if (shape?.length === rank) return shape
    const found = shape ? `has the shape [${shape}]` : 'is missing'
    throw new Error(
      `${path} does not hold a SiT: ${name} ${found}. Only a SiT's state dict can become a checkpoint folder.`,
    )
  }
  const [hidden, channels, patch] = shapeOf('x_embedder.proj.weight', 4) as [number, number, number, number]
  const tokens = shapeOf('pos_embed', 3)[1]!
  const side = Math.sqrt(tokens)
  if (!Number.isInteger(side)) throw new Error(`${path}: pos_embed has ${tokens} positions, which are no square grid.`)
  const depth = countOf(tensors, /^blocks\.(\d+)\.attn\.qkv\.weight$/)
  const encoders = countOf(tensors, /^projectors\.(\d+)\.4\.weight$/)
  const labels = shapeOf('y_embedder.embedding_table.weight', 2)[0]!
  const headDim = tensors.get('blocks.0.attn.q_norm.weight')?.shape[0]
  const mlpWidth = shapeOf('blocks.0.mlp.fc1.weight', 2)[0]!
  const classes = known.classes ?? labels - 1
  if (known.classes === undefined) {
    notes.push(`The label table of ${labels} rows is taken for ${classes} classes and the null class.`)
  }
  const options: SiTOptions = {
    kind: 'SiT',
    depth,
    hidden,
    heads: known.heads ?? (headDim === undefined ? assumedHeads(hidden, notes) : hidden / headDim),
    patch,
    inputSize: [side * patch, side * patch],
    channels,
    classes,
    mlpRatio: mlpWidth / hidden,
    qkNorm: headDim !== undefined,
    classDropout: labels > classes ? CLASS_DROPOUT : 0,
    alignDepth: encoders > 0 ? alignDepthOf(depth, known.alignDepth, notes) : Math.min(8, depth),
    alignWidths: Array.from({ length: encoders }, (_, k) => shapeOf(`projectors.${k}.4.weight`, 2)[0]!),
    ...(encoders > 0 && { projectorWidth: shapeOf('projectors.0.0.weight', 2)[0]! }),
  }
  return parseConfiguration(sitConfigSchema, options, `${path}: the model that its shapes tell`)
}

/** How many numbers from 0 on the names have at the pattern's group. */
function countOf(tensors: TensorSources, pattern: RegExp): number {
  return [...tensors.keys()].filter((name) => pattern.test(name)).length
}

/** The published sizes each have a width of their own, which tells their heads. */
function assumedHeads(hidden: number, notes: string[]): number {
  const preset = Object.values(SIT_PRESETS).find((size) => size.hidden === hidden)
  if (preset) return preset.heads
  const heads = hidden % HEAD_DIM === 0 ? hidden / HEAD_DIM : 1
  notes.push(`The file does not tell the number of heads: ${heads} assumed; --heads sets it.`)
  return heads
}

function alignDepthOf(depth: number, known: number | undefined, notes: string[]): number {
  const alignDepth = Math.min(known ?? 8, depth)
  if (known === undefined || known > depth) {
    const why = known === undefined ? 'does not tell' : `says ${known} of a model of ${depth} blocks as`
    notes.push(`The file ${why} the block that is aligned: ${alignDepth} assumed; --align-depth sets it.`)
  }
  return alignDepth
}
