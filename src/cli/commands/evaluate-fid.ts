import { writeRecord } from '../../evaluation/evaluation-record.ts'
import type { FeatureNetwork } from '../../evaluation/feature-network.ts'
import { defineCommand } from '../command.ts'
import { encoderOf } from '../encoder-argument.ts'
import { UsageError } from '../failure.ts'
import type { Progress } from '../progress.ts'
import { SAMPLES_RECORD_OPTIONS } from '../samples-record.ts'

export const evaluateFidCommand = defineCommand({
  name: 'evaluate fid',
  summary: 'compare images with a reference: FID, sFID, Inception Score, precision, recall',
  description:
    "R and S are a folder or zip of images, an npz (arr_0 as repa sample --npz writes it, or the ADM suite's mu and sigma) or statistics that --save-statistics wrote. With --inception the numbers are those of the ADM suite: its network, its resizing, its splits and radii. With --features they are the Fréchet distance, precision and recall in the features of an encoder, which needs no Inception file and sees images that look like nothing on the web better. FID depends on the number of images; 50,000 samples are the convention.",
  options: {
    reference: { type: 'string', placeholder: 'R', description: 'what the samples should look like', required: true },
    samples: { type: 'string', placeholder: 'S', description: 'the images to judge' },
    inception: {
      type: 'string',
      placeholder: 'FILE',
      description:
        'weights of the Inception network: pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or safetensors',
    },
    features: {
      type: 'string',
      placeholder: 'ENCODER=FILE',
      description: 'instead: dinov2-vit-b=FILE and its kin, resnet-cifar=FILE, or the built-in hog',
    },
    saveStatistics: {
      type: 'string',
      placeholder: 'FILE',
      description: "write the reference's statistics, .safetensors, to give them as R another time",
    },
    ...SAMPLES_RECORD_OPTIONS,
  },
  examples: [
    {
      command:
        'repa evaluate fid --reference VIRTUAL_imagenet256_labeled.npz --samples samples.npz --inception pt_inception-2015-12-05-6726825d.pth',
      description: "the paper's numbers, on a GPU in minutes",
    },
    {
      command: 'repa evaluate fid --reference data/cifar/images --samples samples --features hog',
      description: 'nothing to download',
    },
    {
      command:
        'repa evaluate fid --reference photos.zip --features dinov2-vit-b=dinov2_vitb14_pretrain.pth --save-statistics photos.safetensors',
      description: 'see the reference once',
    },
  ],
  async run(args, { device, out, signal, progress }) {
    const { reference, samples, inception, features, saveStatistics } = args
    if ((inception === undefined) === (features === undefined)) {
      throw new UsageError(
        'Give either --inception FILE or --features ENCODER=FILE (or hog): what the images are compared by.',
      )
    }
    if (samples === undefined && saveStatistics === undefined) {
      throw new UsageError('Give --samples S, or --save-statistics FILE to make the statistics of R alone.')
    }
    if (saveStatistics !== undefined && !saveStatistics.toLowerCase().endsWith('.safetensors')) {
      throw new UsageError(`--save-statistics ${saveStatistics}: the file's name must end in .safetensors.`)
    }
    const [{ readSamplingRecord }, { compareImages }, { loadFeatureNetwork, loadInceptionNetwork }, { resolveDevice }] =
      await Promise.all([
        import('../../diffusion/sampling-record.ts'),
        import('../../evaluation/compare-images.ts'),
        import('../../evaluation/feature-network.ts'),
        import('../../tensor/device.ts'),
      ])
    const sampled = samples === undefined ? undefined : await readSamplingRecord(samples)
    const where = { device: resolveDevice(device), onNotice: (message: string) => out.warn(message) }
    let network: FeatureNetwork
    if (inception !== undefined) {
      network = await loadInceptionNetwork(inception, where)
    } else {
      const { name, file } = encoderOf(features!)
      network = await loadFeatureNetwork(name, file, where)
    }
    let bar: { readonly part: string; readonly shown: Progress } | undefined
    try {
      const result = await compareImages({
        reference,
        samples,
        network,
        saveStatistics,
        signal,
        onNotice: (message) => out.warn(message),
        onProgress: (part, done, total) => {
          if (bar?.part !== part) {
            bar?.shown.end()
            bar = { part, shown: progress({ label: part, unit: 'images', total }) }
          }
          bar.shown.update(done)
          if (done === total) bar.shown.end()
        },
      })
      bar?.shown.end()
      bar = undefined
      const { fid, sfid, is, precision, recall } = result
      const shown: [string, number | null, number][] = [
        [inception === undefined ? `Fréchet distance (${result.network})` : 'FID', fid, 4],
        ['sFID', sfid, 4],
        ['Inception Score', is, 3],
        ['precision', precision, 4],
        ['recall', recall, 4],
      ]
      const rows = shown.flatMap(([measure, value, digits]) =>
        value === null ? [] : [[measure, value.toFixed(digits)]],
      )
      if (samples !== undefined) out.table([{ heading: 'measure' }, { heading: 'value', align: 'right' }], rows)
      if (saveStatistics !== undefined) out.line(`statistics of ${reference} in ${saveStatistics}`)
      const step = args.step === undefined ? {} : { step: args.step }
      const record = {
        kind: 'fid',
        ...sampled,
        ...step,
        reference,
        ...(samples !== undefined && { samples }),
        ...result,
      }
      if (args.out !== undefined) await writeRecord(args.out, record)
      out.json(record)
    } finally {
      bar?.shown.end()
      network[Symbol.dispose]()
    }
  },
})
