/** One training step on the planning device: the Trainer's own, with everything that it makes and frees. */
import type { Encoder } from '../alignment/encoder.ts'
import type { EncoderName } from '../alignment/encoder-names.ts'
import { emptyEncoder } from '../alignment/encoders.ts'
import type { Dataset } from '../data/dataset.ts'
import { ALONE } from '../distributed/world.ts'
import { type AutoencoderArchitecture, emptyAutoencoder } from '../models/autoencoder-architecture.ts'
import { type ClipTextConfig, ClipTextTransformer, clipTextName, clipTextOfSizes } from '../models/clip-text.ts'
import type { TextSettings } from '../models/transformer-config.ts'
import type { AnyTransformerConfig } from '../models/transformer-kinds.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { withAddon } from '../native.ts'
import type { ArenaRole, ParameterArena } from '../nn/parameter-arena.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import { elementCount } from '../tensor/dtype.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { alignmentOf, requireConsistentAlignment } from '../training/alignment-settings.ts'
import type { TrainingConfiguration } from '../training/configuration.ts'
import { MOMENTS, type Moments } from '../training/moments.ts'
import type { Precision } from '../training/precision.ts'
import { createModel } from '../training/run.ts'
import { Trainer } from '../training/trainer.ts'
import type { BatchEncoder } from '../training/trainer-options.ts'
import { trainerSettings } from '../training/trainer-settings.ts'
import type { Phase, Purpose } from './ledger.ts'
import { plannedOf } from './planned-tensor.ts'
import type { PlannedMachine } from './planner.ts'
import { PlanningDevice } from './planning-device.ts'

export interface PlannedStepOptions {
  /** `precision` must be said. */
  readonly configuration: TrainingConfiguration & { readonly precision: Precision }
  /** In place of the configuration's, which may leave it open. Default: nothing. */
  readonly recompute?: Recomputation
  /** That share the configuration's batch; the step is that of the first. Default: 1. */
  readonly processes?: number
  readonly data: Dataset
  /** Encoders that do not run, for their features are with the data. Default: none. */
  readonly cachedEncoders?: readonly string[]
  /** Of the encoders `vit`, by their files. */
  readonly statedModels?: ReadonlyMap<string, VisionTransformerConfig>
  /** What makes the latents, where the configuration has them encoded. */
  readonly autoencoder?: PlannedAutoencoder | undefined
  /** What encodes the captions of a model of text. Default: OpenAI's of the width that the model reads. */
  readonly captionEncoder?: ClipTextConfig | undefined
  /** `cpu`, or `cuda:N` for any GPU. */
  readonly device: Device
  readonly machine: PlannedMachine
}

export interface PlannedAutoencoder {
  readonly name: string
  readonly architecture: AutoencoderArchitecture
}

export interface PlannedStep {
  readonly model: AnyTransformerConfig
  /** Tokens that its blocks see of an image. */
  readonly sequenceTokens: number
  /** Numbers in the state dict by the first part of their names: `blocks`, `projectors`, `y_embedder`. */
  readonly parameters: ReadonlyMap<string, number>
  /** Numbers of the encoders that run, that of captions among them, and of the autoencoder where it makes the latents, by their names. */
  readonly encoders: ReadonlyMap<string, number>
  /** Bytes at the moment at which most are taken, by what for. */
  readonly atPeak: ReadonlyMap<Purpose, number>
  /** The most that tensors take at once, in bytes, as `memoryStats(device).peakBytes` counts it. */
  readonly peakBytes: number
  /** What the allocator has taken from the system after a step, in bytes. */
  readonly takenBytes: number
  /** Between two steps. */
  readonly restingBytes: number
  /** Floating-point operations of a step, of products and attention, a multiply-add being two. */
  readonly flops: Readonly<Record<'encoder' | 'forward' | 'backward', number>>
  /** What the optimizer's passes read and write, in bytes. */
  readonly optimizerTraffic: number
  /** The state dict, in the reference's order. */
  readonly entries: readonly StateEntry[]
}

const ROLES = { weights: 'weights', gradients: 'gradients', ema: 'EMA' } as const satisfies Partial<
  Record<ArenaRole, Purpose>
>

