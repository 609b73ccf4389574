import { type HostTensor, toFloat32 } from '../tensor/host-tensor.ts'
import { sinCosPositions, TABLE_ROUNDING } from './positions.ts'

/** A state dict, of which a tensor is read when it is asked for. */
interface Evidence {
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly read: (name: string) => Promise<HostTensor>
}

/**
 * Rows and columns of the tokens whose sines and cosines a state dict's table of positions holds: 9 × 16 of them are as many as 12 × 12.
 * Undefined where it holds something else.
 */
export async function inferGrid({
  shapes,
  read,
}: Evidence): Promise<readonly [rows: number, columns: number] | undefined> {
  const [, positions = 0, hidden = 0] = shapes.get('pos_embed') ?? []
  if (hidden === 0 || hidden % 4 !== 0) return undefined
  const classTokens = shapes.has('cls_projectors2.weight') ? 1 : 0
  const tokens = positions - classTokens
  const table = toFloat32(await read('pos_embed')).subarray(classTokens * hidden)
  const isOf = ([rows, columns]: readonly [number, number]) =>
    sinCosPositions(hidden, rows, columns).every((value, i) => Math.abs(value - table[i]!) <= TABLE_ROUNDING)
  return gridsOf(tokens).find(isOf)
}

/** Of so many tokens, the squarest first. */
function gridsOf(tokens: number): readonly (readonly [rows: number, columns: number])[] {
  const rows = Array.from({ length: tokens }, (_, i) => i + 1).filter((count) => tokens % count === 0)
  const squareness = (count: number) => Math.abs(Math.log((count * count) / tokens))
  return rows.sort((a, b) => squareness(a) - squareness(b)).map((count) => [count, tokens / count])
}
