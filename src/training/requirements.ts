/** What must agree before a training step: checkpoint, model and data. */
import { isDeepStrictEqual } from 'node:util'
import { type ComparedAttention, comparedAttention } from '../alignment/attention-alignment.ts'
import { contrastedImages } from '../alignment/nt-xent.ts'
import { firstThatHolds } from '../configuration/first-that-holds.ts'
import type { Dataset } from '../data/dataset.ts'
import { ALONE } from '../distributed/world.ts'
import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import type { SiTConvention } from '../models/sit.ts'
import { isInside, keptTokens } from '../models/token-route.ts'
import { type DdtHeadSettings, tokenGrid } from '../models/transformer-config.ts'
import type { AnyTransformer, AnyTransformerConfig, TransformerKind } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import { requireFittingEncoder } from '../text/encoded-captions.ts'
import { isCached } from './cached-encoder.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'
import type { TrainerOptions } from './trainer-options.ts'

/** What a model computes with its tensors beyond what their names and shapes show. */
export interface Computation {
  readonly kind: TransformerKind
  readonly heads: number
  /** Of a SiT. */
  readonly convention?: SiTConvention | undefined
  /** Likewise: what its velocity is along. Undefined: nothing tells it. */
  readonly path?: InterpolantPath | undefined
  /** One as wide as its trunk goes on with the trunk's names and shapes. */
  readonly ddtHead?: Pick<DdtHeadSettings, 'depth' | 'heads'> | undefined
}

export interface OtherComputation {
  /** Of the file, which goes before it; without an end. */
  readonly sentence: string
  /** By which it is said. */
  readonly setting: 'model' | 'path'
}

/** What `saved` computes otherwise than `own`, this run's, the path last; undefined: nothing. */
export function otherComputation(saved: Computation, own: Computation): OtherComputation | undefined {
  const model = otherModel(saved, own)
  if (model !== undefined) return { sentence: model, setting: 'model' }
  // A DiT has none.
  if (saved.kind !== 'SiT' || saved.path === undefined || own.path === undefined || saved.path === own.path) {
    return undefined
  }
  return {
    sentence: `is of a SiT that learnt along the path ${saved.path}, this run's learns along ${own.path}`,
    setting: 'path',
  }
}

function otherModel(saved: Computation, own: Computation): string | undefined {
  if (saved.kind !== own.kind) return `is of a ${saved.kind}, this run's model is a ${own.kind}`
  if (saved.kind === 'SiT' && saved.convention !== own.convention) {
    return `is of a SiT whose time runs by the convention ${saved.convention}, this run's by ${own.convention}`
  }
  if (saved.heads !== own.heads) return `is of a model with heads ${saved.heads}, this run's has ${own.heads}`
  for (const key of ['depth', 'heads'] as const) {
    const [its, ours] = [saved.ddtHead?.[key], own.ddtHead?.[key]]
    if (its !== undefined && ours !== undefined && its !== ours) {
      return `is of a model with a DDT head of ${key} ${its}, this run's has one of ${ours}`
    }
  }
  return undefined
}

/** What tensors of the right shapes do not show, projectors included. Throws where the checkpoint's model computed otherwise with them. */
export function requireSameComputation(
  checkpoint: string,
  saved: AnyTransformerConfig & Pick<Computation, 'path'>,
  own: AnyTransformerConfig & Pick<Computation, 'path'>,
): void {
  const other = otherComputation(saved, own)
  if (other !== undefined) throw new RangeError(`${checkpoint} ${other.sentence}.`)
  const [its, ours] = [tokenGrid(saved), tokenGrid(own)]
  // Of as many tokens, or a tensor's shape would tell.
  if (!isDeepStrictEqual(its, ours)) {
    throw new RangeError(
      `${checkpoint} is of a model of ${its.join(' × ')} tokens, this run's has ${ours.join(' × ')}; \`init\` begins from its weights.`,
    )
  }
  if (saved.alignWidths.length === 0) return
  for (const key of ['alignDepth', 'projector'] as const) {
    if (saved[key] !== own[key]) {
      throw new RangeError(`${checkpoint} is of a model with ${key} ${saved[key]}, this run's has ${own[key]}.`)
    }
  }
}

