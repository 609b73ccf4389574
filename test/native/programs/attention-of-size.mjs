// Attention and its gradient on cuda:0, in bf16 and for one head.
//   attention-of-size.mjs TOKENS HEAD_DIM
import { native } from './addon.mjs'

const [tokens, headDim] = process.argv.slice(2).map(Number)

function zeros(...shape) {
  const out = native.empty(shape, 'bf16', 'cuda:0')
  native.fill(out, 0)
  return out
}

const qkv = zeros(1, tokens, 3 * headDim)
const [o, lse] = native.attention(qkv, 1, true)
await native.read(native.attentionBackward(zeros(1, tokens, headDim), qkv, o, lse, 1, null, false))