/** Builds the model, its encoders and its optimizer at full size and makes two steps, without memory for any of it. */
export function planStep(options: PlannedStepOptions): PlannedStep {
  const { configuration, recompute = 'none', data, cachedEncoders = [], device, machine, processes = 1 } = options
  requireConsistentAlignment(configuration)
  const planning = new PlanningDevice(machine)
  const { allocator, ledger } = planning.planner
  return withAddon(planning.addon, () => {
    const encoders = configuration.encoders.map((encoder) => countingEncoder(encoder, options, planning))
    const autoencoder = countingAutoencoder(options, planning)
    const model = createModel(configuration, data, device)
    const captionEncoder = countingCaptionEncoder(model.text, options, planning)
    const trainer = new Trainer({
      ...trainerSettings(configuration),
      // Of what a graph keeps there is no account: the step is planned as it is enqueued.
      cudaGraph: false,
      recompute,
      model,
      data,
      autoencoder,
      captionEncoder,
      // What is exchanged is exchanged in place.
      world: { ...ALONE, size: processes },
      ...alignmentOf(configuration, encoders, model.config.depth),
    })
    bookArena(model.arena, trainer.optimizer.moments, planning)
    const step = () => {
      planning.during('batch', () => {
        void trainer.makeStep(emptyBatch(configuration.batch / processes))
        // Of several processes it would be enqueued in the middle of the next forward pass.
        model.arena.settle()
      })
    }
    // What is made once, as a resampled table of positions, is there after the first step.
    step()
    ledger.restart()
    allocator.resetPeak()
    const restingBytes = allocator.liveBytes
    step()
    return {
      model: model.config,
      sequenceTokens: model.sequenceTokens,
      parameters: countByPart(model.entries),
      encoders: new Map(
        [
          ...encoders.filter(({ name }) => !cachedEncoders.includes(name)),
          ...[autoencoder, captionEncoder].filter((frozen) => frozen !== undefined),
        ].map(({ name, parameterCount }) => [name, parameterCount]),
      ),
      atPeak: ledger.atPeak,
      peakBytes: allocator.peakBytes,
      takenBytes: allocator.takenBytes,
      restingBytes,
      flops: flopsOf(ledger),
      optimizerTraffic: optimizerTraffic(model.arena, processes),
      entries: model.entries,
    }
  })
}

const flopsOf = (ledger: { flopsOf(phase: Phase): number }) => ({
  encoder: ledger.flopsOf('encoder'),
  forward: ledger.flopsOf('forward'),
  backward: ledger.flopsOf('backward'),
})

/** Nothing looks at the values. */
function emptyBatch(batch: number) {
  return {
    step: 0,
    epoch: 0,
    indices: new Int32Array(batch),
    labels: new Int32Array(batch),
    images: new Uint8Array(0),
    latents: new Float32Array(0),
    features: [],
  }
}

/** An encoder whose memory and work are booked as its own. */
function countingEncoder(
  { name, file }: TrainingConfiguration['encoders'][number],
  { data, cachedEncoders = [], device, statedModels }: PlannedStepOptions,
  planning: PlanningDevice,
): Encoder & { readonly parameterCount: number } {
  const cached = cachedEncoders.includes(name) ? data.features.find((settings) => settings.encoder === name) : undefined
  const encoder = planning.during('encoder', () =>
    cached
      ? featuresOf(name, cached.width)
      : emptyEncoder(name, device, file === undefined ? undefined : statedModels?.get(file)),
  )
  const model = 'model' in encoder ? (encoder.model as { arena: ParameterArena; parameterCount: number }) : undefined
  const bookWeights = () => model && bookFrozen(model)
  bookWeights()
  return {
    name,
    width: encoder.width,
    parameterCount: model?.parameterCount ?? 0,
    computeIn: (dtype) => {
      planning.during('encoder', () => encoder.computeIn?.(dtype))
      bookWeights()
    },
    hasClassToken: encoder.hasClassToken ?? false,
    ...(encoder.attention && { attention: encoder.attention }),
    requireGrid: (grid) => encoder.requireGrid?.(grid),
    features: (images, grid, options) => planning.during('encoder', () => encoder.features(images, grid, options)),
    [Symbol.dispose]: () => encoder[Symbol.dispose](),
  }
}

