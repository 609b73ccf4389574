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

/** `inferred` with the setting's in the place of guesses. `notice` is told where another kind or direction of time is usual. */
export function withSetting<T extends Guessable>(
  inferred: T,
  setting: Partial<Guessable>,
  guesses: readonly (keyof Guessable)[],
  { what, notice }: { readonly what: string; readonly notice: (sentence: string) => void },
): T {
  let believed = inferred
  for (const key of guesses) {
    // A guess at heads is by the width alone, and no reason to doubt a setting.
    if (key !== 'heads' && setting[key] !== undefined && setting[key] !== inferred[key]) {
      notice(
        `${what} does not tell its model's ${key}: ${setting[key]} is taken, as the model setting says; ` +
          `without it ${inferred[key]} would be.`,
      )
    }
    believed = { ...believed, [key]: setting[key] }
  }
  return believed
}
