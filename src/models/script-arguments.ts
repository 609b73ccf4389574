import * as z from 'zod'
import type { InterpolantPath } from '../native.ts'
import { MODEL_STATEMENT, statedModel } from './stated-model.ts'
import { type AnyTransformerConfig, kindOfName, type TransformerKind } from './transformer-kinds.ts'
import type { WeightsFile } from './weights-file.ts'

const heads = z.union([
  z.int().positive(),
  // Metadata are texts.
  z
    .string()
    .regex(/^[1-9]\d*$/)
    .transform(Number),
])

/** What of a training script's arguments is looked at; a value of another type is another script's, and says nothing here. */
const argumentsSchema = z.object({
  model: z.string().optional().catch(undefined),
  num_heads: heads.optional().catch(undefined),
  path_type: z.string().optional().catch(undefined),
  [MODEL_STATEMENT]: z.string().optional().catch(undefined),
})

/** The interpolants by REPA's names, and by those of the original SiT. */
export const SCRIPT_PATHS: Readonly<Record<string, InterpolantPath>> = {
  linear: 'linear',
  cosine: 'cosine',
  Linear: 'linear',
  GVP: 'cosine',
}

/**
 * What the arguments of the script that trained a file say of a model and its tensors do not show: they stand in a torch checkpoint's `args`,
 * and in the metadata of a safetensors file that was made of one.
 */
export interface ScriptArguments {
  /** All of the model, of a file that was written here. */
  readonly stated: AnyTransformerConfig | undefined
  readonly kind: TransformerKind | undefined
  readonly heads: number | undefined
  readonly path: InterpolantPath | undefined
  /** The script's name of a path that samplers here do not have. */
  readonly otherPath: string | undefined
}

/**
 * The arguments beside a file's weights. `onNotice` is told of a path that samplers here do not have.
 *
 * @throws {ConfigurationError} where it states a model that is none
 */
export function scriptArguments(
  { name, args, metadata }: Pick<WeightsFile, 'name' | 'args' | 'metadata'>,
  onNotice?: (sentence: string) => void,
): ScriptArguments {
  const said = argumentsSchema.parse({ ...metadata, ...args })
  const { model, path_type: path } = said
  const otherPath = path !== undefined && !Object.hasOwn(SCRIPT_PATHS, path) ? path : undefined
  if (otherPath !== undefined) {
    const hint = otherPath === 'VP' ? ': sampleTransportOde of the library has it' : ''
    onNotice?.(`${name} was trained on the path ${otherPath}, which is neither linear nor cosine${hint}.`)
  }
  const stated = statedModel(said[MODEL_STATEMENT], name)
  return {
    stated,
    kind: stated?.kind ?? kindOfName(model),
    heads: stated?.heads ?? said.num_heads,
    path: path === undefined || otherPath !== undefined ? undefined : SCRIPT_PATHS[path],
    otherPath,
  }
}

/** Those of the arguments that `scriptArguments` looks at, as a safetensors file's metadata. */
export function argumentsMetadata(args: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  const said = Object.entries(argumentsSchema.parse(args)).filter(([, value]) => value !== undefined)
  return Object.fromEntries(said.map(([key, value]) => [key, String(value)]))
}

/** Whether `scriptArguments` looks at this argument. */
export function isScriptArgument(key: string): boolean {
  return Object.hasOwn(argumentsSchema.shape, key)
}
