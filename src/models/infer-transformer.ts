import { parseConfiguration } from '../configuration/parse.ts'
import { DITDH_PRESETS, LIGHTNINGDIT_PRESETS, MMDIT_HEAD_DIM, SIT_PRESETS } from './presets.ts'
import type { SiTConvention } from './sit.ts'
import { countOf } from './state-shapes.ts'
import type { DdtHeadSettings } from './transformer-config.ts'
import { type AnyTransformerConfig, type TransformerKind, transformerConfigSchema } from './transformer-kinds.ts'

/** What shapes do not tell of a model. */
export interface TransformerKnowledge {
  /** Default: as norms of queries and keys tell; else the preset's of that depth and width, else one for every 64 features. */
  readonly heads?: number
  /** Default: SiT where the head has the input's channels, else DiT. */
  readonly kind?: TransformerKind
  /** Rows and columns of the tokens. Default: as many of both. */
  readonly grid?: readonly [rows: number, columns: number]
  /** Of a SiT. Default: that of the original SiT where the head has twice the channels or blocks are LightningDiT's, else REPA's. */
  readonly convention?: SiTConvention
}

/**
 * The configuration of the model that a state dict belongs to, from its names and shapes alone.
 *
 * A head with the input's channels is a SiT's of REPA. One with twice as many is a DiT's or, the layouts being the same, an original
 * SiT's: `kind` tells which (infer-kind.ts finds out from the weights), and such a SiT's time runs as in its own code; so does that of
 * one whose blocks are LightningDiT's. One with REG's layers has a class token, and one that embeds text is a SiT of text (MMDiT).
 *
 * @throws {Error} naming what is missing where the tensors are no diffusion transformer's, and where positions are those of no square
 */
export function inferTransformerConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  known: TransformerKnowledge = {},
): AnyTransformerConfig {
  if (shapes.has(TEXT_EMBEDDER)) return inferTextTransformerConfig(shapes, what, known)
  const { heads, kind, convention, grid } = known
  const shape = shapeReader(
    shapes,
    (name) => `${what} is not the state dict of a SiT or a DiT: it has no tensor ${name}.`,
  )
  const [, tokens] = shape('pos_embed')
  const [hidden, channels, patch] = shape(`${shapes.has(TRUNK_EMBEDDER) ? 's' : 'x'}_embedder.proj.weight`)
  const [labels] = shape('y_embedder.embedding_table.weight')
  const ffn = shapes.has('blocks.0.mlp.w12.weight') ? 'swiglu' : 'mlp'
  const [ffnRows] = shape(`blocks.0.mlp.${ffn === 'swiglu' ? 'w12' : 'fc1'}.weight`)
  const [headRows] = shape('final_layer.linear.weight')
  const ddtHead = shapes.has(TRUNK_EMBEDDER) ? ddtHeadOf(shapes, what, hidden!) : undefined
  const depth = countOf('blocks', shapes.keys()) - (ddtHead?.depth ?? 0)
  const classTokenWidth = shapes.get('cls_projectors2.weight')?.[1]
  const [rows, columns] = grid ?? squareOf(classTokenWidth === undefined ? tokens! : tokens! - 1, what)
  const learnSigma = headRows === 2 * channels! * patch! * patch!
  const inferred = kind ?? (learnSigma ? 'DiT' : 'SiT')
  return parseConfiguration(
    transformerConfigSchema,
    {
      kind: inferred,
      depth,
      hidden: hidden!,
      heads: heads ?? headsOf(shapes, { depth, hidden: hidden! }) ?? Math.max(1, Math.round(hidden! / 64)),
      patch: patch!,
      inputSize: [rows * patch!, columns * patch!],
      channels: channels!,
      classes: labels! - 1,
      mlpRatio: ffn === 'swiglu' ? swigluRatioOf(ffnRows! / 2, hidden!) : mlpRatioOf(ffnRows!, hidden!),
      qkNorm: shapes.has('blocks.0.attn.q_norm.weight'),
      norm: shapes.has('blocks.0.norm1.weight') ? 'rmsNorm' : 'layerNorm',
      ffn,
      rope: shapes.has(ROTARY_POSITIONS) || shapes.has(`enc_${ROTARY_POSITIONS}`),
      ...alignmentOf(shapes, shape, depth),
      learnSigma,
      ...(inferred === 'SiT' && {
        convention: convention ?? (learnSigma || hasLightningDiTBlocks(shapes) ? 'sit' : 'repa'),
        classTokenWidth,
        ...(ddtHead && { ddtHead }),
      }),
    },
    what,
  )
}

