import { type NativeTensor, native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { biasGradient, type LinearWeights, layersBackward } from './linear.ts'

/** A stream of tokens [B, T, D] and the layer that makes its queries, keys and values. */
export interface AttendingStream {
  readonly input: Tensor
  readonly layer: LinearWeights
}

/**
 * One attention over the tokens of two streams, each with a layer of its own: qkv = x Wᵀ + b of either, [B, T, 3·H·d], one behind the other
 * in every sample; what the tokens of each have attended to, [B, T, H·d]. MMDiT's (SD3, arXiv 2403.03206). One op for all, because a backward
 * pass needs of the queries, keys and values only those that stand together.
 */
export function jointAttention(
  first: AttendingStream,
  rest: AttendingStream,
  heads: number,
): { readonly first: Tensor; readonly rest: Tensor } {
  const streams = [first, rest].map(({ input, layer }) => ({ x: cast(input, computeDType(layer.weight)), layer }))
  const { x: before } = streams[0]!
  const { device } = before
  const tokens = before.shape[1]!
  const tape = recordingTape(...streams.flatMap(({ x, layer }) => [x, layer.weight, layer.bias]))
  const made = (handle: NativeTensor) => new Tensor(handle, device)
  const products = streams.map(({ x, layer: { weight, bias } }) =>
    made(native().linear(x.handle, weight.handle, bias?.handle ?? null, 'none', false, computeDType(weight))[0]),
  )
  const qkv = made(native().joinTokens(products[0]!.handle, products[1]!.handle, 0))
  for (const product of products) product.dispose()
  const [oHandle, lseHandle] = native().attention(qkv.handle, heads, tape !== undefined)
  const [o, lse] = [made(oHandle), lseHandle ? made(lseHandle) : undefined]
  const parts = native().splitTokens(o.handle, tokens)
  o.dispose()
  const attended = { first: made(parts[0]), rest: made(parts[1]) }
  if (!tape) qkv.dispose()
  tape?.push([attended.first, attended.rest], [qkv, lse], (gradients) => {
    // A pass more, and a tensor less from the one pass to the other.
    const whole = made(native().joinTokens(attended.first.handle, attended.rest.handle, 0))
    const [dFirst, dRest] = [gradients.take(attended.first), gradients.take(attended.rest)]
    // What the text has attended to in the last block nothing reads.
    const zeros = dFirst ? (dRest ? 0 : attended.rest.shape[1]!) : tokens
    const dO = made(native().joinTokens(dFirst?.handle ?? null, dRest?.handle ?? null, zeros))
    const dQkv = made(native().attentionBackward(dO.handle, qkv.handle, whole.handle, lse!.handle, heads, null, false))
    for (const read of [whole, dO]) read.dispose()
    const dProducts = native().splitTokens(dQkv.handle, tokens).map(made)
    dQkv.dispose()
    for (const [i, { x, layer }] of streams.entries()) {
      biasGradient(gradients, layer, dProducts[i]!)
      layersBackward(gradients, x, [], [layer], 'none', dProducts[i]!)
    }
  })
  return attended
}
