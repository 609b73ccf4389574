import type { CknnaPoint } from '../../evaluation/cknna.ts'
import { writeRecord } from '../../evaluation/evaluation-record.ts'
import { defineCommand } from '../command.ts'
import { curveTable } from '../curve-table.ts'
import { encoderOf } from '../encoder-argument.ts'
import { MODEL_OPTIONS, openModel } from '../evaluated-model.ts'
import type { Progress } from '../progress.ts'

export const evaluateCknnaCommand = defineCommand({
  name: 'evaluate cknna',
  summary: "alignment of a model's layers with an encoder: CKNNA",
  description:
    "Compares who is whose neighbour in the output of each block and in an encoder's features, both averaged over their tokens and divided by their length. Two formulas go by the name: the paper's centres the kernels and then keeps the mutual neighbours, platonic-rep's code (its authors') keeps them first and centres what is left, zeros included; their numbers cannot be compared. The model is told no class. 10,000 images and 10 neighbours are the paper's.",
  options: {
    ...MODEL_OPTIONS,
    images: { ...MODEL_OPTIONS.images, description: 'how many images of DATA are used, drawn by the seed [10000]' },
    encoder: {
      type: 'string',
      placeholder: 'NAME=FILE',
      description: 'the encoder: dinov2-vit-g=FILE and its kin, or the built-in hog',
      required: true,
    },
    neighbours: { type: 'integer', min: 2, default: 10, description: 'k' },
  },
  examples: [
    {
      command:
        'repa evaluate cknna --checkpoint runs/xl --data data/imagenet256-val --encoder dinov2-vit-g=dinov2_vitg14_pretrain.pth',
      description: "as in the paper's Figure 2",
    },
    {
      command:
        'repa evaluate cknna --checkpoint runs/cifar --data data/cifar --encoder hog --noise 0,0.5 --out runs/cifar/evaluation/cknna.json',
      description: 'nothing to download',
    },
  ],
  async run(args, context) {
    const { device, out, signal, progress, seed = 0 } = context
    const [{ evaluateCknna }, { loadEncoder }, { resolveDevice }] = await Promise.all([
      import('../../evaluation/cknna.ts'),
      import('../../alignment/encoders.ts'),
      import('../../tensor/device.ts'),
    ])
    const { name, file } = encoderOf(args.encoder)
    // First, for it also tells what is wrong with the options; the encoder may be large.
    const opened = await openModel(args, context)
    const encoder = await loadEncoder(name, file, {
      device: resolveDevice(device),
      onNotice: (message) => out.warn(message),
    }).catch((error: unknown) => {
      opened[Symbol.dispose]()
      throw error
    })
    const { step, ...evaluated } = opened
    let bar: { readonly noise: number; readonly shown: Progress } | undefined
    const result = await evaluateCknna({
      ...evaluated,
      encoder,
      images: args.images,
      neighbours: args.neighbours,
      layers: args.layers,
      noise: args.noise,
      seed,
      batch: args.batch,
      signal,
      onProgress: (noise, done, total) => {
        if (bar?.noise !== noise) {
          bar?.shown.end()
          bar = { noise, shown: progress({ label: `features, noise ${noise}`, unit: 'images', total }) }
        }
        bar.shown.update(done)
        if (done === total) bar.shown.end()
      },
    }).finally(() => {
      bar?.shown.end()
      opened[Symbol.dispose]()
      encoder[Symbol.dispose]()
    })
    out.line(
      `alignment with ${result.encoder} on ${result.images} images, k = ${result.neighbours}, by layer and noise level`,
    )
    for (const [title, key] of [
      ["CKNNA, the paper's formula:", 'cknna'],
      ["CKNNA, platonic-rep's code:", 'platonicCknna'],
    ] as const) {
      out.line(title)
      curveTable(out, result, (point: CknnaPoint) => point[key].toFixed(3))
    }
    const record = { checkpoint: args.checkpoint, ...(step !== undefined && { step }), data: args.data, ...result }
    if (args.out !== undefined) await writeRecord(args.out, record)
    out.json(record)
  },
})