/** Throws for a block that the model does not have. */
export function requireBlocks(
  { config }: DiffusionTransformer,
  { selfAlign, disperse }: Pick<TrainerOptions, 'selfAlign' | 'disperse'>,
): void {
  const blocks = [
    ['Self-alignment is of', selfAlign?.depth],
    ['Self-alignment aims at', selfAlign?.teacherDepth],
    ['The dispersive loss is of', disperse?.depth],
  ] as const
  for (const [what, depth] of blocks) {
    if (depth !== undefined && !(Number.isInteger(depth) && depth >= 1 && depth <= config.depth)) {
      throw new RangeError(`${what} block ${depth}, and the model has blocks 1 to ${config.depth}.`)
    }
  }
}

/** Throws for a route that the model does not have, and for what inside of it would read all tokens, or the same ones of all samples. */
export function requireRoute(
  { config, text, tokens }: DiffusionTransformer,
  { route, align, disperse }: Pick<TrainerOptions, 'route' | 'align' | 'disperse'>,
): void {
  if (!route) return
  if (text) {
    throw new RangeError(
      'Blocks of text and image see all tokens of both; leave out the route, or train a model of classes.',
    )
  }
  const { share, from, to } = route
  const isWhole = Number.isInteger(from) && Number.isInteger(to)
  if (!isWhole || from < 2 || to < from || to > config.depth) {
    throw new RangeError(
      `Tokens cannot go past blocks ${from} to ${to}; expected a first and a last one of 2 to ${config.depth}, for all tokens pass block 1.`,
    )
  }
  const kept = keptTokens(tokens, share)
  if (!(share > 0) || kept === tokens || kept < 1) {
    throw new RangeError(
      `A share of ${share} of ${tokens} tokens leaves ${kept} of them in the routed blocks; expected 1 at least, and not all.`,
    )
  }
  if (config.ddtHead) {
    throw new RangeError('A DDT head reads all tokens of the trunk at once; leave out the route, or ddtHead.')
  }
  if (config.rope) {
    throw new RangeError(
      `Rotary positions turn tokens by their places in the grid, and blocks ${from} to ${to} see ${kept} of ${tokens}, others of each ` +
        'sample; leave out the route, or rope.',
    )
  }
  const alignDepth = align?.depth ?? config.alignDepth
  if (align && isInside(route, alignDepth)) {
    if ((align.projector ?? config.projector) === 'conv') {
      throw new RangeError(
        `The convolution projects the grid of all tokens after block ${alignDepth}, and blocks ${from} to ${to} see ${kept} of ${tokens}; ` +
          'take the projector mlp, or align outside of the route.',
      )
    }
    if (align.loss === 'nt-xent') {
      throw new RangeError(
        `NT-Xent contrasts all tokens of an image after block ${alignDepth}, and blocks ${from} to ${to} see ${kept} of ${tokens}; ` +
          'take the cosine, or align outside of the route.',
      )
    }
  }
  if (disperse && isInside(route, disperse.depth)) {
    throw new RangeError(
      `The dispersive loss compares samples token by token after block ${disperse.depth}, and blocks ${from} to ${to} see other tokens of ` +
        'each; disperse outside of the route.',
    )
  }
}

/** Throws where a class token is to be denoised along, and the model, the encoders or other settings do not go with that. */
export function requireClassToken(
  { config, text }: AnyTransformer,
  { classToken, align, alignSchedule = {}, selfAlign, route }: TrainerOptions,
): void {
  if (!classToken) return
  const encoders = align ? [align.encoder].flat() : []
  const cached = encoders.find(isCached)
  const without = encoders.find((encoder) => !isCached(encoder) && !encoder.hasClassToken)
  const obstacle = firstThatHolds<string>([
    [config.kind !== 'SiT', `its velocity is learnt by a SiT, and the model is a ${config.kind}`],
    [text, 'the model is of text, whose blocks have no place for it; train a model of classes'],
    [encoders.length === 0, "it is an encoder's, and there is none"],
    [cached, `the cached features of ${cached?.name} have none; let the encoder run`],
    [
      without,
      `the encoder ${without?.name} has none behind a final norm; take DINOv2, DINOv3, DINO, MoCo v3, or vit of repa pretrain-encoder`,
    ],
    [
      route,
      'the tokens that go past some blocks are drawn among those of a grid, in which it has no place; leave one out',
    ],
    [selfAlign, 'self-alignment shows the averaged model no class token; leave one of the two out'],
    [align?.projector === 'conv', 'the projector conv reads the grid of tokens, in which it has no place; take mlp'],
    [
      align?.spatialNorm !== undefined,
      'spatialNorm is over the tokens of a grid, in which it has no place; leave one out',
    ],
    [
      alignSchedule.until !== undefined,
      'the encoder that it comes from would not run after the alignment; leave alignUntil out',
    ],
  ])
  if (obstacle !== undefined) throw new RangeError(`A class token cannot be denoised along (REG): ${obstacle}.`)
}

