import { matchingLoss } from '../tensor/ops/contrast.ts'
import { mean } from '../tensor/ops/loss.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import type { FeatureLoss } from './repa.ts'

/** Tokens that are told apart at a time: their similarities are 64 MiB. */
const CONTRASTED_TOKENS = 4096

/** Images whose tokens are told apart, of so many tokens each. */
export const contrastedImages = (tokens: number) => Math.max(1, Math.floor(CONTRASTED_TOKENS / tokens))

/**
 * NT-Xent (arXiv 2002.05709), which REPA's ablation has in the cosine's place: each projected token is to find its own feature among
 * those of other tokens, by cosines over a temperature. The paper does not say which others, nor the temperature; here they are the
 * tokens of the same image and of its neighbours in the batch, as many images as 4096 tokens hold.
 */
export function ntXent(temperature: number): FeatureLoss {
  return (projection, target, weight, scaling) => {
    const [batch, tokens, width] = projection.shape as [number, number, number]
    const group = contrastedImages(tokens) * tokens
    const rows = [batch * tokens, width]
    return mean(matchingLoss(reshape(projection, rows), target.reshape(rows), { group, temperature, weight, scaling }))
  }
}
