/** Trainings that are small enough to be compared with each other in many ways; also for programs that run beside the tests. */
import { createHash } from 'node:crypto'
import { Dataset } from '../../src/data/dataset.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import type { Device } from '../../src/tensor/device.ts'
import { resizeChannels } from '../../src/tensor/ops/diffusion.ts'
import { normalizeImages, resizePlanes } from '../../src/tensor/ops/pixels.ts'
import { scope } from '../../src/tensor/scope.ts'
import { ArenaShare } from '../../src/training/arena-share.ts'
import { MOMENTS } from '../../src/training/moments.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { BatchEncoder, TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { attentiveEncoder, classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { random } from '../reference/array.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'

/** Twice as many samples are in the data that they are for, which have captions where the model is told some. */
export const BATCH = 4
export const SIZE = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [8, 8] as [number, number], classes: 10, projectorWidth: 16 }
/** An eighth of an image's pixels as the means of its latents, without deviations. */
const shrunken: BatchEncoder = {
  name: 'shrunken',
  latentChannels: 4,
  downsampling: 8,
  latentScale: 0.5,
  hasDeviations: true,
  computeIn() {},
  encodeImages: (images) =>
    scope(() => {
      const pixels = normalizeImages(images, { divisor: 127.5, mean: [1, 1, 1], std: [1, 1, 1] })
      const [height, width] = images.shape.slice(2) as [number, number]
      return resizeChannels(resizePlanes(pixels, height / 8, width / 8, { filter: 'bilinear' }), 8)
    }),
}
/** What a caption becomes. */
const TEXT = { tokens: 5, width: 20 } as const
const captionEncoders = new Map<Device, TableCaptionEncoder>()
function captionEncoderOn(device: Device): TableCaptionEncoder {
  const encoder = captionEncoders.get(device) ?? new TableCaptionEncoder({ ...TEXT, device })
  captionEncoders.set(device, encoder)
  return encoder
}
export const align = { encoder: constantEncoder, depth: 1, weight: 0.5 }

type Blocks = Partial<Pick<SiTOptions, 'norm' | 'ffn' | 'rope' | 'qkNorm' | 'ddtHead'>>

export interface Case {
  readonly name: string
  readonly kind?: 'DiT'
  /** How its blocks compute. */
  readonly blocks?: Blocks
  /** It is told captions. */
  readonly text?: true
  readonly options?: Partial<TrainerOptions>
}

export const CASES: readonly Case[] = [
  { name: 'SiT', options: {} },
  { name: 'SiT with REPA', options: { align } },
  {
    name: 'SiT with self-alignment',
    options: { selfAlign: { weight: 1, depth: 1, teacherDepth: 2, timeOffset: 0.2 } },
  },
  { name: 'SiT with contrasted flows', options: { contrast: { weight: 0.05 } } },
  { name: 'SiT with the cosine of velocities', options: { velocityCosineWeight: 1 } },
  {
    name: 'SiT with REG',
    options: { align: { ...align, encoder: classTokenEncoder }, classToken: { weight: 0.03 } },
  },
  {
    name: "SiT of LightningDiT's blocks with REPA",
    blocks: { norm: 'rmsNorm', ffn: 'swiglu', rope: true, qkNorm: true },
    options: { align },
  },
  {
    name: 'SiT with a DDT head and REPA',
    blocks: { norm: 'rmsNorm', ffn: 'swiglu', rope: true, ddtHead: { depth: 1, hidden: 48, heads: 3 } },
    options: { align },
  },
  { name: 'SiT with REPA, its latents made of the images', options: { align, autoencoder: shrunken } },
  {
    name: 'SiT with HASTE',
    options: { align: { ...align, encoder: attentiveEncoder, depth: 2, attention: { weight: 0.5 } } },
  },
  { name: 'MMDiT with REPA', text: true, options: { align } },
  { name: 'DiT with REPA', kind: 'DiT', options: { align } },
  { name: 'SiT with REPA and routed tokens', options: { align, route: { share: 0.5, from: 2, to: 2 } } },
]

export function modelOf({ kind, blocks, text }: Omit<Case, 'name'> = {}, device: Device = 'cpu'): AnyTransformer {
  const options = { ...OPTIONS, ...blocks, ...(text && { text: TEXT, classes: 0 }), device }
  const model = kind === 'DiT' ? DiT.create(SIZE, options) : SiT.create(SIZE, options)
  // The adaLN-zero start makes every block the identity: no gradient would reach them.
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
  return model
}

export async function tinyTrainer(
  model: AnyTransformer,
  data: string,
  options: Partial<TrainerOptions>,
): Promise<Trainer> {
  const captionEncoder = model.text && captionEncoderOn(model.device)
  return new Trainer({
    model,
    data: await Dataset.open(data),
    captionEncoder,
    batch: BATCH,
    learningRate: 1e-3,
    ...options,
  })
}

export async function steps(trainer: Trainer, until: number): Promise<TrainingStep[]> {
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps: until })) made.push(step)
  return made
}

/** Of weights, EMA and both moments of all processes, which call this together. */
export async function digestOf({ model, optimizer }: Trainer): Promise<string> {
  const hash = createHash('sha256')
  for (const role of ['weights', 'ema'] as const) hash.update(await model.arena.array(role).data())
  for (const role of MOMENTS) hash.update(await model.arena.array(optimizer.moments.gather(role)).data())
  return hash.digest('hex')
}

/** What a step reports, and the gradient of the batch's mean. */
export interface FirstStep {
  readonly step: TrainingStep
  readonly gradients: Float32Array
}

export async function makeFirstStep(
  table: Case,
  data: string,
  more: Partial<TrainerOptions> & { readonly device?: Device },
): Promise<FirstStep> {
  const { device = 'cpu', ...rest } = more
  using model = modelOf(table, device)
  await using trainer = await tinyTrainer(model, data, { ...table.options, ...rest })
  const [step] = await steps(trainer, 1)
  const { world = ALONE } = rest
  const summed = model.arena.array('gradients')
  // A process has the sum of its own share.
  world.allGather(summed, new ArenaShare(model.arena, world).equal)
  const gradients = await summed.data()
  const passes = (rest.accumulate ?? 1) * world.size
  return { step: step!, gradients: gradients.map((value) => value / passes) }
}
