import type { LoadedModel } from '../training/load-model.ts'
import type { Output } from './output.ts'

/** Warns who asks by --weights for a set of weights of a file that holds one and does not tell which. */
export function warnOfIdleChoice(
  { source, weights }: Pick<LoadedModel, 'source' | 'weights'>,
  asked: 'ema' | 'model',
  out: Output,
): void {
  if (weights !== undefined || asked === 'ema') return
  out.warn(`${source} holds one set of weights, and does not tell which: --weights ${asked} chooses nothing.`)
}
