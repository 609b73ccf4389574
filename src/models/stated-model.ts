/** What a file of weights that was written here says of its model: all of it, for tensors do not show all. */
import { parseJson } from '../configuration/json.ts'
import { parseStored } from '../configuration/stored.ts'
import { misfitsOf, type StateSource } from '../nn/state-dict.ts'
import { transformerEntries } from './diffusion-transformer.ts'
import type { SiTConvention } from './sit.ts'
import { type AnyTransformerConfig, type TransformerKind, transformerConfigSchema } from './transformer-kinds.ts'

/** The argument of a torch checkpoint, and the metadata key of a safetensors file, that has the configuration as JSON. */
export const MODEL_STATEMENT = 'repa_native_model'

export function modelStatement(config: AnyTransformerConfig): Readonly<Record<string, string>> {
  return { [MODEL_STATEMENT]: JSON.stringify(config) }
}

/**
 * The model that the file `name` states by this text, where it has one.
 *
 * @throws {AnotherVersionError} where a version of repa-native wrote it that has other settings; {ConfigurationError} where it is none
 */
export function statedModel(text: string | undefined, name: string): AnyTransformerConfig | undefined {
  if (text === undefined) return undefined
  const what = `${name}, "${MODEL_STATEMENT}"`
  return parseStored(transformerConfigSchema, parseJson(text, what), what)
}

/** @throws {Error} that lists what is missing, surplus or misshapen, where a file's tensors are not those of the model that it states */
export function requireTensorsOf(
  stated: AnyTransformerConfig,
  file: Pick<StateSource, 'name' | 'names' | 'shapeOf'>,
): void {
  const misfits = misfitsOf(transformerEntries(stated), file)
  if (misfits === undefined) return
  throw new Error(`${file.name} states a model ("${MODEL_STATEMENT}") that its tensors are not of: ${misfits}.`)
}

/** What somebody says of a model that a file may state. */
export interface AskedModel {
  readonly heads?: number | undefined
  readonly kind?: TransformerKind | undefined
  /** Of a SiT. */
  readonly convention?: SiTConvention | undefined
  readonly alignDepth?: number | undefined
}

/** @throws {RangeError} where something else is asked for than `file` states of its model */
export function requireAsStated(file: string, stated: AnyTransformerConfig, asked: AskedModel): void {
  const { heads, kind, alignDepth } = stated
  const found = { heads, kind, convention: stated.kind === 'SiT' ? stated.convention : undefined, alignDepth }
  for (const key of ['heads', 'kind', 'convention', 'alignDepth'] as const) {
    const wanted = asked[key]
    if (wanted === undefined || wanted === found[key]) continue
    throw new RangeError(
      `${file} is of a model with ${key} ${found[key] ?? 'none'}, not ${wanted}; leave it out, the checkpoint says what it is.`,
    )
  }
}
