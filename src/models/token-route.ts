/**
 * TREAD's route (arXiv 2501.04765): in training, some of each sample's tokens go past a part of the blocks and come back behind them as
 * they were, so that these blocks compute fewer tokens while the loss stays one of all. It has no parameters, and sampling knows nothing
 * of it.
 */
import type { TokenSubset } from '../tensor/ops/token-subset.ts'

/** Blocks that a part of the tokens goes past, from 1: from the second at the earliest, for all tokens pass the first. */
export interface RoutedBlocks {
  readonly from: number
  /** The last of them. */
  readonly to: number
}

/** A route, of which it is not drawn yet which tokens go past. */
export interface TokenRouting extends RoutedBlocks {
  /** Of the tokens: how many go past. */
  readonly share: number
}

export interface TokenRoute extends RoutedBlocks {
  /** The tokens that these blocks see. */
  readonly kept: TokenSubset
}

/**
 * Past all of so many blocks but the first two and the last three: of B's 12 what TREAD's code has for it, which counts 2 → 8 from 0.
 * An end that is `named` is that instead.
 *
 * @throws {RangeError} where no block is left between what is named and what is not
 */
export function usualRoute(depth: number, named: Partial<RoutedBlocks> = {}): RoutedBlocks {
  const { from = 3, to = depth - 3 } = named
  if (from <= to || (named.from !== undefined && named.to !== undefined)) return { from, to }
  const isUsual = named.from === undefined && named.to === undefined
  const which = isUsual ? 'usual route,' : 'route'
  const end = named.to === undefined ? 'the last but three' : `block ${to}`
  throw new RangeError(
    `A model of ${depth} blocks has no ${which} from block ${from} to ${end}; give \`routeFrom\` and \`routeTo\`.`,
  )
}

/** Whether what leaves block `depth` is of the kept tokens alone. */
export function isInside(route: RoutedBlocks | undefined, depth: number): boolean {
  return route !== undefined && route.from <= depth && depth < route.to
}

/** How many of so many tokens are kept where a share of them goes past, rounded as TREAD's code rounds. */
export const keptTokens = (tokens: number, share: number) => tokens - Math.floor(tokens * share)
