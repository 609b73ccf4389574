// Attention, forward and backward, one head at a time and block by block, as in FlashAttention-2 (arXiv 2307.08691):
// the scores of a block of queries against a block of keys exist only in a thread's scratch, and backward makes them
// again from the saved log-sum-exp.
//
// All products are tileProducts. Each needs one operand whose rows are Vecs; what lies the wrong way in qkv is
// transposed while it is packed, and a transposed left operand costs nothing:
//
//   forward, per key block and query block          backward
//     S  [queries, keys] = Q Kt                       P  [queries, keys] = 2^(Q Kt - lse)
//     P  = 2^(S - max), in place                      dS [queries, keys] = P * (dO Vt - delta)
//     O  [queries, d]    = O * correction + P V       dV [keys, d]      += transpose(P) dO
//                                                     dK [keys, d]      += transpose(dS) Q
//                                                     dQ [queries, d]    = dS K
//
// Exponentials are to the base 2: Q is packed times scale * log2(e), which makes e^(scale s) a plain 2^s. So is lse: taken to e and back, a
// large one would come back as another number, and P no longer sum to one.
#include "cpu/attention.h"

#include "cpu/attention_backward.h"
#include "cpu/attention_forward.h"

namespace repa::cpu {

template <>
const AttentionKernels& attentionKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr AttentionKernels table = {REPA_LEVEL::forwardScratchFloats, REPA_LEVEL::forward<false>,
                                             REPA_LEVEL::forward<true>, REPA_LEVEL::backwardScratchFloats,
                                             REPA_LEVEL::backward};
  return table;
}

}  // namespace repa::cpu
