import { type NdArray, zeros } from './array.ts'

/**
 * Rotary positions: queries and keys of qkv [B, T, 3·H·d] become x cos + rotateHalf(x) sin, cos and sin [T, d], rotateHalf(x) having
 * −x[2i+1] at 2i and x[2i] at 2i+1.
 */
export function rotate(qkv: NdArray, cos: NdArray, sin: NdArray, heads: number): NdArray {
  const out = zeros(qkv.shape)
  out.data.set(qkv.data)
  eachPair(qkv, cos, heads, (at, table) => {
    const [x0, x1] = [qkv.data[at], qkv.data[at + 1]]
    out.data[at] = x0 * cos.data[table] - x1 * sin.data[table]
    out.data[at + 1] = x1 * cos.data[table + 1] + x0 * sin.data[table + 1]
  })
  return out
}

export function rotateBackward(dOut: NdArray, cos: NdArray, sin: NdArray, heads: number): NdArray {
  const dx = zeros(dOut.shape)
  dx.data.set(dOut.data)
  eachPair(dOut, cos, heads, (at, table) => {
    const [d0, d1] = [dOut.data[at], dOut.data[at + 1]]
    dx.data[at] = d0 * cos.data[table] + d1 * sin.data[table + 1]
    dx.data[at + 1] = d1 * cos.data[table + 1] - d0 * sin.data[table]
  })
  return dx
}

/** `at`: where a pair of a query or key begins; `table`: where its cosines and sines do. */
function eachPair(
  { shape, data }: NdArray,
  cos: NdArray,
  heads: number,
  body: (at: number, table: number) => void,
): void {
  const [, tokens, packed] = shape
  const d = cos.shape[1]
  for (let at = 0; at < data.length; at += 2) {
    const column = at % packed
    if (column < 2 * heads * d) body(at, (Math.floor(at / packed) % tokens) * d + (column % d))
  }
}
