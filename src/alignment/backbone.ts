import { type FileTensor, renamedState } from '../models/renamed-state.ts'
import { listed } from '../models/state-shapes.ts'
import type { StateSource } from '../nn/state-dict.ts'

export interface BackboneOptions {
  /** What the family is called in messages. */
  readonly family: string
  /** The file's name of a tensor, of those behind the prefix, in the model; undefined: known and not wanted. Default: the same. */
  readonly rename?: (name: string) => string | undefined
  /** A tensor by which the backbone is found. Default `cls_token`. */
  readonly landmark?: string
}

/** What stands before a backbone's names, and how it is found: by the landmark with another tensor of its own beside it. */
export interface BackbonePlace {
  readonly family: string
  readonly landmark: string
  readonly beside: string
}

/**
 * The backbone among a file's tensors, under the model's names. Training writes it beside heads, under a prefix
 * (`module.`, `backbone.`, `module.base_encoder.`), maybe of student and teacher both, of which the teacher counts.
 */
export function backboneState(
  file: StateSource,
  { family, rename = (name) => name, landmark = 'cls_token' }: BackboneOptions,
): StateSource {
  const prefix = backbonePrefix(file, { family, landmark, beside: 'pos_embed' })
  const tensors = new Map<string, FileTensor>()
  for (const from of file.names) {
    const name = from.startsWith(prefix) ? rename(from.slice(prefix.length)) : undefined
    if (name !== undefined) tensors.set(name, { from })
  }
  return renamedState(file, tensors)
}

/**
 * What stands before the backbone's names.
 *
 * @throws Error, in a sentence, where there is none
 */
export function backbonePrefix(file: StateSource, { family, landmark, beside }: BackbonePlace): string {
  const prefixes = file.names
    .filter((name) => name === landmark || name.endsWith(`.${landmark}`))
    .map((name) => name.slice(0, -landmark.length))
  const prefix =
    prefixes.find((found) => found === '' || found.startsWith('teacher.')) ??
    prefixes.find((found) => found.endsWith('base_encoder.')) ??
    prefixes[0]
  if (prefix !== undefined && file.names.includes(`${prefix}${beside}`)) return prefix
  const transformers = file.names.some((name) => /(^|\.)embeddings\.(cls_token|patch_embeddings)/.test(name))
  const sought = landmark === beside ? `no ${landmark}` : `no ${landmark} with a ${beside} beside it`
  throw new Error(
    transformers
      ? `${file.name} names its tensors as the Transformers library does; expected the file that ${family} publishes.`
      : `${file.name} holds no ${family} weights: it has ${sought}. ${listed(file.names)}`,
  )
}
