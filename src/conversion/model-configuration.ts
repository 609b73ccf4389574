import { isDeepStrictEqual } from 'node:util'
import { parseConfiguration } from '../configuration/parse.ts'
import { believedOf, departures, type Guessable, guessesIn } from '../models/guesses.ts'
import { inferGrid } from '../models/infer-grid.ts'
import { inferKind } from '../models/infer-kind.ts'
import {
  assumedConvention,
  assumedHeads,
  inferTransformerConfig,
  type TransformerKnowledge,
} from '../models/infer-transformer.ts'
import type { ScriptArguments } from '../models/script-arguments.ts'
import { withCanonicalNames } from '../models/state-dict-names.ts'
import {
  type AnyTransformerConfig,
  type TransformerKind,
  textOf,
  transformerConfigSchema,
} from '../models/transformer-kinds.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import type { TensorSources } from './training-checkpoint.ts'

/** What tensors do not show, as far as something else tells it. */
export interface ModelKnowledge {
  readonly heads?: number
  readonly kind?: TransformerKind
  readonly classes?: number
  readonly alignDepth?: number
  /** Of the run that is to go on with it: believed where the file leaves a guess. */
  readonly setting?: Partial<Guessable>
  /** Likewise. */
  readonly path?: ScriptArguments['path']
}

/**
 * A model's configuration from the names and shapes of its state dict. What they do not show is taken from `known`, or else
 * assumed, with a sentence in `notes` for each assumption.
 *
 * @throws {Error} where the tensors are not those of a SiT or a DiT
 */
export async function modelConfigOf(
  tensors: TensorSources,
  known: ModelKnowledge,
  path: string,
  notes: string[],
): Promise<AnyTransformerConfig> {
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]))
  const read = async (name: string): Promise<HostTensor> => {
    const { dtype, shape, data } = tensors.get(name)!
    return { dtype, shape, data: typeof data === 'function' ? await data() : data }
  }
  const found = known.kind === undefined ? await inferKind({ shapes, read, path }) : undefined
  if (found) notes.push(found.sentence)
  const told = { heads: known.heads, kind: known.kind ?? found?.kind, grid: await inferGrid({ shapes, read }) }
  const inferred = believing(known.setting, { shapes, path, told, notes })
  const { depth, alignWidths } = inferred
  const ofLabels = textOf(inferred)
    ? {}
    : labelsOf(shapes.get('y_embedder.embedding_table.weight')![0]!, inferred, known, notes)
  return parseConfiguration(
    transformerConfigSchema,
    {
      ...inferred,
      ...ofLabels,
      ...(alignWidths.length > 0 && { alignDepth: alignDepthOf(depth, known.alignDepth, notes) }),
    },
    `${path}: the model that its shapes tell`,
  )
}

/**
 * The model that shapes tell; a guess is as the setting says, where there is a run that has one, or assumed. A sentence in `notes` says so of
 * each.
 */
function believing(
  setting: Partial<Guessable> | undefined,
  {
    shapes,
    path,
    told,
    notes,
  }: {
    readonly shapes: ReadonlyMap<string, readonly number[]>
    readonly path: string
    readonly told: TransformerKnowledge
    readonly notes: string[]
  },
): AnyTransformerConfig {
  const inferred = inferTransformerConfig(shapes, path, told)
  const guesses = guessesIn(shapes, path, inferred, told)
  notes.push(...departures(path, inferred, setting ?? {}, guesses))
  const known = { ...told, ...believedOf(setting ?? {}, guesses) }
  const config = inferTransformerConfig(shapes, path, known)
  for (const assumed of [assumedHeads, assumedConvention]) {
    const sentence = assumed(shapes, path, config, known, setting && 'model')
    if (sentence !== undefined) notes.push(sentence)
  }
  return config
}

/** What a label table of so many rows is of. */
function labelsOf(
  labels: number,
  inferred: AnyTransformerConfig,
  known: ModelKnowledge,
  notes: string[],
): Pick<AnyTransformerConfig, 'classes' | 'classDropout'> {
  const { classes = inferred.classes } = known
  if (known.classes === undefined) {
    notes.push(`The label table of ${labels} rows is taken for ${classes} classes and the null class.`)
  }
  return { classes, classDropout: labels > classes ? inferred.classDropout : 0 }
}

function alignDepthOf(depth: number, known: number | undefined, notes: string[]): number {
  const alignDepth = Math.min(known ?? 8, depth)
  if (known === undefined || known > depth) {
    const why = known === undefined ? 'does not tell' : `says ${known} of a model of ${depth} blocks as`
    notes.push(`The file ${why} the block that is aligned: ${alignDepth} assumed; \`alignDepth\` sets it.`)
  }
  return alignDepth
}

/** What sampling depends on and tensors need not show. */
const UNSHOWN = ['kind', 'heads', 'convention', 'classes', 'inputSize', 'ddtHead', 'text', 'path'] as const

/**
 * What a reader of these tensors alone would take for another thing than `stated`, a model and the path that it learnt, said of their file;
 * undefined: nothing, or it would see that it is not told.
 */
export async function untoldBy(
  tensors: TensorSources,
  stated: AnyTransformerConfig & { readonly path: string | undefined },
  path: string,
): Promise<string | undefined> {
  let taken: Partial<Record<(typeof UNSHOWN)[number], unknown>>
  try {
    taken = { ...(await modelConfigOf(withCanonicalNames(tensors), {}, path, [])), path: 'linear' }
  } catch {
    return undefined
  }
  const own: typeof taken = stated
  const others = UNSHOWN.filter((key) => own[key] !== undefined && !isDeepStrictEqual(taken[key], own[key]))
  if (others.length === 0) return undefined
  const listed = others.map((key) => `${key} ${JSON.stringify(taken[key])}, not ${JSON.stringify(own[key])}`).join('; ')
  return `holds tensors alone, of which a reader would take the model for another: ${listed}. A .safetensors file says what it is.`
}