/** An autoencoder, both halves, whose memory and work are booked as an encoder's. */
function countingAutoencoder(
  { configuration, autoencoder: planned, device }: PlannedStepOptions,
  planning: PlanningDevice,
): (BatchEncoder & { readonly parameterCount: number }) | undefined {
  if (!configuration.encodeLatents) return undefined
  if (!planned) throw new Error('The latents are encoded, and what encodes them is not known to the plan.')
  const autoencoder = planning.during('encoder', () => emptyAutoencoder(planned.architecture, planned.name, device))
  const { networks, name, latentChannels, downsampling, latentScale, hasDeviations } = autoencoder
  networks.forEach(bookFrozen)
  return {
    name,
    latentChannels,
    downsampling,
    latentScale,
    hasDeviations,
    parameterCount: networks.reduce((sum, { parameterCount }) => sum + parameterCount, 0),
    computeIn: (dtype) => {
      planning.during('encoder', () => autoencoder.computeIn(dtype))
      networks.forEach(bookFrozen)
    },
    encodeImages: (images) => planning.during('encoder', () => autoencoder.encodeImages(images)),
  }
}

/** A text encoder of captions, whose memory and work are booked as an encoder's. */
function countingCaptionEncoder(
  text: TextSettings | undefined,
  { configuration, captionEncoder, device }: PlannedStepOptions,
  planning: PlanningDevice,
): (CaptionEncoder & { readonly parameterCount: number }) | undefined {
  if (!configuration.captionEncoder) return undefined
  // Of a model of classes it is refused when its requirements are looked at, as in training: any will do.
  const config = captionEncoder ?? clipTextOfSizes(text ?? { tokens: 77, width: 768 })
  const model = planning.during('encoder', () => ClipTextTransformer.fromConfig(config, device))
  bookFrozen(model)
  const { parameterCount } = model
  return {
    name: clipTextName(config),
    file: '',
    config,
    device,
    width: config.hidden,
    tokens: config.tokens,
    parameterCount,
    computeIn: (dtype) => {
      planning.during('encoder', () => model.computeIn(dtype))
      bookFrozen(model)
    },
    tokenize: (captions) => new Int32Array(captions.length * config.tokens),
    features: (ids) => planning.during('encoder', () => model.forward(ids)),
    [Symbol.dispose]: () => model.dispose(),
  }
}

/** The weights of a model that is not trained, and their low-precision copy. */
function bookFrozen({ arena }: { readonly arena: ParameterArena }): void {
  plannedOf(arena.array('weights').handle).storage.assign('encoder weights')
  if (arena.compute) plannedOf(arena.compute.handle).storage.assign('encoder weights')
}

/** In place of an encoder whose features are with the data. */
function featuresOf(name: EncoderName, width: number): Encoder {
  return {
    name,
    width,
    features: (images, [rows, columns]) => Tensor.empty([images.shape[0]!, rows * columns, width], images.device),
    [Symbol.dispose]: () => {},
  }
}

/** Books the arrays of an arena under their roles, and what is computed with their parts under the parts' names. */
function bookArena(arena: ParameterArena, moments: Moments, planning: PlanningDevice): void {
  const parts = new Map(
    arena.parameters.map(({ name, value }) => [
      plannedOf(value.handle).offset,
      /^((?:joint_)?blocks\.\d+|[a-zA-Z_]+)/.exec(name)![0],
    ]),
  )
  const book = (array: Tensor, purpose: Purpose) => {
    plannedOf(array.handle).storage.assign(purpose)
    planning.nameParts(array.handle, parts)
  }
  for (const [role, purpose] of Object.entries(ROLES) as [keyof typeof ROLES, Purpose][]) {
    book(arena.array(role), purpose)
  }
  for (const role of MOMENTS) book(moments.of(role), 'moments')
  if (arena.compute) book(arena.compute, 'low-precision weights')
}

function countByPart(entries: readonly StateEntry[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { name, shape } of entries) {
    const part = name.split('.')[0]!
    counts.set(part, (counts.get(part) ?? 0) + elementCount(shape))
  }
  return counts
}

/**
 * Clipping reads the gradients; AdamW reads them again, and reads and writes weights, both moments and the EMA, and writes the copy. One of
 * several processes does so with its share, and reads all weights for the EMA and the copy.
 */
function optimizerTraffic(arena: ParameterArena, processes: number): number {
  const FLOAT = 4
  const [own, average, copy] = [FLOAT * (2 + 2 * 3), FLOAT * 2, arena.compute ? 2 : 0]
  return arena.size * (own / processes + average + copy + (processes > 1 ? FLOAT : 0))
}
