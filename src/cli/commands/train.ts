import { RECOMPUTE_SETTINGS } from '../../tensor/recomputation.ts'
import type { TrainingOptions } from '../../training/configuration.ts'
import { PRECISIONS } from '../../training/precision.ts'
import type { TrainingRun } from '../../training/run.ts'
import { defineCommand } from '../command.ts'
import { encoderOf } from '../encoder-argument.ts'
import { UsageError } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train a SiT or a DiT, with representation alignment where an encoder is named',
  description:
    'RUN gets config.json, metrics.jsonl, TensorBoard events, checkpoints/STEP/ and samples/STEP.png. Settings come from --config, and flags override it; what neither names is as in the reference. Ctrl-C saves and exits; --resume goes on exactly as the unbroken run would have.',
  options: {
    data: {
      type: 'string',
      placeholder: 'DATA',
      description: "a data set that repa prepare or the reference wrote, or a folder of LightningDiT's latents",
      required: true,
    },
    out: { type: 'string', placeholder: 'RUN', description: 'folder of the run', required: true },
    model: {
      type: 'string',
      placeholder: 'SiT-B/2',
      description:
        'preset, SiT- or DiT-{S,B,L,XL}/{2,4,8}, LightningDiT-{B,XL,1p0B,1p6B}/{1,2} or -L/2, DiTDH-{S,XL}, or free sizes as JSON like config.json has them [SiT-B/2]',
    },
    encoder: {
      type: 'string',
      placeholder: 'NAME=FILE',
      description:
        'align with this encoder, several are averaged: dinov2-vit-{s,b,l,g}, dinov2reg-vit-{s,b,l,g}, dinov3-vit-{s16,b16,l16,7b16,{s,l,h}16plus}, dinov1-vit-b, mocov3-vit-{s,b,l}, mae-vit-l, clip-vit-L, jepa-vit-h or siglip-vit-{b,l,so400m} with the file of its weights, vit with one that repa pretrain-encoder trained, or the built-in hog',
      repeated: true,
    },
    steps: { type: 'integer', min: 1, description: 'steps in all, those before a resumption included [400000]' },
    batch: { type: 'integer', min: 1, description: 'images a step [256]' },
    accumulate: {
      type: 'integer',
      min: 1,
      description: 'go through the batch in so many equal passes, for less memory; the gradients are averaged [1]',
    },
    recompute: {
      type: 'enum',
      values: RECOMPUTE_SETTINGS,
      description:
        'compute activations and LayerNorms again in the backward pass, for less memory and the same bits [auto: where a step would not fit otherwise]',
    },
    lr: { type: 'number', description: 'learning rate of AdamW [1e-4]' },
    lrWarmup: { type: 'integer', min: 0, description: 'steps in which it rises along a line [0]' },
    lrDecay: {
      type: 'enum',
      values: ['none', 'linear', 'cosine'],
      description: 'how it falls from --lr to --lr-final [none]',
    },
    lrDecayFrom: { type: 'integer', min: 0, description: 'step up to which it is whole [the end of the warm-up]' },
    lrDecayUntil: { type: 'integer', min: 1, description: 'step from which on it is --lr-final' },
    lrFinal: { type: 'number', min: 0, description: 'learning rate at the end of --lr-decay [0]' },
    precision: {
      type: 'enum',
      values: PRECISIONS,
      description:
        'what the model computes in; tf32 is fp32 with the operands of products rounded for the tensor cores [bf16 on a GPU, fp32 on a CPU, which has no other]',
    },
    processes: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description:
        'share every batch among so many processes with a GPU each, of this machine, or those that mpirun, srun or torchrun has started; without a GPU they share the cores [1]',
    },
    cudaGraph: {
      type: 'boolean',
      description: 'on a GPU: capture the step once and replay it, which pays for small models and batches',
    },
    alignWeight: { type: 'number', min: 0, description: 'weight of the alignment loss [0.5]' },
    alignDepth: {
      type: 'integer',
      min: 1,
      description: 'block whose output is aligned, from 1 [8; a third of the depth for free sizes]',
    },
    alignLoss: {
      type: 'enum',
      values: ['cosine', 'nt-xent'],
      description: "how projections are compared with an encoder's features [cosine]",
    },
    alignTemperature: { type: 'number', min: 0, description: 'of --align-loss nt-xent [0.1]' },
    alignUntil: { type: 'integer', min: 1, description: 'steps with alignment, after which there is none [all]' },
    alignDecay: {
      type: 'enum',
      values: ['none', 'linear', 'cosine'],
      description: 'how the weight of the alignment gets to 0 at --align-until [none: at once]',
    },
    alignSpatialNorm: {
      type: 'number',
      min: 0,
      placeholder: 'GAMMA',
      description:
        "normalise an encoder's features over an image, this much of their mean taken off; iREPA's code has 0.6 [off]",
    },
    alignAttentionWeight: {
      type: 'number',
      min: 0,
      description:
        "also compare the attention of blocks up to --align-depth with the encoder's last, by the weight of the cross-entropy; HASTE's code has 0.5 [0]",
    },
    alignAttentionBlocks: { type: 'integer', min: 1, description: 'how many blocks of each are compared [4]' },
    alignAttentionHeads: { type: 'integer', min: 1, description: 'how many heads of each block [12]' },
    projector: {
      type: 'enum',
      values: ['mlp', 'conv'],
      description: "what projects hidden states: REPA's MLP or iREPA's convolution [mlp]",
    },
    projectorWidth: { type: 'integer', min: 1, description: 'hidden width of the projectors [2048]' },
    dispersiveWeight: {
      type: 'number',
      min: 0,
      description: 'push the samples of a batch apart, by this weight; needs no encoder [0]',
    },
    dispersiveTemperature: { type: 'number', min: 0, description: 'of the dispersive loss [0.5]' },
    dispersiveDepth: {
      type: 'integer',
      min: 1,
      description: 'block whose output is dispersed, from 1 [a quarter of the depth]',
    },
    contrastiveWeight: {
      type: 'number',
      min: 0,
      max: 1,
      description:
        "push every velocity away from what another sample's aims at, by this weight; SiT only; its paper has 0.05 [0]",
    },
    velocityCosineWeight: {
      type: 'number',
      min: 0,
      description:
        "also learn each pixel's velocity by its direction, 1 − the cosine over channels, by this weight; SiT only; LightningDiT has 1 [0]",
    },
    selfAlignWeight: {
      type: 'number',
      min: 0,
      description: "align the model with its own average, by this weight; needs no encoder; SRA's code has 0.2 [0]",
    },
    selfAlignDepth: {
      type: 'integer',
      min: 1,
      description: 'block that is aligned with the average [as --align-depth]',
    },
    selfAlignTeacherDepth: { type: 'integer', min: 1, description: "the average's block [five sevenths of the depth]" },
    selfAlignTimeOffset: {
      type: 'number',
      min: 0,
      max: 1,
      description: "how much less noisy the average's input is at most [0.2]",
    },
    routeTokens: {
      type: 'number',
      min: 0,
      max: 1,
      placeholder: 'SHARE',
      description:
        'let this share of the tokens, drawn anew at every step, go past some of the blocks, for cheaper steps; its paper has 0.5 [0]',
    },
    routeFrom: { type: 'integer', min: 2, description: 'first block that they go past [3]' },
    routeTo: { type: 'integer', min: 2, description: 'last block that they go past [the last but three]' },
    classTokenWeight: {
      type: 'number',
      min: 0,
      description:
        "denoise the first encoder's class token along with the image (REG), by this weight; a SiT with an encoder that has one; REG's code has 0.03 [0]",
    },
    path: { type: 'enum', values: ['linear', 'cosine'], description: "SiT's interpolant [linear]" },
    weighting: { type: 'enum', values: ['uniform', 'lognormal'], description: "how SiT's times are drawn [uniform]" },
    timeShift: {
      type: 'number',
      min: 0.001,
      placeholder: 'S',
      description: "move each of SiT's times t to S t / (1 - t + S t): above 1 towards noise [1: none]",
    },
    flip: {
      type: 'boolean',
      description: 'take either an image or its mirror image [where repa prepare --flip made both]',
    },
    classDropout: { type: 'number', min: 0, max: 1, description: 'probability of leaving out the label [0.1]' },
    emaDecay: { type: 'number', min: 0, max: 1, description: 'decay of the averaged weights [0.9999]' },
    weightDecay: { type: 'number', min: 0, description: 'weight decay of AdamW [0]' },
    maxGradNorm: { type: 'number', min: 0, description: 'gradients are clipped to this global norm [1]' },
    config: {
      type: 'string',
      placeholder: 'FILE.json',
      description:
        'settings by their configuration names (config.json of a run, its "training" part, or a recipe by its name: sit-xl-2-repa)',
    },
    autoencoder: {
      type: 'string',
      placeholder: 'FILE',
      description:
        'decode the grids of samples, and make latents: AutoencoderKL, TAESD or RAE [grids are a linear preview]',
    },
    encodeLatents: {
      type: 'boolean',
      description:
        'make the latents of every batch of its images by --autoencoder, instead of reading those that repa prepare has made',
    },
    init: {
      type: 'string',
      placeholder: 'C',
      description:
        'begin from these weights: a run, a checkpoint folder, .safetensors or .pt; without --model the model is theirs',
    },
    continue: {
      type: 'string',
      placeholder: 'FILE.pt',
      description: "make a new run of the reference's training checkpoint, optimizer state included, and go on with it",
    },
    checkpointEvery: { type: 'integer', min: 1, description: 'steps between checkpoints [50000]' },
    sampleEvery: { type: 'integer', min: 1, description: 'steps between grids of samples [10000]' },
    resume: { type: 'boolean', default: false, description: 'go on from the newest whole checkpoint of RUN' },
  },
  examples: [
    {
      command:
        'repa train --data data/imagenet256 --model SiT-XL/2 --encoder dinov2-vit-b=dinov2_vitb14_pretrain.pth --out runs/xl',
      description: "the paper's main run",
    },
    {
      command: 'repa train --data data/cifar --model SiT-S/4 --encoder hog --batch 64 --steps 2000 --out runs/cifar',
      description: 'nothing to download',
    },
    {
      command:
        'repa train --data data/cifar --model SiT-S/4 --self-align-weight 0.2 --dispersive-weight 0.5 --out runs/alone',
      description: 'aligned without any encoder',
    },
    {
      command: 'repa train --config sit-xl-2-repa --data data/imagenet256 --accumulate 16 --out runs/xl',
      description: "the paper's batch of 256 on a GPU of 24 GB",
    },
    {
      command: 'repa train --config sit-xl-2-repa --data data/imagenet256 --processes 8 --out runs/xl',
      description: 'the same on eight GPUs',
    },
    {
      command: 'repa train --data data/imagenet256 --continue 0400000.pt --out runs/xl --steps 4000000',
      description: "go on with the reference's run",
    },
    {
      command: 'repa train --data data/mine --init runs/xl --lr 2e-5 --steps 20000 --out runs/mine',
      description: 'fine-tune on other images and classes',
    },
    {
      command: 'repa train --data data/imagenet256 --out runs/xl --resume',
      description: 'go on after an interruption',
    },
  ],
  async run(
    { data, out: folder, config, resume, processes, continue: adopted, ...flags },
    { device, seed, out, signal, progress },
  ) {
    const [{ train }, { chooseRecomputation }, { withProcesses }] = await Promise.all([
      import('../../training/run.ts'),
      import('../../planning/fit.ts'),
      import('../../distributed/join.ts'),
    ])
    const configuration = {
      ...(await configurationFile(config)),
      ...configurationOf(flags),
      ...(seed !== undefined && { seed }),
    }
    let bar: Progress | undefined
    await withProcesses({ processes, device }, async (world, own) => {
      const leads = world.rank === 0
      if (!leads) out.silence()
      if (adopted !== undefined) {
        if (leads) await adopt(adopted, folder, flags, out)
        await world.meet()
      }
      const result = await train({
        data,
        out: folder,
        configuration,
        resume: resume || adopted !== undefined,
        device: own,
        world,
        fit: chooseRecomputation,
        signal,
        onNotice: (sentence) => out.warn(sentence),
        onStart: (run) => {
          for (const line of describeRun(run, world.size)) out.line(line)
          bar = progress({ label: 'train', unit: 'steps', total: run.configuration.steps, initial: run.step })
        },
        onStep: (step) => {
          bar?.update(step.index, {
            loss: step.loss,
            ...(step.vb !== undefined && { vb: step.vb }),
            ...(step.alignment !== undefined && { align: step.alignment }),
            'images/s': step.imagesPerSecond,
          })
          out.json({ ...step })
        },
      }).finally(() => bar?.end())
      out.line(
        result.interrupted
          ? `stopped at step ${result.step}: ${result.checkpoint}; --resume goes on from there`
          : `done at step ${result.step}: ${result.checkpoint}`,
      )
      out.json({ done: !result.interrupted, step: result.step, checkpoint: result.checkpoint })
    })
  },
})

