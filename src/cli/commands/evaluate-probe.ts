import type { Dataset } from '../../data/dataset.ts'
import { writeRecord } from '../../evaluation/evaluation-record.ts'
import type { ProbeSchedule } from '../../evaluation/linear-probe.ts'
import type { ProbePoint } from '../../evaluation/probe.ts'
import type { InterpolantPath } from '../../native.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { curveTable } from '../curve-table.ts'
import { encoderOf } from '../encoder-argument.ts'
import { MODEL_OPTIONS, openModel } from '../evaluated-model.ts'
import { UsageError } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'

export const evaluateProbeCommand = defineCommand({
  name: 'evaluate probe',
  summary: 'linear probing: how much of the class the layers of a model, or an encoder, know',
  description:
    "Trains a linear classifier on the output of each block, averaged over its tokens, behind a batch normalisation without parameters, and says how many images of the test set it gets right. The model is told no class. The schedule is the paper's (90 epochs, batches of 16,384, Adam, a cosine from 1e-3 to 0); a batch is at most the training set. Without --test a fifth of DATA, drawn by the seed, is held out. Features stay in memory: images × layers × width × 4 bytes, on a CPU those that are trained on twice. With --encoder in place of --checkpoint it is an encoder's patch features that are probed, averaged over the image.",
  options: {
    ...MODEL_OPTIONS,
    checkpoint: {
      type: 'string',
      placeholder: 'C',
      description: 'run, checkpoint folder or weights of the model to probe',
    },
    encoder: {
      type: 'string',
      placeholder: 'NAME=FILE',
      description:
        'the encoder to probe: vit=RUN/encoder.safetensors, dinov2-vit-b=FILE and its kin, or the built-in hog',
    },
    test: { type: 'string', placeholder: 'DATA2', description: 'a prepared data set to test on, of the same classes' },
    epochs: { type: 'integer', min: 1, default: 90, description: 'passes over the training features' },
    probeBatch: { type: 'integer', min: 1, default: 16384, description: 'features of a step' },
    lr: { type: 'number', min: 0, default: 1e-3, description: 'first learning rate' },
  },
  examples: [
    {
      command:
        'repa evaluate probe --checkpoint runs/xl --data data/imagenet256 --test data/imagenet256-val --layers 6,8,12,20',
      description: "as in the paper's Figure 2",
    },
    {
      command:
        'repa evaluate probe --checkpoint runs/cifar --data data/cifar --noise 0,0.25,0.5 --probe-batch 1024 --out runs/cifar/evaluation/probe.json',
      description: 'every layer at three noise levels, as JSON too',
    },
    {
      command:
        'repa evaluate probe --encoder vit=runs/encoder/encoder.safetensors --data data/cifar --probe-batch 1024',
      description: 'an encoder of your own',
    },
  ],
  async run({ checkpoint, encoder, ...args }, context) {
    if ((checkpoint === undefined) === (encoder === undefined)) {
      throw new UsageError(
        checkpoint === undefined
          ? 'What is to be probed? Give a model by --checkpoint, or an encoder by --encoder.'
          : 'Both --checkpoint and --encoder are given; probe one at a time.',
      )
    }
    if (encoder !== undefined) refuseModelOptions(args)
    const { Dataset } = await import('../../data/dataset.ts')
    const test = args.test === undefined ? undefined : await Dataset.open(args.test, { captions: false })
    const schedule = { epochs: args.epochs, batch: args.probeBatch, learningRate: args.lr }
    const record =
      encoder === undefined
        ? await probeModel({ ...args, checkpoint: checkpoint! }, { test, schedule }, context)
        : await probeEncoder(encoder, args, { test, schedule }, context)
    warnOfFewSteps(record, context.out)
    if (args.out !== undefined) await writeRecord(args.out, record)
    context.out.json(record)
  },
})

/** Of the paper's probes: 1,281,167 images in batches of 16,384, 90 times. */
const PAPER_STEPS = 78 * 90

/** Batches of the paper's size hold all of a small training set; the schedule is then the paper's in its epochs alone. */
function warnOfFewSteps(
  { trainImages, schedule: { epochs, batch } }: { readonly trainImages: number; readonly schedule: ProbeSchedule },
  out: Output,
): void {
  if (batch < trainImages) return
  out.warn(
    `A step takes all ${trainImages} training images, so that the probe made ${epochs} steps; the paper's makes ${PAPER_STEPS} on ImageNet. A smaller --probe-batch makes more.`,
  )
}

