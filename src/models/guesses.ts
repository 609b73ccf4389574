/** What a file leaves to a guess of its model, and a model setting that is believed there, for nothing else can say it. */
import { assumedConvention, assumedHeads, type TransformerKnowledge } from './infer-transformer.ts'
import type { SiTConvention } from './sit.ts'
import type { AnyTransformerConfig, TransformerKind } from './transformer-kinds.ts'

/** What of a computation no tensor need show. */
export interface Guessable {
  readonly kind: TransformerKind
  readonly heads: number
  /** Of a SiT. */
  readonly convention?: SiTConvention | undefined
}

/** Of an inferred configuration what neither shapes nor `told`, what is known besides, tell. */
export function guessesIn(
  shapes: ReadonlyMap<string, readonly number[]>,
  what: string,
  inferred: AnyTransformerConfig,
  told: TransformerKnowledge,
): readonly (keyof Guessable)[] {
  // A head with the input's channels is a SiT's of REPA, or of any other code; its script's arguments tell.
  const isPlain = !inferred.learnSigma && told.kind === undefined
  return [
    ...(isPlain ? (['kind'] as const) : []),
    ...(assumedHeads(shapes, what, inferred, told) === undefined ? [] : (['heads'] as const)),
    ...(isPlain || assumedConvention(shapes, what, inferred, {}) !== undefined ? (['convention'] as const) : []),
  ]
}

/** What of a setting is believed: where there are guesses, as far as it says something. */
export function believedOf(setting: Partial<Guessable>, guesses: readonly (keyof Guessable)[]): Partial<Guessable> {
  const said = guesses.filter((key) => setting[key] !== undefined)
  return Object.fromEntries(said.map((key) => [key, setting[key]]))
}

/** A sentence for each guess in whose place another kind or direction of time is believed than is usual. */
export function departures(
  what: string,
  inferred: Partial<Guessable>,
  setting: Partial<Guessable>,
  guesses: readonly (keyof Guessable)[],
): string[] {
  return (
    guesses
      // A guess at heads is by the width alone, and no reason to doubt a setting.
      .filter((key) => key !== 'heads')
      .filter((key) => setting[key] !== undefined && setting[key] !== inferred[key])
      .map(
        (key) =>
          `${what} does not tell its model's ${key}: ${setting[key]} is taken, as the model setting says; ` +
          `without it ${inferred[key]} would be.`,
      )
  )
}
