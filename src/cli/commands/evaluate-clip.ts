import { writeRecord } from '../../evaluation/evaluation-record.ts'
import { defineCommand } from '../command.ts'
import { UsageError } from '../failure.ts'
import { SAMPLES_RECORD_OPTIONS } from '../samples-record.ts'

export const evaluateClipCommand = defineCommand({
  name: 'evaluate clip',
  summary: 'how well images fit their captions: the CLIP score',
  description:
    "The mean cosine of CLIP's features of an image and of its caption, times 100, which papers call the CLIP score; REPA's code prints it of its text to image, with ViT-L/14 and not times 100. S is a folder that repa sample made of captions, with its prompts.txt, or with --captions any folder, zip or npz of images. Scores of different CLIPs cannot be compared; --data DATA gives that of real images, which says how high it can be.",
  options: {
    samples: { type: 'string', placeholder: 'S', description: 'the images to judge' },
    captions: {
      type: 'string',
      placeholder: 'FILE',
      description: "their captions, a line an image, in the order of the images' paths [S/prompts.txt]",
    },
    data: {
      type: 'string',
      placeholder: 'DATA',
      description: 'instead: a prepared data set with captions, whose images are scored with the first of each',
    },
    clip: {
      type: 'string',
      placeholder: 'FILE',
      description:
        "the whole CLIP: a clone of openai/clip-vit-large-patch14, or OpenAI's ViT-L-14.pt with tokenizer.json beside it",
      required: true,
    },
    batch: { type: 'integer', min: 1, default: 32, description: 'images that pass through CLIP at a time' },
    ...SAMPLES_RECORD_OPTIONS,
  },
  examples: [
    {
      command: 'repa evaluate clip --samples samples --clip clip-vit-large-patch14',
      description: 'of samples that repa sample --prompts made',
    },
    {
      command: 'repa evaluate clip --samples samples.npz --captions captions.txt --clip ViT-L-14.pt',
      description: 'of images from elsewhere',
    },
    {
      command: 'repa evaluate clip --data data/coco256-val --clip clip-vit-large-patch14',
      description: 'of the real images, to compare with',
    },
  ],
  async run(args, { device, out, signal, progress }) {
    const { samples, captions, data, clip, batch } = args
    if ((samples === undefined) === (data === undefined)) {
      throw new UsageError('Give either --samples S or --data DATA: the images that are scored.')
    }
    if (data !== undefined && captions !== undefined) {
      throw new UsageError('--captions is of samples, and DATA has captions of its own; leave it out.')
    }
    if (data !== undefined && args.step !== undefined) {
      throw new UsageError('--step is of the model of samples, and DATA is of none; leave it out.')
    }
    const [{ readSamplingRecord }, { evaluateClipScore }, { Dataset }, { resolveDevice }] = await Promise.all([
      import('../../diffusion/sampling-record.ts'),
      import('../../evaluation/clip-score.ts'),
      import('../../data/dataset.ts'),
      import('../../tensor/device.ts'),
    ])
    const sampled = samples === undefined ? undefined : await readSamplingRecord(samples)
    const images =
      samples === undefined ? ({ data: await Dataset.open(data!) } as const) : ({ samples, captions } as const)
    let bar: ReturnType<typeof progress> | undefined
    const result = await evaluateClipScore({
      ...images,
      clip,
      batch,
      signal,
      device: resolveDevice(device),
      onProgress: (done, total) => {
        bar ??= progress({ label: 'clip', unit: 'images', total })
        bar.update(done)
      },
      onNotice: (sentence) => out.warn(sentence),
    }).finally(() => bar?.end())
    const { network, cosine, standardError, withoutCaption } = result
    if (withoutCaption > 0) {
      out.warn(`${withoutCaption} of ${result.images + withoutCaption} images have no caption and are left out.`)
    }
    const rows = [
      [`CLIP score (${network}), 100 · cosine`, (100 * cosine).toFixed(3)],
      ...(standardError === null ? [] : [['its standard error', (100 * standardError).toFixed(3)]]),
      ['images', String(result.images)],
    ]
    out.table([{ heading: 'measure' }, { heading: 'value', align: 'right' }], rows)
    const step = args.step === undefined ? {} : { step: args.step }
    const of = samples === undefined ? { data } : { samples, ...(captions !== undefined && { captions }) }
    const record = { ...sampled, ...step, ...of, clip, ...result }
    if (args.out !== undefined) await writeRecord(args.out, record)
    out.json(record)
  },
})
