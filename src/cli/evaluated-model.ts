import type { Dataset } from '../data/dataset.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import type { CommandContext } from './command.ts'
import { UsageError } from './failure.ts'
import { endingIn } from './option.ts'

/** Options of the commands that look into a model. */
export const MODEL_OPTIONS = {
  checkpoint: { type: 'string', placeholder: 'C', description: 'run, checkpoint folder or weights', required: true },
  data: { type: 'string', placeholder: 'DATA', description: 'a prepared data set', required: true },
  autoencoder: {
    type: 'string',
    placeholder: 'FILE',
    description: "make the latents of DATA's images, as a run with --encode-latents does [those that DATA holds]",
  },
  layers: { type: 'list', items: 'integer', description: 'blocks whose output is looked at, from 1 [all]' },
  noise: {
    type: 'list',
    items: 'number',
    default: [0],
    description: 'noise levels of the input: 0 is the image, 1 noise',
  },
  images: { type: 'integer', min: 1, description: 'how many images of DATA are used, drawn by the seed' },
  batch: { type: 'integer', min: 1, default: 64, description: 'images that pass through the model at a time' },
  weights: { type: 'enum', values: ['ema', 'model'], default: 'ema', description: 'which weights of a checkpoint' },
  path: { type: 'enum', values: ['linear', 'cosine'], description: "interpolant [the checkpoint's, else linear]" },
  out: {
    type: 'string',
    placeholder: 'FILE.json',
    ...endingIn('.json'),
    description: 'write the curve here too; in RUN/evaluation/ repa report shows it',
  },
} as const

export interface EvaluatedModel extends Disposable {
  readonly model: AnyTransformer
  readonly data: Dataset
  readonly autoencoder: Autoencoder | undefined
  readonly path: InterpolantPath
  /** Steps that the model was trained for, where its checkpoint says so. */
  readonly step: number | undefined
}

/** Opens what MODEL_OPTIONS name and says what it is. */
export async function openModel(
  args: {
    checkpoint: string
    data: string
    autoencoder: string | undefined
    noise: readonly number[]
    weights: 'ema' | 'model'
    path: InterpolantPath | undefined
  },
  { device, out }: CommandContext,
): Promise<EvaluatedModel> {
  const [{ loadModel }, { Dataset: Data }, { resolveDevice }] = await Promise.all([
    import('../training/load-model.ts'),
    import('../data/dataset.ts'),
    import('../tensor/device.ts'),
  ])
  const wrong = args.noise.find((level) => !(level >= 0 && level <= 1))
  if (wrong !== undefined) {
    throw new UsageError(`--noise ${wrong} is no time of the path: expected numbers from 0 to 1.`)
  }
  const data = await Data.open(args.data)
  const loaded = await loadModel(args.checkpoint, {
    device: resolveDevice(device),
    weights: args.weights,
    notice: (sentence) => out.line(sentence),
  })
  const { model, source } = loaded
  const autoencoder = await openAutoencoder(args.autoencoder, model)
  out.line(
    `${source}: ${model.config.depth} blocks of ${model.config.hidden}; ${data.length} images in ${data.classes} classes`,
  )
  return {
    model,
    data,
    autoencoder,
    path: args.path ?? loaded.path ?? 'linear',
    step: loaded.step,
    [Symbol.dispose]: () => {
      model.dispose()
      autoencoder?.dispose()
    },
  }
}

/** Disposes of the model where it cannot be opened. */
async function openAutoencoder(file: string | undefined, model: AnyTransformer): Promise<Autoencoder | undefined> {
  if (file === undefined) return undefined
  try {
    const { loadAutoencoder } = await import('../models/load-autoencoder.ts')
    return await loadAutoencoder(file, { device: model.device, half: 'encoder' })
  } catch (error) {
    model.dispose()
    throw error
  }
}
