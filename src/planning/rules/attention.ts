import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { attentionWorkspace, qkNormWorkspace } from '../workspace.ts'
import { reductionRules } from './reductions.ts'

/** Attention and qk-norm, as native/ops/attention.h has them. */
export const attentionRules = (planner: Planner) => {
  const sizesOf = (qkv: NativeTensor, heads: number) => {
    const [batch, tokens, packed] = [plannedOf(qkv).size(0), plannedOf(qkv).size(1), plannedOf(qkv).size(2)]
    return { batch, tokens, heads, headDim: packed / 3 / heads }
  }
  const run = (qkv: NativeTensor, heads: number, direction: 'forward' | 'backward', columnSums = false) => {
    const sizes = sizesOf(qkv, heads)
    const { threads } = planner.machine
    planner.workspace(attentionWorkspace(sizes, direction, { isCpu: isOnCpu(qkv), threads, columnSums }))
    const product = 2 * sizes.batch * heads * sizes.tokens ** 2 * sizes.headDim
    // Two products, and two gradients of each; that a backward pass makes one of them anew is no work of the model's.
    planner.ledger.addFlops((direction === 'forward' ? 2 : 4) * product)
  }
  return {
    attention: (qkv, heads, keepLse) => {
      const { batch, tokens, headDim } = sizesOf(qkv, heads)
      const o = planner.like(qkv, [batch, tokens, heads * headDim])
      const lse = keepLse ? planner.like(qkv, [batch, heads, tokens], 'f32') : null
      run(qkv, heads, 'forward')
      return [o, lse]
    },
    causalAttention: (qkv, heads) => {
      const sizes = sizesOf(qkv, heads)
      const { batch, tokens, headDim } = sizes
      const o = planner.like(qkv, [batch, tokens, heads * headDim])
      planner.workspace(
        attentionWorkspace(sizes, 'forward', {
          isCpu: isOnCpu(qkv),
          threads: planner.machine.threads,
          columnSums: false,
        }),
      )
      // Two products of the pairs that see each other.
      planner.ledger.addFlops(2 * batch * heads * tokens * (tokens + 1) * headDim)
      return o
    },
    attentionBackward: (_dO, qkv, _o, _lse, heads, dBias) => {
      const dQkv = planner.like(qkv)
      const isApart = plannedOf(qkv).dtype === 'f32'
      run(qkv, heads, 'backward', dBias !== null && !isApart)
      if (dBias && isApart) reductionRules(planner).columnSum(dQkv)
      return dQkv
    },
    rotate: () => {},
    qkNorm: (qkv, _qWeight, _qBias, _kWeight, _kBias, heads) => {
      const { batch, tokens } = sizesOf(qkv, heads)
      const statistics = [batch, tokens, 2, heads]
      return [planner.like(qkv), planner.like(qkv, statistics, 'f32'), planner.like(qkv, statistics, 'f32')]
    },
    qkNormBackward: (dNormed, qkv, _qWeight, _kWeight, _mean, _rstd, heads) => {
      const { batch, tokens, headDim } = sizesOf(qkv, heads)
      const dQkv = planner.like(dNormed)
      planner.workspace(qkNormWorkspace(batch * tokens, heads, headDim, isOnCpu(qkv)))
      return dQkv
    },
  } satisfies Partial<NativeAddon>
}