type ReadShape = (name: string) => readonly number[]

function shapeReader(shapes: ReadonlyMap<string, readonly number[]>, missing: (name: string) => string): ReadShape {
  return (name) => {
    const found = shapes.get(name)
    if (!found) throw new Error(missing(name))
    return found
  }
}

/** Rows and columns of the square grid of so many positions. */
function squareOf(positions: number, what: string): readonly [rows: number, columns: number] {
  const side = Math.sqrt(positions)
  if (Number.isInteger(side)) return [side, side]
  throw new Error(
    `${what} has ${positions} positions, which are no square grid, and nothing tells its rows and columns; take a checkpoint of a run.`,
  )
}

/** The same of an MMDiT. */
function inferTextTransformerConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  { heads, kind, convention, grid }: TransformerKnowledge,
): AnyTransformerConfig {
  if (kind === 'DiT') {
    throw new Error(`${what} embeds text, as no DiT does; take it for a SiT.`)
  }
  const shape = shapeReader(
    shapes,
    (name) => `${what} embeds text and is no MMDiT's state dict: it has no tensor ${name}.`,
  )
  const [, tokens] = shape('pos_embed')
  const [hidden, channels, patch] = shape('x_embedder.proj.weight')
  const depth = countOf('joint_blocks', shapes.keys())
  const [rows, columns] = grid ?? squareOf(tokens!, what)
  return parseConfiguration(
    transformerConfigSchema,
    {
      kind: 'SiT',
      depth,
      hidden: hidden!,
      heads: heads ?? headsOf(shapes, { depth, hidden: hidden! }) ?? Math.max(1, Math.round(hidden! / 64)),
      patch: patch!,
      inputSize: [rows * patch!, columns * patch!],
      channels: channels!,
      classes: 0,
      mlpRatio: mlpRatioOf(shape('joint_blocks.0.x_block.mlp.fc1.weight')[0]!, hidden!),
      ...alignmentOf(shapes, shape, depth),
      ...(convention && { convention }),
      // How many hidden states a caption has no weight tells: as many as CLIP's text encoder makes, the default.
      text: { width: shape(TEXT_EMBEDDER)[1]! },
    },
    what,
  )
}

/** What projectors and SRA's head tell. */
function alignmentOf(shapes: ReadonlyMap<string, readonly number[]>, shape: ReadShape, depth: number) {
  const encoders = countOf('projectors', shapes.keys())
  const isConv = shapes.has('projectors.0.projection_layer.weight')
  return {
    alignDepth: Math.min(8, depth),
    alignWidths: Array.from(
      { length: encoders },
      (_, k) => shape(`projectors.${k}.${isConv ? 'projection_layer' : '4'}.weight`)[0]!,
    ),
    projector: isConv ? 'conv' : 'mlp',
    projectorWidth: encoders > 0 && !isConv ? shape('projectors.0.0.weight')[0]! : undefined,
    selfAlignment: shapes.has('ap_head.linear1.weight'),
  }
}

interface Size {
  readonly depth: number
  readonly hidden: number
}

const USUAL_MLP_RATIO = 4
const ROTARY_POSITIONS = 'feat_rope.freqs_cos'
/** Of a model of text. */
const TEXT_EMBEDDER = 'context_embedder.weight'
/** Of a model with a DDT head, whose `x_embedder` is the head's. */
const TRUNK_EMBEDDER = 's_embedder.proj.weight'

