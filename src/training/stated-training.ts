import { parseJson } from '../configuration/json.ts'
import { parseStored } from '../configuration/stored.ts'
import { type TrainingConfiguration, trainingSchema } from './configuration.ts'

/** The argument of a torch checkpoint (`args`) that holds all settings of a run that was trained here, as JSON: most have no name in REPA. */
export const TRAINING_STATEMENT = 'repa_native_training'

/**
 * Its value, not checked yet; undefined where there is none. `path` names the file.
 *
 * @throws {ConfigurationError} where it is no JSON
 */
export function trainingStatement(args: Readonly<Record<string, unknown>>, path: string): unknown {
  const text = args[TRAINING_STATEMENT]
  return typeof text === 'string' ? parseJson(text, whatOf(path)) : undefined
}

/**
 * The settings that it holds.
 *
 * @throws {ConfigurationError} where they are none
 */
export function statedTraining(
  args: Readonly<Record<string, unknown>>,
  path: string,
): TrainingConfiguration | undefined {
  const statement = trainingStatement(args, path)
  return statement === undefined ? undefined : parseStored(trainingSchema, statement, whatOf(path))
}

const whatOf = (path: string) => `${path}: args, "${TRAINING_STATEMENT}"`
