import { values } from '../nn/initialiser.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import type { SharedParts } from './adaln-block.ts'
import { rotaryPositions } from './rotary-positions.ts'

/**
 * The buffers by which each head's queries and keys are turned, `NAME.freqs_cos` and `NAME.freqs_sin`, behind the `before` tokens that stand
 * in no grid, which are not turned.
 */
export function declareRope(
  list: ParameterList,
  name: string,
  { headDim, grid, before }: { headDim: number; grid: readonly [rows: number, columns: number]; before: number },
): NonNullable<SharedParts['rope']> {
  const [rows, columns] = grid
  const tokens = before + rows * columns
  const table = (which: 'cos' | 'sin') => {
    const turns = values(() => {
      const filled = new Float32Array(tokens * headDim).fill(which === 'cos' ? 1 : 0)
      filled.set(rotaryPositions(headDim, rows, columns)[which], before * headDim)
      return filled
    })
    return list.declare(`${name}.freqs_${which}`, [tokens, headDim], turns, { trainable: false, isBuffer: true })
  }
  return { cos: table('cos'), sin: table('sin') }
}