/** The sizes of a DDT head: its blocks are those of another width than the trunk's. */
function ddtHeadOf(shapes: ReadonlyMap<string, readonly number[]>, what: string, trunk: number): DdtHeadSettings {
  const hidden = shapes.get('x_embedder.proj.weight')?.[0]
  if (hidden === undefined)
    throw new Error(`${what} has a ${TRUNK_EMBEDDER} and no x_embedder.proj.weight: no DDT head begins there.`)
  const widths: (number | undefined)[] = []
  for (let i = 0; shapes.has(`blocks.${i}.attn.qkv.weight`); i++)
    widths.push(shapes.get(`blocks.${i}.attn.qkv.weight`)![1])
  if (hidden === trunk) {
    throw new Error(
      `${what} has a DDT head as wide as its trunk, ${trunk}, and nothing tells which of its ${widths.length} blocks are the head's; take a ` +
        'checkpoint of a run.',
    )
  }
  const first = widths.indexOf(hidden)
  const headDim = shapes.get(`blocks.${first}.attn.q_norm.weight`)?.[0] ?? shapes.get(`dec_${ROTARY_POSITIONS}`)?.[1]
  if (headDim === undefined) {
    throw new Error(
      `${what} has a DDT head without rotary positions or norms of queries and keys, and nothing tells its attention heads; take a ` +
        'checkpoint of a run.',
    )
  }
  return { depth: widths.length - first, hidden, heads: hidden / headDim }
}

/** Whether a state dict has all of what LightningDiT's blocks have and SiT's and DiT's do not: RMSNorm, SwiGLU, rotary positions. */
function hasLightningDiTBlocks(shapes: ReadonlyMap<string, readonly number[]>): boolean {
  return ['blocks.0.norm1.weight', 'blocks.0.mlp.w12.weight', ROTARY_POSITIONS].every((name) => shapes.has(name))
}

/**
 * The attention heads that a state dict tells: norms of queries and keys are as wide as a head, and so are rotary positions; and a
 * published size has its own.
 */
function headsOf(shapes: ReadonlyMap<string, readonly number[]>, { depth, hidden }: Size): number | undefined {
  const headDim =
    shapes.get('blocks.0.attn.q_norm.weight')?.[0] ??
    (shapes.get(ROTARY_POSITIONS) ?? shapes.get(`enc_${ROTARY_POSITIONS}`))?.[1]
  if (headDim !== undefined) return hidden / headDim
  // REPA's mmdit.py has as many heads as blocks, and no other model.
  if (shapes.has(TEXT_EMBEDDER)) return hidden === MMDIT_HEAD_DIM * depth ? depth : undefined
  const presets = Object.values({ ...SIT_PRESETS, ...LIGHTNINGDIT_PRESETS, ...DITDH_PRESETS })
  return presets.find((size) => size.depth === depth && size.hidden === hidden)?.heads
}

/**
 * A sentence that says so where the heads of an inferred configuration are no more than usual; undefined where they are known.
 *
 * @param setting by which the caller is told them
 */
export function assumedHeads(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  config: AnyTransformerConfig,
  { heads }: TransformerKnowledge,
  setting = 'heads',
): string | undefined {
  if (heads !== undefined || headsOf(shapes, config) !== undefined) return undefined
  return `${what} does not tell how many attention heads it has: ${config.heads} assumed, one for every 64 features; \`${setting}\` sets it.`
}

/**
 * A sentence that says so where a SiT's time is taken to run as LightningDiT's does; undefined where it is known, or no LightningDiT's.
 *
 * @param setting by which the caller is told it
 */
export function assumedConvention(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  config: AnyTransformerConfig,
  { convention }: TransformerKnowledge,
  setting = 'convention',
): string | undefined {
  if (convention !== undefined || config.kind !== 'SiT' || config.learnSigma) return undefined
  if (!hasLightningDiTBlocks(shapes)) return undefined
  return (
    `${what} is taken for a LightningDiT, whose time runs from noise at 0 to data at 1: its blocks have RMSNorm, SwiGLU and rotary ` +
    `positions; \`${setting}\` can say otherwise.`
  )
}

/** A ratio that gives SwiGLU's width back, the whole part of two thirds of the MLP's: the usual one where that is one of those that do. */
function swigluRatioOf(width: number, hidden: number): number {
  if (Math.trunc((2 / 3) * USUAL_MLP_RATIO * hidden) === width) return USUAL_MLP_RATIO
  const mlpWidth = Math.ceil(1.5 * width)
  return mlpRatioOf(Math.trunc((2 / 3) * mlpWidth) === width ? mlpWidth : mlpWidth + 1, hidden)
}

/** A ratio that gives this width back: as in the reference, the width is the product's whole part, and division may round down. */
function mlpRatioOf(width: number, hidden: number): number {
  const ratio = width / hidden
  return Math.trunc(hidden * ratio) === width ? ratio : (width + 0.5) / hidden
}
