import type { Adoption } from '../../conversion/adopt.ts'
import { formatCount } from '../../report/quantity.ts'
import type { TrainingOptions } from '../../training/configuration.ts'
import type { TrainingRun } from '../../training/run.ts'
import { defineCommand } from '../command.ts'
import { CONFIGURATION_NAMES } from '../configuration-names.ts'
import { encoderOf } from '../encoder-argument.ts'
import { UsageError } from '../failure.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'
import { TRAIN_OPTIONS } from '../train-options.ts'

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train a SiT or a DiT, with representation alignment where an encoder is named',
  description:
    'RUN gets config.json, metrics.jsonl, TensorBoard events, checkpoints/STEP/ and samples/STEP.png. Settings come from --config, and flags override it; what neither names is as in the reference. Ctrl-C saves and exits; --resume goes on exactly as the unbroken run would have.',
  options: TRAIN_OPTIONS,
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
      command:
        'repa train --data data/coco256 --model MMDiT-d24/2 --caption-encoder clip-vit-large-patch14 --encoder dinov2-vit-b=dinov2_vitb14_pretrain.pth --out runs/coco',
      description: 'text to image, on captions',
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
  saves: true,
  async run(
    { data, out: folder, config, resume, processes, continue: adopted, ...flags },
    { device, seed, out, signal, progress },
  ) {
    const [{ train }, { chooseRecomputation }, { withProcesses }, { StoppedByAnother }] = await Promise.all([
      import('../../training/run.ts'),
      import('../../planning/fit.ts'),
      import('../../distributed/join.ts'),
      import('../../distributed/world.ts'),
    ])
    const shared = await configurationFile(config)
    const configuration = { ...configurationOf(flags), ...(seed !== undefined && { seed }) }
    let bar: Progress | undefined
    const { interrupted } = await withProcesses({ processes, device }, async (world, processDevice) => {
      const leads = world.rank === 0
      let adoption: Adoption | undefined
      const abandon = async (failure: unknown): Promise<never> => {
        await adoption?.abandon()
        throw failure
      }
      if (!leads) out.silence()
      if (adopted !== undefined) {
        if (leads) adoption = await adopt(adopted, folder, { ...shared, ...configuration }, out)
        await world.meet().catch(abandon)
      }
      const result = await train({
        data,
        out: folder,
        configuration,
        shared,
        resume: resume || adopted !== undefined,
        device: processDevice,
        world,
        fit: chooseRecomputation,
        signal,
        onNotice: (sentence) => out.warn(sentence),
        onStart: (run) => {
          adoption = undefined
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
        onSampling: ({ step, count }) => {
          out.line(`step ${formatCount(step)}: sampling a grid of ${count}`)
          bar?.pause()
        },
        onSampled: () => bar?.resume(),
      })
        .catch(abandon)
        .finally(() => bar?.end())
      out.line(
        result.interrupted
          ? `stopped at step ${result.step}: ${result.checkpoint}; --resume goes on from there`
          : `done at step ${result.step}: ${result.checkpoint}`,
      )
      out.json({ done: !result.interrupted, step: result.step, checkpoint: result.checkpoint })
      return result
    })
    // Behind the job, in which it would be a failure to the other processes.
    if (interrupted && !signal.aborted) throw new StoppedByAnother('another process was asked to stop.')
  },
})

/** What is trained, before it is. */
function describeRun(
  { configuration, model, data, cachedEncoders, captionEncoder, begunFrom, step }: TrainingRun,
  processes: number,
): string[] {
  const { depth, hidden, kind } = model.config
  const name = typeof configuration.model === 'string' ? configuration.model : `${kind} ${depth} x ${hidden}`
  const isCached = new Set(cachedEncoders)
  const encoders =
    configuration.encoders
      .map((encoder) => (isCached.has(encoder.name) ? `${encoder.name} (cached)` : encoder.name))
      .join(', ') || 'no encoder'
  return [
    `${name}: ${(model.parameterCount / 1e6).toFixed(1)} M parameters, ${encoders}, ${data.length} images ${captionEncoder ? `with captions, encoded by ${captionEncoder}` : `in ${data.classes} classes`}`,
    ...(data.encodedBy === undefined
      ? []
      : [`latents of ${data.latentShape.join(' x ')}, made of the images of every step by ${data.encodedBy}`]),
    ...(processes > 1 ? [`${processes} processes, ${configuration.batch / processes} images of a step each`] : []),
    ...(begunFrom === undefined ? [] : [`${begunFrom}: the weights that it begins from`]),
    ...(step > 0 ? [`resumed at step ${step}`] : []),
  ]
}

/** Makes a run's folder of the reference's training checkpoint. */
async function adopt(
  checkpoint: string,
  folder: string,
  { model, alignDepth, path }: TrainingOptions,
  out: Output,
): Promise<Adoption> {
  const { adoptCheckpoint } = await import('../../conversion/adopt.ts')
  const adoption = await adoptCheckpoint(checkpoint, folder, {
    ...(model !== undefined && { model }),
    ...(alignDepth !== undefined && { alignDepth }),
    ...(path !== undefined && { path }),
  })
  for (const note of adoption.notes) out.warn(note)
  out.line(`${checkpoint}: training checkpoint of step ${adoption.step}`)
  return adoption
}

interface Flags {
  readonly model: string | undefined
  readonly encoder: readonly string[] | undefined
  readonly captionEncoder: string | undefined
  readonly alignDepth: number | undefined
  readonly [name: string]: unknown
}

/** Flags under the configuration's names; what was not given is left out. */
function configurationOf({ model, encoder, captionEncoder, ...rest }: Flags): TrainingOptions {
  const given = {
    ...Object.fromEntries(Object.entries(rest).map(([flag, value]) => [CONFIGURATION_NAMES[flag] ?? flag, value])),
    model: model === undefined ? undefined : modelOf(model),
    captionEncoder: captionEncoder === undefined ? undefined : { file: captionEncoder },
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
  const [{ parseConfiguration }, { findRecipe, readJsonc }, { trainingSchema }] = await Promise.all([
    import('../../configuration/parse.ts'),
    import('../../planning/recipe.ts'),
    import('../../training/configuration.ts'),
  ])
  const path = await findRecipe(nameOrPath)
  const json = await readJsonc(path)
  const settings = isObject(json) && 'training' in json ? json.training : json
  if (!isObject(settings)) throw new Error(`${path} must hold a JSON object of settings, or one as its "training".`)
  // By itself too, for an error that names the file. As it stands it goes on: what it does not say is not said.
  parseConfiguration(trainingSchema, settings, path)
  return settings
}

const isObject = (json: unknown): json is object => typeof json === 'object' && json !== null && !Array.isArray(json)