/** What is trained, before it is. */
function describeRun({ configuration, model, data, cachedEncoders, step }: TrainingRun, processes: number): string[] {
  const { depth, hidden, kind } = model.config
  const name = typeof configuration.model === 'string' ? configuration.model : `${kind} ${depth} x ${hidden}`
  const isCached = new Set(cachedEncoders)
  const encoders =
    configuration.encoders
      .map((encoder) => (isCached.has(encoder.name) ? `${encoder.name} (cached)` : encoder.name))
      .join(', ') || 'no encoder'
  return [
    `${name}: ${(model.parameterCount / 1e6).toFixed(1)} M parameters, ${encoders}, ${data.length} images in ${data.classes} classes`,
    ...(data.encodedBy === undefined
      ? []
      : [`latents of ${data.latentShape.join(' x ')}, made of the images of every step by ${data.encodedBy}`]),
    ...(processes > 1 ? [`${processes} processes, ${configuration.batch / processes} images of a step each`] : []),
    ...(step > 0 ? [`resumed at step ${step}`] : []),
  ]
}

/** Makes a run's folder of the reference's training checkpoint. */
async function adopt(
  checkpoint: string,
  folder: string,
  { model: size, alignDepth }: Flags,
  out: Output,
): Promise<void> {
  const { adoptCheckpoint } = await import('../../conversion/adopt.ts')
  const model = size === undefined ? undefined : modelOf(size)
  const { step, notes } = await adoptCheckpoint(checkpoint, folder, {
    ...(typeof model === 'object' && { heads: model.heads }),
    ...(alignDepth !== undefined && { alignDepth }),
  })
  for (const note of notes) out.warn(note)
  out.line(`${checkpoint}: training checkpoint of step ${step}`)
}

