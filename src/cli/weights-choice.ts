import type { LoadedModel } from '../training/load-model.ts'

/** A word to who asks by --weights for a set of weights, of a file that holds one and does not tell which; undefined where there is none to say. */
export function idleChoice(
  { source, weights }: Pick<LoadedModel, 'source' | 'weights'>,
  asked: 'ema' | 'model',
): string | undefined {
  if (weights !== undefined || asked === 'ema') return undefined
  return `${source} holds one set of weights, and does not tell which: --weights ${asked} chooses nothing.`
}
