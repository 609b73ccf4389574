import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import type { LoadedModel } from '../training/load-model.ts'
import { openCaptionEncoder } from './caption-encoder.ts'
import type { CommandContext } from './command.ts'
import { encoderOf } from './encoder-argument.ts'
import { UsageError } from './failure.ts'
import { endingIn } from './option.ts'
import { warnOfOtherPath } from './other-path.ts'
import type { Output } from './output.ts'
import { warnOfIdleChoice } from './weights-choice.ts'

/** Options of the commands that look into a model. */
export const MODEL_OPTIONS = {
  checkpoint: { type: 'string', placeholder: 'C', description: 'run, checkpoint folder or weights', required: true },
  data: { type: 'string', placeholder: 'DATA', description: 'a prepared data set', required: true },
  autoencoder: {
    type: 'string',
    placeholder: 'FILE',
    description: "make the latents of DATA's images, as a run with --encode-latents does [those that DATA holds]",
  },
  classTokenEncoder: {
    type: 'string',
    placeholder: 'NAME=FILE',
    description: "of a model of REG, whose class token it denoises along [its run's first encoder]",
  },
  captionEncoder: {
    type: 'string',
    placeholder: 'FILE',
    description: 'of a model of text, which is shown the empty caption: what encodes it [that of its run]',
  },
  layers: { type: 'list', items: 'integer', description: 'blocks whose output is looked at, from 1 [all]' },
  noise: {
    type: 'list',
    items: 'number',
    default: [0],
    description: 'noise levels of the input: 0 is the image, 1 noise',
  },
  images: { type: 'integer', min: 1, description: 'how many images of DATA are used, drawn by the seed [all]' },
  batch: { type: 'integer', min: 1, default: 64, description: 'images that pass through the model at a time' },
  weights: { type: 'enum', values: ['ema', 'model'], default: 'ema', description: 'which weights of a checkpoint' },
  heads: { type: 'integer', min: 1, description: "attention heads, for a bare file of weights of no preset's size" },
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
  readonly classTokenEncoder: Encoder | undefined
  readonly captionEncoder: CaptionEncoder | undefined
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
    classTokenEncoder: string | undefined
    captionEncoder: string | undefined
    noise: readonly number[]
    weights: 'ema' | 'model'
    heads: number | undefined
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
  const data = await Data.open(args.data, { captions: false })
  const loaded = await loadModel(args.checkpoint, {
    device: resolveDevice(device),
    weights: args.weights,
    heads: args.heads,
    onNotice: (sentence) => out.warn(sentence),
  })
  const { model, source } = loaded
  const frozen: Disposable[] = []
  const dispose = () => {
    for (const each of [model, ...frozen]) each[Symbol.dispose]()
  }
  try {
    warnOfIdleChoice(loaded, args.weights, out)
    if (args.path !== undefined && model.config.kind === 'DiT') {
      throw new UsageError(`--path ${args.path} is of a SiT, not of a DiT; leave it out.`)
    }
    warnOfOtherPath(loaded, args.path, out)
    const autoencoder = args.autoencoder === undefined ? undefined : await openAutoencoder(args.autoencoder, model)
    if (autoencoder) frozen.push(autoencoder)
    const classTokenEncoder =
      args.classTokenEncoder === undefined
        ? await encoderOfRun(loaded, out)
        : await namedEncoder(encoderOf(args.classTokenEncoder), loaded, out)
    if (classTokenEncoder) frozen.push(classTokenEncoder)
    const captionEncoder = await openCaptionEncoder(args.captionEncoder, loaded, { device: model.device, out })
    if (captionEncoder) frozen.push(captionEncoder)
    out.line(
      `${source}: ${model.config.depth} blocks of ${model.config.hidden}; ${data.length} images in ${data.classes} classes`,
    )
    return {
      model,
      data,
      autoencoder,
      classTokenEncoder,
      captionEncoder,
      step: loaded.step,
      path: args.path ?? loaded.path ?? 'linear',
      [Symbol.dispose]: dispose,
    }
  } catch (error) {
    dispose()
    throw error
  }
}

async function openAutoencoder(file: string, { device }: AnyTransformer): Promise<Autoencoder> {
  const { loadAutoencoder } = await import('../models/load-autoencoder.ts')
  return await loadAutoencoder(file, { device, half: 'encoder' })
}

async function openEncoder(
  { name, file }: { readonly name: string; readonly file?: string | undefined },
  { device }: AnyTransformer,
  out: Output,
): Promise<Encoder> {
  const { loadEncoder } = await import('../alignment/encoders.ts')
  return await loadEncoder(name, file, { device, onNotice: (sentence) => out.warn(sentence) })
}

/** The one that a flag names, and a word where it is another than the run's. */
async function namedEncoder(
  named: { readonly name: string; readonly file?: string | undefined },
  { model, encoders: [first] }: LoadedModel,
  out: Output,
): Promise<Encoder> {
  const encoder = await openEncoder(named, model, out)
  const { encoderDigest } = await import('../alignment/encoder-digest.ts')
  const { name, file } = named
  if (first?.sha256 !== undefined && file !== undefined && first.sha256 !== (await encoderDigest(name, file))) {
    out.warn(`${file} holds other weights than the ${first.name} whose class token the model was trained with.`)
  }
  return encoder
}

/** Whose class token a model denoises along, by its run; undefined where it denoises none, or the run or the file is not known here. */
async function encoderOfRun({ model, encoders: [first] }: LoadedModel, out: Output): Promise<Encoder | undefined> {
  if (model.classTokenWidth === undefined || first?.file === undefined) return undefined
  const [{ encoderDigest }, { isThere }] = await Promise.all([
    import('../alignment/encoder-digest.ts'),
    import('../formats/if-there.ts'),
  ])
  const { name, file, sha256 } = first
  if (!(await isThere(file)) || (await encoderDigest(name, file)) !== sha256) {
    out.warn(`The run's class token is that of ${name} in ${file}, which is not here or holds other weights.`)
    return undefined
  }
  out.line(`class token: ${name} in ${file}, as in its run`)
  return await openEncoder(first, model, out)
}