interface Flags {
  readonly model: string | undefined
  readonly encoder: readonly string[] | undefined
  readonly alignDepth: number | undefined
  readonly [name: string]: unknown
}

/** Of the settings whose flags are called otherwise. */
const CONFIGURATION_NAMES: Readonly<Record<string, keyof TrainingOptions>> = {
  lr: 'learningRate',
  lrWarmup: 'learningRateWarmup',
  lrDecay: 'learningRateDecay',
  lrDecayFrom: 'learningRateDecayFrom',
  lrDecayUntil: 'learningRateDecayUntil',
  lrFinal: 'learningRateFinal',
}

/** Flags under the configuration's names; what was not given is left out. */
function configurationOf({ model, encoder, ...rest }: Flags): TrainingOptions {
  const given = {
    ...Object.fromEntries(Object.entries(rest).map(([flag, value]) => [CONFIGURATION_NAMES[flag] ?? flag, value])),
    model: model === undefined ? undefined : modelOf(model),
    encoders: encoder === undefined || encoder.length === 0 ? undefined : encoder.map(encoderOf),
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as TrainingOptions
}

/** A preset's name, or free sizes as JSON; the schema checks either. */
function modelOf(text: string): TrainingOptions['model'] {
  if (!text.trimStart().startsWith('{')) return text as TrainingOptions['model']
  try {
    return JSON.parse(text) as TrainingOptions['model']
  } catch (error) {
    throw new UsageError(`--model ${text} is not JSON: ${(error as Error).message}.`)
  }
}

/** The settings of a file of JSON, comments allowed, or of a recipe: a plain object of them, or one that has them as its "training". */
async function configurationFile(nameOrPath: string | undefined): Promise<object> {
  if (nameOrPath === undefined) return {}
  const { findRecipe, readJsonc } = await import('../../planning/recipe.ts')
  const path = await findRecipe(nameOrPath)
  const json = await readJsonc(path)
  const settings = isObject(json) && 'training' in json ? json.training : json
  if (!isObject(settings)) throw new Error(`${path} must hold a JSON object of settings, or one as its "training".`)
  return settings
}

const isObject = (json: unknown): json is object => typeof json === 'object' && json !== null && !Array.isArray(json)
