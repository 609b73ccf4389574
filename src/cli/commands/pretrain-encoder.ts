import type { PretrainingOptions } from '../../pretraining/configuration.ts'
import { formatCount } from '../../report/quantity.ts'
import { PRECISIONS } from '../../training/precision.ts'
import { defineCommand } from '../command.ts'
import type { Progress } from '../progress.ts'

export const pretrainEncoderCommand = defineCommand({
  name: 'pretrain-encoder',
  summary: 'train a vision transformer to align with on the images themselves, without labels',
  description:
    "For images that no published encoder has seen the like of, or where none can be downloaded. A small vision transformer learns by a self-supervised objective: mae hides three quarters of an image's patches and fills them in (arXiv 2111.06377); dino says of one crop of an image what an average of itself says of another (arXiv 2104.14294), for which it sees two crops and four smaller ones a step, and needs many steps more. RUN gets config.json, metrics.jsonl, TensorBoard events and checkpoints/STEP/, and at the end encoder.safetensors, which repa train, prepare and evaluate take as the encoder vit. Ctrl-C saves and exits; --resume goes on exactly as the unbroken run would have. How much of the classes it knows says repa evaluate probe --encoder.",
  options: {
    data: {
      type: 'string',
      placeholder: 'DATA',
      description: 'a data set that repa prepare or the reference wrote',
      required: true,
    },
    out: { type: 'string', placeholder: 'RUN', description: 'folder of the run', required: true },
    method: { type: 'enum', values: ['mae', 'dino'], description: 'self-supervised objective [mae]' },
    patch: {
      type: 'integer',
      min: 1,
      description: 'side of a patch in pixels [8 patches to a side of an image, 16 from 128 pixels on]',
    },
    hidden: { type: 'integer', min: 1, description: 'width of the encoder, and of its features [192]' },
    depth: { type: 'integer', min: 1, description: 'blocks [6]' },
    heads: { type: 'integer', min: 1, description: 'heads of its attention [3]' },
    steps: { type: 'integer', min: 1, description: 'steps in all; the learning rate falls to 0 at the last [20000]' },
    batch: { type: 'integer', min: 1, description: 'images a step [256]' },
    lr: { type: 'number', above: 0, description: "highest learning rate of AdamW [the method's, by the batch]" },
    precision: {
      type: 'enum',
      values: PRECISIONS,
      description: 'what the model computes in [bf16 on a GPU, fp32 on a CPU, which has no other]',
    },
    checkpointEvery: { type: 'integer', min: 1, description: 'steps between checkpoints [5000]' },
    resume: { type: 'boolean', default: false, description: 'go on from the newest whole checkpoint of RUN' },
  },
  examples: [
    {
      command: 'repa pretrain-encoder --data data/mine --out runs/encoder',
      description: 'a small encoder of your own images',
    },
    {
      command: 'repa pretrain-encoder --data data/mine --method dino --steps 100000 --out runs/dino',
      description: 'by DINO; view_information says what it has learnt so far, in nats',
    },
    {
      command:
        'repa train --data data/mine --model SiT-S/4 --encoder vit=runs/encoder/encoder.safetensors --out runs/mine',
      description: 'aligned with it',
    },
    {
      command: 'repa evaluate probe --encoder vit=runs/encoder/encoder.safetensors --data data/mine',
      description: 'how much of the classes it knows',
    },
  ],
  saves: true,
  async run({ data, out: folder, resume, lr, ...flags }, { device, seed, out, signal, progress }) {
    const [{ pretrainEncoder }, { resolveDevice }] = await Promise.all([
      import('../../pretraining/run.ts'),
      import('../../tensor/device.ts'),
    ])
    const given = { ...flags, learningRate: lr, seed }
    const configuration = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as PretrainingOptions
    let bar: Progress | undefined
    const result = await pretrainEncoder({
      data,
      out: folder,
      configuration,
      resume,
      device: resolveDevice(device),
      signal,
      onNotice: (sentence) => out.warn(sentence),
      onStart: ({ configuration: { method, steps }, encoder, parameters, data: { length, imageSize }, step }) => {
        const { hidden, depth, heads, patch } = encoder
        out.line(
          `${method}: a vision transformer of width ${hidden}, ${depth} blocks, ${heads} heads, patches of ${patch}: ` +
            `${formatCount(parameters.encoder)} parameters, ${formatCount(parameters.all)} with its head, on ` +
            `${formatCount(length)} images of ${imageSize} pixels`,
        )
        if (step > 0) out.line(`resumed at step ${step}`)
        bar = progress({ label: method, unit: 'steps', total: steps, initial: step })
      },
      onStep: (step) => {
        bar?.update(step.index, { loss: step.loss, ...step.parts, 'images/s': step.imagesPerSecond })
        out.json({ ...step })
      },
    }).finally(() => bar?.end())
    const { step, checkpoint, encoder } = result
    out.line(
      encoder === undefined
        ? `stopped at step ${step}: ${checkpoint}; --resume goes on from there`
        : `done at step ${step}; align with it by repa train --encoder vit=${encoder}`,
    )
    out.json({ done: encoder !== undefined, step, checkpoint, encoder: encoder ?? null })
  },
})