/** An encoder is looked at behind its last block, and sees clean images. */
function refuseModelOptions(
  args: Pick<
    ModelArguments,
    'autoencoder' | 'classTokenEncoder' | 'captionEncoder' | 'layers' | 'noise' | 'weights' | 'heads' | 'path'
  >,
): void {
  const given: Readonly<Record<string, boolean>> = {
    '--autoencoder': args.autoencoder !== undefined,
    '--class-token-encoder': args.classTokenEncoder !== undefined,
    '--caption-encoder': args.captionEncoder !== undefined,
    '--layers': args.layers !== undefined,
    '--noise': args.noise.some((level) => level !== 0),
    '--weights': args.weights !== MODEL_OPTIONS.weights.default,
    '--heads': args.heads !== undefined,
    '--path': args.path !== undefined,
  }
  const flag = Object.keys(given).find((name) => given[name])
  if (flag === undefined) return
  throw new UsageError(`${flag} is of a model, and --encoder probes the last layer of an encoder; leave ${flag} out.`)
}

interface Probing {
  readonly test: Dataset | undefined
  readonly schedule: ProbeSchedule
}

interface ModelArguments {
  readonly checkpoint: string
  readonly data: string
  readonly autoencoder: string | undefined
  readonly classTokenEncoder: string | undefined
  readonly captionEncoder: string | undefined
  readonly layers: readonly number[] | undefined
  readonly noise: readonly number[]
  readonly images: number | undefined
  readonly batch: number
  readonly weights: 'ema' | 'model'
  readonly heads: number | undefined
  readonly path: InterpolantPath | undefined
}

async function probeModel(args: ModelArguments, probing: Probing, context: CommandContext) {
  const { out, signal, seed = 0 } = context
  const { evaluateProbe } = await import('../../evaluation/probe.ts')
  const opened = await openModel(args, context)
  const { step, ...evaluated } = opened
  const bars = stageBars(context)
  const result = await evaluateProbe({
    ...evaluated,
    ...probing,
    images: args.images,
    layers: args.layers,
    noise: args.noise,
    seed,
    batch: args.batch,
    signal,
    onProgress: (stage, noise, done, total) => bars.update(stage, `${stage}, noise ${noise}`, done, total),
  }).finally(() => {
    bars.end()
    opened[Symbol.dispose]()
  })
  out.line(`accuracy of ${result.testImages} images after training on ${result.trainImages}, by layer and noise level:`)
  curveTable(out, result, (point: ProbePoint) => `${(100 * point.accuracy).toFixed(1)} %`)
  return { checkpoint: args.checkpoint, ...(step !== undefined && { step }), data: args.data, ...result }
}

async function probeEncoder(
  named: string,
  args: { readonly data: string; readonly images: number | undefined; readonly batch: number },
  probing: Probing,
  context: CommandContext,
) {
  const { out, signal, seed = 0 } = context
  const [{ evaluateEncoderProbe }, { loadEncoder }, { resolveDevice }, { Dataset: Data }] = await Promise.all([
    import('../../evaluation/encoder-probe.ts'),
    import('../../alignment/encoders.ts'),
    import('../../tensor/device.ts'),
    import('../../data/dataset.ts'),
  ])
  const device = resolveDevice(context.device)
  const { name, file } = encoderOf(named)
  const data = await Data.open(args.data, { captions: false })
  const encoder = await loadEncoder(name, file, { device, onNotice: (sentence) => out.warn(sentence) })
  const bars = stageBars(context)
  const result = await evaluateEncoderProbe({
    ...probing,
    encoder,
    data,
    images: args.images,
    seed,
    batch: args.batch,
    device,
    signal,
    onProgress: (stage, done, total) => bars.update(stage, stage, done, total),
  }).finally(() => {
    bars.end()
    encoder[Symbol.dispose]()
  })
  out.line(
    `${name}: ${(100 * result.accuracy).toFixed(1)} % of ${result.testImages} images right after training on ` +
      `${result.trainImages} (of which ${(100 * result.trainAccuracy).toFixed(1)} %), features of a grid of ${result.grid.join(' x ')}`,
  )
  return { ...(file !== undefined && { file }), data: args.data, ...result }
}

/** A progress bar for every stage, one after the other. */
function stageBars({ progress }: CommandContext) {
  let bar: { readonly label: string; readonly shown: Progress } | undefined
  return {
    update(stage: 'features' | 'probes', label: string, done: number, total: number): void {
      if (bar?.label !== label) {
        bar?.shown.end()
        bar = { label, shown: progress({ label, unit: stage === 'features' ? 'images' : 'epochs', total }) }
      }
      bar.shown.update(done)
      if (done === total) bar.shown.end()
    },
    end: () => bar?.shown.end(),
  }
}