/** What of the attention is compared, and by which weight. */
export type WeightedAttention = ComparedAttention & { readonly weight: number }

/**
 * What of the attention is compared; undefined where none is.
 *
 * @throws {RangeError} where the model, the first encoder or other settings do not go with it
 */
export function attentionOf({
  model: { config, text },
  align,
  classToken,
  route,
}: Pick<TrainerOptions, 'model' | 'align' | 'classToken' | 'route'>): WeightedAttention | undefined {
  if (!align?.attention) return undefined
  const encoder = [align.encoder].flat()[0]!
  const refuse = (obstacle: string) => {
    throw new RangeError(`The model's attention cannot be compared with an encoder's (HASTE): ${obstacle}.`)
  }
  if (text) return refuse('it is over text and image at once; leave one out, or train a model of classes')
  if (isCached(encoder)) return refuse(`of the cached features of ${encoder.name} there is none; let the encoder run`)
  if (!encoder.attention) return refuse(`the encoder ${encoder.name} has none; name a vision transformer first`)
  if (classToken) return refuse('a class token is denoised along (REG), which takes part in it; leave one out')
  const depth = align.depth ?? Math.min(config.alignDepth, config.depth)
  const compared = comparedAttention(align.attention, { blocks: depth, heads: config.heads }, encoder.attention)
  if (route && route.from <= compared.model.to && route.to >= compared.model.from) {
    const { from, to } = compared.model
    return refuse(
      `blocks ${from} to ${to} are compared, and some tokens go past blocks ${route.from} to ${route.to}; let the route begin later`,
    )
  }
  return { ...compared, weight: align.attention.weight }
}

/** How a batch is cut: among processes, and what each has of it into passes. */
interface Cut {
  readonly batch: number
  readonly accumulate: number
  readonly processes: number
}

/** What cuts a batch, as the user calls it. */
const cutOf = ({ accumulate, processes }: Cut) =>
  [...(processes > 1 ? [`${processes} processes`] : []), ...(accumulate > 1 ? [`accumulate ${accumulate}`] : [])].join(
    ' and ',
  )

/** Throws where a batch cannot be cut into equal parts of the processes, and each of these into so many equal passes. */
export function requireEqualParts(cut: Cut): void {
  const { batch, accumulate, processes } = cut
  if (Number.isInteger(accumulate) && accumulate >= 1 && batch % (accumulate * processes) === 0) return
  throw new RangeError(
    processes > 1
      ? `A batch of ${batch} cannot be cut into equal passes by ${cutOf(cut)}; take a multiple of ${accumulate * processes}.`
      : `A batch of ${batch} cannot be cut into ${accumulate} equal passes; let accumulate be a divisor of the batch.`,
  )
}

/** Throws where a batch cannot be cut as it is to be, or a loss would see another batch for it. */
export function requireIndependentPasses(
  { sequenceTokens }: DiffusionTransformer,
  {
    batch,
    accumulate = REFERENCE_DEFAULTS.accumulate,
    world = ALONE,
    align,
    disperse,
  }: Pick<TrainerOptions, 'batch' | 'accumulate' | 'world' | 'align' | 'disperse'>,
): void {
  const cut = { batch, accumulate, processes: world.size }
  requireEqualParts(cut)
  const passes = accumulate * world.size
  if (passes === 1) return
  if (disperse) {
    throw new RangeError(
      `The dispersive loss is of all samples of a batch at once, and ${cutOf(cut)} would show it ${batch / passes} of ${batch}; ` +
        'leave one of the two out.',
    )
  }
  const group = contrastedImages(sequenceTokens)
  if (align?.loss === 'nt-xent' && (batch / passes) % group !== 0) {
    throw new RangeError(
      `NT-Xent contrasts groups of ${group} images, and ${cutOf(cut)} would make passes of ${batch / passes}, which cuts groups; ` +
        `let a pass be a multiple of ${group} images.`,
    )
  }
}

