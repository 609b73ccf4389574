import type * as z from 'zod'
import { ConfigurationError, parseConfiguration } from './parse.ts'

/** What another version of repa-native has stored: nothing is wrong with it, and this version cannot read it. */
export class AnotherVersionError extends ConfigurationError {}

/**
 * Checks what repa-native has stored against a schema. `path` names it in the message; `format` is the number of what this version reads,
 * where it has one, looked at before all else.
 *
 * @throws {AnotherVersionError} for another format, and for a key or a word that this version does not know; {ConfigurationError} for what
 *   no version has stored
 */
export function parseStored<S extends z.ZodType>(
  schema: S,
  json: unknown,
  path: string,
  { format }: { readonly format?: number } = {},
): z.output<S> {
  const its = formatOf(json)
  if (format !== undefined && its !== undefined && its !== format) {
    throw new AnotherVersionError(
      `${path} has format ${its}, and this version of repa-native reads format ${format}: another version wrote it; update repa-native.`,
    )
  }
  return parseConfiguration(schema, json, path, {
    unknown: (sentence) =>
      new AnotherVersionError(
        `${sentence} Another version of repa-native wrote that, or somebody by hand; go on with that version, or update this one.`,
      ),
  })
}

function formatOf(json: unknown): number | undefined {
  const format = (json as { readonly format?: unknown } | null)?.format
  return typeof format === 'number' ? format : undefined
}
