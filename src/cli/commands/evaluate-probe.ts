import type { ProbePoint } from '../../evaluation/probe.ts'
import { defineCommand } from '../command.ts'
import { curveTable } from '../curve-table.ts'
import { MODEL_OPTIONS, openModel } from '../evaluated-model.ts'
import { writeRecord } from '../evaluation-record.ts'
import type { Progress } from '../progress.ts'

export const evaluateProbeCommand = defineCommand({
  name: 'evaluate probe',
  summary: 'linear probing: how much of the class the layers of a model know',
  description:
    "Trains a linear classifier on the output of each block, averaged over its tokens, behind a batch normalisation without parameters, and says how many images of the test set it gets right. The model is told no class. The schedule is the paper's (90 epochs, batches of 16,384, Adam, a cosine from 1e-3 to 0); a batch is at most the training set. Without --test a fifth of DATA, drawn by the seed, is held out. Features stay in memory: images × layers × width × 4 bytes.",
  options: {
    ...MODEL_OPTIONS,
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
  ],
  async run(args, context) {
    const { out, signal, progress, seed = 0 } = context
    const [{ evaluateProbe }, { Dataset }] = await Promise.all([
      import('../../evaluation/probe.ts'),
      import('../../data/dataset.ts'),
    ])
    const test = args.test === undefined ? undefined : await Dataset.open(args.test)
    const opened = await openModel(args, context)
    let bar: { readonly label: string; readonly shown: Progress } | undefined
    const result = await evaluateProbe({
      ...opened,
      test,
      images: args.images,
      layers: args.layers,
      noise: args.noise,
      schedule: { epochs: args.epochs, batch: args.probeBatch, learningRate: args.lr },
      seed,
      batch: args.batch,
      signal,
      onProgress: (stage, noise, done, total) => {
        const label = `${stage}, noise ${noise}`
        if (bar?.label !== label) {
          bar?.shown.end()
          bar = { label, shown: progress({ label, unit: stage === 'features' ? 'images' : 'epochs', total }) }
        }
        bar.shown.update(done)
        if (done === total) bar.shown.end()
      },
    }).finally(() => {
      bar?.shown.end()
      opened[Symbol.dispose]()
    })
    out.line(
      `accuracy of ${result.testImages} images after training on ${result.trainImages}, by layer and noise level:`,
    )
    curveTable(out, result, (point: ProbePoint) => `${(100 * point.accuracy).toFixed(1)} %`)
    const step = opened.step === undefined ? {} : { step: opened.step }
    const record = { checkpoint: args.checkpoint, ...step, data: args.data, ...result }
    if (args.out !== undefined) await writeRecord(args.out, record)
    out.json(record)
  },
})