/** Throws where a sample has no other in its batch, and a loss is of both. */
export function requirePairs({
  batch,
  contrast,
  disperse,
}: Pick<TrainerOptions, 'batch' | 'contrast' | 'disperse'>): void {
  if (batch >= 2) return
  if (contrast) {
    throw new RangeError(
      `Contrastive flow matching contrasts a sample with another of its batch, and a batch of ${batch} has none; take 2 at least.`,
    )
  }
  if (disperse) {
    throw new RangeError(
      `The dispersive loss pushes the samples of a batch apart, and a batch of ${batch} has no two; take 2 at least.`,
    )
  }
}

/** Throws where a step that is to be a CUDA graph cannot be one. */
export function requireCapturable(
  { device }: DiffusionTransformer,
  { cudaGraph, alignSchedule = {} }: Pick<TrainerOptions, 'cudaGraph' | 'alignSchedule'>,
): void {
  if (!cudaGraph) return
  if (device === 'cpu') {
    throw new RangeError('A step cannot be captured on the CPU; only a GPU has graphs. Leave cudaGraph out.')
  }
  if ((alignSchedule.decay ?? 'none') !== 'none') {
    throw new RangeError(
      `A captured step has one weight of the alignment, and a ${alignSchedule.decay} decay changes it at every step. Leave cudaGraph out.`,
    )
  }
}

/** Throws where an encoder is to see the images of data that have none. */
export function requireImages(data: Dataset, { align }: Pick<TrainerOptions, 'align'>): void {
  const encoder = (align ? [align.encoder].flat() : []).find((each) => !isCached(each))
  if (!encoder || data.hasImages) return
  throw new RangeError(
    `The encoder ${encoder.name} sees images, and '${data.path}' holds latents without them; train without alignment by an encoder, or on a ` +
      'prepared set of images.',
  )
}

/** Throws where a model of text has nothing to read it by, or of what is not of its shape; and where a model of classes is given text. */
export function requireCaptions(
  { text, device }: DiffusionTransformer,
  { path, captions }: Dataset,
  { captionEncoder }: Pick<TrainerOptions, 'captionEncoder'>,
): void {
  if (!text) {
    if (!captionEncoder) return
    throw new RangeError(
      'A caption encoder is for a model of text, and this model is of classes; leave it out, or train an MMDiT.',
    )
  }
  if (!captionEncoder) {
    throw new RangeError(
      "The model is told captions, and nothing encodes them; give it a caption encoder, CLIP's text encoder, by `captionEncoder`.",
    )
  }
  if (!captions) {
    throw new RangeError(
      `The data in ${path} have no captions, which the model is told; prepare them with \`captions\`.`,
    )
  }
  requireFittingEncoder(captionEncoder, { text, device }, 'give the model its sizes by `text`')
}

/** Throws where the model cannot train on the data, or the data do not fill a batch. */
export function requireFittingData({ config }: DiffusionTransformer, data: Dataset, batch: number): void {
  const [channels, height, width] = data.latentShape
  const [modelHeight, modelWidth] = config.inputSize
  if (channels !== config.channels || height !== modelHeight || width !== modelWidth) {
    throw new RangeError(
      `The data in ${data.path} are ${data.latentKind === 'pixels' ? 'pixels' : 'latents'} of ${channels} x ${height} x ${width}, ` +
        `the model takes ${config.channels} x ${modelHeight} x ${modelWidth}; give the model channels and inputSize to match.`,
    )
  }
  if (!config.text && data.classes > config.classes) {
    throw new RangeError(
      `The data in ${data.path} have ${data.classes} classes, the model ${config.classes}; give the model as many.`,
    )
  }
  if (batch > data.length) {
    throw new RangeError(
      `A batch of ${batch} is more than the ${data.length} images in ${data.path}; take a smaller batch.`,
    )
  }
}
