/** What a run that goes on from others' training checkpoints takes of their scripts' arguments. */
import { describe, expect, test } from 'vitest'
import {
  type ReferenceArguments,
  referenceArgumentsOf,
  referenceArgumentsSchema,
  trainingConfigurationOf,
} from '../../src/conversion/reference-arguments.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { trainingSchema } from '../../src/training/configuration.ts'

const SIZES = { depth: 2, hidden: 32, heads: 2, patch: 2 }
const OF_DATA = { inputSize: [8, 8] as [number, number], classes: 10 }

const models = {
  repa: () => SiT.create(SIZES, OF_DATA),
  sit: () => SiT.create(SIZES, { ...OF_DATA, learnSigma: true, convention: 'sit' }),
  dit: () => DiT.create(SIZES, OF_DATA),
}

function goesOn(args: Record<string, unknown>, kind: keyof typeof models = 'repa') {
  using model = models[kind]()
  const notes: string[] = []
  const known: ReferenceArguments = referenceArgumentsSchema.parse(args)
  return { notes, ...trainingConfigurationOf(known, undefined, model.config, 'x.pt', notes) }
}

const MIXED = (what: string) =>
  `The reference trained in ${what}; here a GPU goes on in bf16 and a CPU in fp32, \`precision\` says otherwise.`
const TF32 =
  'The reference let a GPU round the operands of products to tf32; the configuration says fp32, `precision` tf32 does so too.'

test.each<[args: Record<string, unknown>, precision: string | undefined, notes: readonly string[]]>([
  [{ mixed_precision: 'no' }, 'fp32', []],
  [{ mixed_precision: 'no', allow_tf32: false }, 'fp32', []],
  [{ mixed_precision: 'no', allow_tf32: true }, 'fp32', [TF32]],
  [{ mixed_precision: 'fp16' }, undefined, [MIXED('fp16')]],
  [{ mixed_precision: 'fp16', allow_tf32: true }, undefined, [MIXED('fp16')]],
  [{ mixed_precision: 'bf16' }, undefined, [MIXED('bf16')]],
  [{}, undefined, []],
])('%j goes on in %s', (args, precision, notes) => {
  expect(goesOn(args)).toMatchObject({ notes })
  expect(goesOn(args).precision).toBe(precision)
})

describe("each script's own arguments", () => {
  const CLIPS =
    "SiT's and DiT's own scripts clip no gradients, and here they are clipped to a norm of 1; `maxGradNorm` 1e30 clips none."
  const RUN = { global_batch_size: 64, global_seed: 3, ckpt_every: 700, sample_every: 300, epochs: 1400 }
  const SETTINGS = { batch: 64, accumulate: 1, seed: 3, checkpointEvery: 700, precision: 'fp32', notes: [TF32, CLIPS] }

  test.each<
    [script: string, kind: keyof typeof models, args: Record<string, unknown>, settings: Record<string, unknown>]
  >([
    [
      "REPA's train.py",
      'repa',
      {
        model: 'SiT-B/2',
        prediction: 'v',
        path_type: 'cosine',
        weighting: 'lognormal',
        proj_coeff: 0.25,
        batch_size: 32,
        gradient_accumulation_steps: 2,
        max_train_steps: 100,
        seed: 7,
        max_grad_norm: 2,
        learning_rate: 3e-4,
        adam_beta1: 0.8,
        adam_beta2: 0.99,
        adam_epsilon: 1e-7,
        adam_weight_decay: 0.01,
        checkpointing_steps: 700,
        sampling_steps: 300,
      },
      {
        path: 'cosine',
        weighting: 'lognormal',
        alignWeight: 0.25,
        batch: 64,
        accumulate: 2,
        steps: 100,
        seed: 7,
        maxGradNorm: 2,
        learningRate: 3e-4,
        betas: [0.8, 0.99],
        epsilon: 1e-7,
        weightDecay: 0.01,
        checkpointEvery: 700,
        sampleEvery: 300,
        notes: [],
      },
    ],
    [
      "SiT's train.py",
      'sit',
      { ...RUN, model: 'SiT-B/2', path_type: 'GVP', prediction: 'velocity', loss_weight: null },
      { ...SETTINGS, path: 'cosine', sampleEvery: 300 },
    ],
    [
      "SiT's train.py on its other path",
      'sit',
      { ...RUN, model: 'SiT-B/2', path_type: 'Linear', prediction: 'velocity' },
      { ...SETTINGS, path: 'linear' },
    ],
    ["DiT's train.py", 'dit', { ...RUN, model: 'DiT-B/2', vae: 'ema', image_size: 64 }, SETTINGS],
  ])('%s', (_, kind, args, settings) => {
    expect(goesOn(args, kind)).toMatchObject(settings)
  })

  test.each([
    [{ path_type: 'VP' }, 'path_type'],
    [{ path_type: 'Linear', prediction: 'noise' }, 'prediction'],
    [{ path_type: 'Linear', prediction: 'score' }, 'prediction'],
  ])('%j is of a model that is not trained here', (args, name) => {
    const refused = referenceArgumentsSchema.safeParse(args)
    expect(refused.error?.issues.map(({ path }) => path)).toEqual([[name]])
  })
})

test.each([
  ['fp32', { mixed_precision: 'no', allow_tf32: false }],
  ['tf32', { mixed_precision: 'no', allow_tf32: true }],
  ['bf16', { mixed_precision: 'bf16', allow_tf32: false }],
  ['fp16', { mixed_precision: 'fp16', allow_tf32: false }],
  // What the device is for, as of a checkpoint that was fp16's or bf16's.
  [undefined, {}],
])('a run in %s says so of itself', (precision, said) => {
  using model = models.repa()
  const training = trainingSchema.parse({ precision })
  const { mixed_precision, allow_tf32 } = referenceArgumentsOf({ data: 'd', training }, model.config, 0)
  expect(JSON.parse(JSON.stringify({ mixed_precision, allow_tf32 }))).toEqual(said)
})

test.each([
  ['of the SD autoencoder', 4, 64],
  ['pixels', 3, undefined],
  ['of another autoencoder', 32, undefined],
])('the resolution of images is told by latents %s alone: %i channels', (_, channels, resolution) => {
  using model = SiT.create(SIZES, { ...OF_DATA, channels })
  const training = trainingSchema.parse({})
  expect(referenceArgumentsOf({ data: 'd', training }, model.config, 0).resolution).toBe(resolution)
})
