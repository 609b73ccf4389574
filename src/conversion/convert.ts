import { readdir, stat } from 'node:fs/promises'
import { basename, extname } from 'node:path'
import * as z from 'zod'
import { aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { requirePath } from '../configuration/path-argument.ts'
import { ifThere } from '../formats/if-there.ts'
import { statusOf } from '../formats/path-status.ts'
import { CHECKSUM_KEY, FORMAT_KEY } from '../formats/safetensors-header.ts'
import { isShardIndex, openSafetensors, type SafetensorsTensors } from '../formats/safetensors-shards.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import { TorchCheckpoint } from '../formats/torch-checkpoint.ts'
import { writeTorchCheckpoint } from '../formats/torch-checkpoint-writer.ts'
import { transformerEntries } from '../models/diffusion-transformer.ts'
import {
  argumentsMetadata,
  isScriptArgument,
  type ScriptArguments,
  scriptArguments,
} from '../models/script-arguments.ts'
import { withCanonicalNames } from '../models/state-dict-names.ts'
import { requireAsStated, requireTensorsOf } from '../models/stated-model.ts'
import { TRANSFORMER_KINDS, type TransformerKind } from '../models/transformer-kinds.ts'
import { CHECKPOINT_FILES } from '../training/checkpoint.ts'
import { STATE_FILE } from '../training/checkpoint-files.ts'
import { trainingSchema } from '../training/configuration.ts'
import { openCheckpointFolder, sourcesOf, writeCheckpointFolder } from './checkpoint-folder.ts'
import { interruptible } from './interruptible.ts'
import { type ModelKnowledge, modelConfigOf, untoldBy } from './model-configuration.ts'
import { settingsOf } from './model-settings.ts'
import { referenceArgumentsOf } from './reference-arguments.ts'
import {
  argumentsIn,
  isReferenceCheckpoint,
  readReferenceCheckpoint,
  referenceCheckpointOf,
  torchSourcesOf,
} from './reference-checkpoint.ts'
import { chooseStateDict } from './state-dicts.ts'
import { fitted, headersOf, type TensorSources, type TrainingCheckpoint, zeroMoments } from './training-checkpoint.ts'

export interface ConvertOptions {
  /**
   * Of a training checkpoint only these weights, as a bare state dict. Default: where the output can hold all of training
   * (a folder, a torch file) all of it, and the EMA, as sampling uses it, in a safetensors file.
   */
  readonly weights?: 'ema' | 'model'
  /** Which state dict of a torch file that holds several: `ema`, or deeper `state/model`. */
  readonly key?: string
  /** Classes of a torch file (`module.Name`) whose objects are left out as plain data, instead of refusing the file. */
  readonly inert?: readonly string[]
  /**
   * For a checkpoint, a folder or the reference's file: what the input does not tell of its model. Refused where it tells all, or no
   * checkpoint is written.
   */
  readonly heads?: number
  readonly alignDepth?: number
  readonly kind?: TransformerKind
  /** Replace the output where it exists. */
  readonly force?: boolean
  /** Ends the conversion: it throws the signal's reason, and leaves what was there. */
  readonly signal?: AbortSignal
}

/** Of a program without types: nothing but the file that is written would show what is wrong. */
const convertOptionsSchema = z.strictObject({
  weights: z.enum(['ema', 'model']).optional(),
  key: z.string().optional(),
  inert: z.array(z.string()).optional(),
  heads: z.int().positive().optional(),
  alignDepth: z.int().positive().optional(),
  kind: z.enum(TRANSFORMER_KINDS).optional(),
  force: z.boolean().optional(),
  signal: aSignal().optional(),
} satisfies Record<keyof ConvertOptions, z.ZodType>)

export interface Conversion {
  readonly output: string
  readonly kind: 'tensors' | 'training checkpoint'
  /** In the output. */
  readonly tensors: number
  /** What was assumed or left out: a sentence each. */
  readonly notes: readonly string[]
}

type Form = 'torch' | 'safetensors' | 'folder'

const TORCH_EXTENSIONS = ['.pt', '.pth', '.th', '.ckpt']
const SAFETENSORS_EXTENSION = '.safetensors'

/** Of a training checkpoint: where the weights of its model are. */
const MODEL_KEYS = ['ema', 'model']

/** One set of weights, or what training goes on from: then `training` checks that it is a whole checkpoint of a model. */
type Content = {
  /** What stands beside the weights, or may: a safetensors file of them has it. */
  readonly metadata: SafetensorsTensors['metadata']
} & (
  | { readonly kind: 'weights'; readonly weights: TensorSources }
  | {
      readonly kind: 'training'
      readonly ema: TensorSources
      readonly model: TensorSources
      /** Whether it says what no tensor shows of the model. */
      readonly tellsModel: boolean
      readonly training: () => Promise<TrainingCheckpoint>
    }
)

/** What is known of an input's model, and of the run that is to go on with it. */
type ReadingOptions = Pick<ConvertOptions, 'key' | 'inert' | 'heads' | 'alignDepth' | 'kind'> &
  Pick<ModelKnowledge, 'setting' | 'path'>

/** What an input holds; its files stay open for the tensors to be read. */
interface Input extends AsyncDisposable {
  readonly content: Content
}

/**
 * Converts between torch files (`.pt`, `.pth`, `.th`, `.ckpt`), safetensors files (shards too, which are read by their
 * `.safetensors.index.json`) and a run's checkpoint folders; names and dtypes stay as they are. The reference's training checkpoint, a
 * dictionary of model, ema, opt, args and steps, and a checkpoint folder are each other's counterparts. One tensor is in memory at a time, and the output appears when it is whole.
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no input; {Error} with one sentence where it holds
 *   nothing to convert, the two do not fit, or the output exists
 */
export async function convert(input: string, output: string, options: ConvertOptions = {}): Promise<Conversion> {
  requirePath(input, 'what convert reads')
  requirePath(output, 'what convert writes')
  parseConfiguration(convertOptionsSchema, options, "the conversion's options")
  try {
    return await convertTensors(input, output, options)
  } catch (error) {
    // A writer may have wrapped it in a sentence of its own.
    options.signal?.throwIfAborted()
    throw error
  }
}

async function convertTensors(input: string, output: string, options: ConvertOptions): Promise<Conversion> {
  const target = outputForm(output)
  await requireFree(output, target, options.force ?? false)
  const notes: string[] = []
  await using opened = await openInput(input, options, notes)
  const stoppable = options.signal ? interruptible(options.signal) : (tensors: TensorSources) => tensors
  const weights = chosenWeights(opened.content, target, options.weights, input)
  refuseIdle(options, opened.content, { weights, target, input, output })
  // The checksums are of the writer, and written anew.
  const { [CHECKSUM_KEY]: _checksums, ...metadata } = opened.content.metadata
  const said = scriptArguments({ name: input, args: {}, metadata }, (sentence) => notes.push(sentence))
  // A checkpoint takes them in, and what bare tensors do not tell of a stated model is said below.
  const isUsed = (key: string) => isScriptArgument(key) && (target === 'folder' || said.stated !== undefined)
  // The format says nothing of the model.
  const keys = Object.keys(metadata).filter((key) => key !== FORMAT_KEY && !isUsed(key))
  if (target !== 'safetensors' && keys.length > 0 && (target === 'folder' || weights !== undefined)) {
    const listed = keys.join(', ')
    notes.push(
      opened.content.kind === 'weights'
        ? `The metadata of ${input} (${listed}) is left out: ${output} has no place for it.`
        : `The arguments of ${input} (${listed}) are left out: ${output} has no place for them.`,
    )
  }
  if (weights !== undefined && target !== 'folder') {
    const sources = stoppable(weights)
    if (target === 'torch') {
      const untold =
        said.stated && (await untoldBy(weights, { ...said.stated, path: said.path ?? said.otherPath }, input))
      if (untold !== undefined) notes.push(`${output} ${untold}`)
      await writeTorchCheckpoint(output, sources, { fsync: true })
    } else
      await writeSafetensors(
        output,
        [...sources].map(([name, source]) => ({ name, ...source })),
        { metadata, checksum: true, fsync: true },
      )
    return { output, kind: 'tensors', tensors: weights.size, notes }
  }
  const { state, tensors } =
    opened.content.kind === 'training' && weights === undefined
      ? await opened.content.training()
      : await startOfTraining({ named: weights!, said }, options, input, notes)
  const training = {
    state,
    tensors: {
      weights: stoppable(tensors.weights),
      ema: stoppable(tensors.ema),
      firstMoments: stoppable(tensors.firstMoments),
      secondMoments: stoppable(tensors.secondMoments),
    },
  }
  if (target === 'folder') await writeCheckpointFolder(output, training)
  else await writeTorchCheckpoint(output, referenceCheckpointOf(training), { fsync: true })
  const count = Object.values(tensors).reduce((sum, { size }) => sum + size, 0)
  return { output, kind: 'training checkpoint', tensors: count, notes }
}

/**
 * Opens what training goes on from; its tensors can be read until it is disposed of.
 *
 * @throws {Error} where the input holds weights alone, or is no whole checkpoint
 */
export async function readTraining(
  input: string,
  options: ReadingOptions,
  notes: string[],
): Promise<AsyncDisposable & { readonly training: TrainingCheckpoint }> {
  const opened = await openInput(input, options, notes)
  try {
    if (opened.content.kind === 'weights') {
      throw new Error(`${input} holds weights and no optimizer state to go on with; begin a run from them by \`init\`.`)
    }
    const training = await opened.content.training()
    return { training, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

/** The one set of weights that goes to the output, or undefined: all of training does. */
function chosenWeights(
  content: Content,
  target: Form,
  choice: ConvertOptions['weights'],
  path: string,
): TensorSources | undefined {
  if (content.kind === 'training') {
    const chosen = choice ?? (target === 'safetensors' ? 'ema' : undefined)
    return chosen && content[chosen]
  }
  if (choice === undefined) return content.weights
  throw new Error(`${path} holds one set of weights, so there is nothing that \`weights\` ${choice} could choose.`)
}

/** Throws where what is given of the model has no use: nothing is written that tells it, or the input tells it itself. */
function refuseIdle(
  options: ConvertOptions,
  content: Content,
  at: { weights: TensorSources | undefined; target: Form; input: string; output: string },
): void {
  const { weights, target, input, output } = at
  const { heads, alignDepth, kind } = options
  const [setting, value] = Object.entries({ heads, alignDepth, kind }).find(([, each]) => each !== undefined) ?? []
  const given = setting && `\`${setting}\` ${value}`
  if (given === undefined) return
  if (weights !== undefined && target !== 'folder') {
    throw new Error(
      `${given} is of the model of a checkpoint, and ${output} is to hold one set of weights, which is written as it is; leave it out.`,
    )
  }
  if (weights === undefined && content.kind === 'training' && content.tellsModel) {
    throw new Error(
      `${given} is of a model that a file does not tell; ${input} is a checkpoint folder, which tells all of it; leave it out.`,
    )
  }
}

/** A run at step 0 that begins with these weights. */
async function startOfTraining(
  { named, said }: { readonly named: TensorSources; readonly said: ScriptArguments },
  options: ConvertOptions,
  path: string,
  notes: string[],
): Promise<TrainingCheckpoint> {
  const weights = withCanonicalNames(named)
  const { stated, kind, heads, path: interpolant, otherPath } = said
  if (otherPath !== undefined) {
    throw new Error(
      `${path} was trained on the path ${otherPath}, which is neither linear nor cosine, and no run here goes on with that; a .safetensors ` +
        'file or a torch file takes its weights.',
    )
  }
  if (stated) {
    requireAsStated(path, stated, options)
    requireTensorsOf(stated, headersOf(path, weights))
  }
  const known = { ...(kind && { kind }), ...(heads !== undefined && { heads }), ...knowledgeOf(options) }
  const model = stated ?? (await modelConfigOf(weights, known, path, notes))
  const entries = transformerEntries(model)
  const tensors = fitted(entries, weights, 'weights', path)
  const moments = zeroMoments(entries)
  notes.push('There is no optimizer state in it: the checkpoint is of step 0, its EMA equal to the weights.')
  const training = trainingSchema.parse({ ...settingsOf(model, {}, notes), path: interpolant })
  const configuration = z.json().parse({ data: '', training })
  return {
    state: { step: 0, updates: 0, skipped: 0, seed: training.seed, model, configuration },
    tensors: { weights: tensors, ema: tensors, firstMoments: moments, secondMoments: moments },
  }
}

function knowledgeOf({ heads, alignDepth, kind, setting, path }: ReadingOptions): ModelKnowledge {
  return {
    path,
    ...(setting && { setting }),
    ...(heads !== undefined && { heads }),
    ...(alignDepth !== undefined && { alignDepth }),
    ...(kind !== undefined && { kind }),
  }
}

async function openInput(path: string, options: ReadingOptions, notes: string[]): Promise<Input> {
  const isFolder = (await statusOf(path)).isDirectory()
  const form = isFolder ? 'folder' : isShardIndex(path) ? 'safetensors' : formOfFile(path)
  if (form !== 'torch' && options.key !== undefined) {
    throw new Error(`\`key\` chooses among the state dicts of a torch file; ${path} is none.`)
  }
  if (form !== 'torch' && options.inert !== undefined) {
    throw new Error(`\`inert\` names classes in a torch file; ${path} is none.`)
  }
  if (form === 'folder') {
    const folder = await openCheckpointFolder(path)
    const { checkpoint } = folder
    const { ema, weights: model } = checkpoint.tensors
    const { configuration, model: config, seed } = checkpoint.state
    const metadata = argumentsMetadata(referenceArgumentsOf(configuration, config, seed))
    return {
      content: { kind: 'training', ema, model, metadata, tellsModel: true, training: async () => checkpoint },
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    }
  }
  if (form === 'safetensors') {
    const file = await openSafetensors(path)
    return {
      content: { kind: 'weights', weights: sourcesOf(file), metadata: file.metadata },
      [Symbol.asyncDispose]: () => file.close(),
    }
  }
  const file = await TorchCheckpoint.open(path, options.inert ? { inertGlobals: options.inert } : {})
  try {
    return { content: torchContent(file, options, notes), [Symbol.asyncDispose]: () => file.close() }
  } catch (error) {
    await file.close()
    throw error
  }
}

function torchContent(file: TorchCheckpoint, options: ReadingOptions, notes: string[]): Content {
  const { key } = options
  const { value } = file
  // Of other state dicts than the model's they say nothing.
  const isOfModel = key === undefined || MODEL_KEYS.includes(key)
  const metadata = isOfModel ? argumentsMetadata(argumentsIn(value)) : {}
  if (key !== undefined || !isReferenceCheckpoint(value)) {
    return { kind: 'weights', weights: torchSourcesOf(file, chooseStateDict(file, key)), metadata }
  }
  return {
    kind: 'training',
    metadata,
    ema: torchSourcesOf(file, file.stateDict(['ema'])),
    model: torchSourcesOf(file, file.stateDict(['model'])),
    tellsModel: false,
    training: () => readReferenceCheckpoint(file, value, knowledgeOf(options), notes),
  }
}

function formOfFile(path: string): 'torch' | 'safetensors' {
  const extension = extname(path).toLowerCase()
  if (TORCH_EXTENSIONS.includes(extension)) return 'torch'
  if (extension === SAFETENSORS_EXTENSION) return 'safetensors'
  throw new Error(
    `${path}: the kind of file is told by its extension, and ${extension === '' ? 'it has none' : `${extension} is none of them`}; ` +
      `expected ${[...TORCH_EXTENSIONS, SAFETENSORS_EXTENSION].join(', ')}, or a checkpoint's folder.`,
  )
}

/** A name without an extension is a folder's. */
function outputForm(path: string): Form {
  return extname(basename(path)) === '' ? 'folder' : formOfFile(path)
}

/** Throws where the output exists and may not be replaced. A folder gives way only where it is a checkpoint. */
async function requireFree(output: string, form: Form, force: boolean): Promise<void> {
  const found = await ifThere(stat(output))
  if (found === undefined) return
  if (!force) throw new Error(`${output} exists already; \`force\` replaces it, or choose another name.`)
  if (found.isDirectory() !== (form === 'folder')) {
    throw new Error(`${output} is a ${found.isDirectory() ? 'folder' : 'file'} and cannot be replaced by the other.`)
  }
  if (form !== 'folder') return
  const expected = new Set([STATE_FILE, ...CHECKPOINT_FILES.map(({ file }) => file)])
  const strange = (await readdir(output)).find((name) => !expected.has(name))
  if (strange !== undefined) {
    throw new Error(`${output} is a folder with ${strange} in it, so it is no checkpoint and is not replaced.`)
  }
}
