import { expect, test } from 'vitest'
import { ConvProjector } from '../../src/models/conv-projector.ts'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { ParameterList } from '../../src/nn/parameter-list.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectClose, fromValues, random, zeros } from '../reference/array.ts'

const [BATCH, ROWS, COLUMNS, HIDDEN, WIDTH] = [2, 3, 5, 7, 4] as const
const TOKENS = ROWS * COLUMNS

test('is torch.nn.Conv2d of 3 x 3 with a padding of 1 on the grid of tokens, weights [out, in, 3, 3]', async () => {
  const list = new ParameterList()
  const projector = new ConvProjector(list, 'projectors.0', { hidden: HIDDEN, width: WIDTH })
  const arena = new ParameterArena(list.parameters, 'cpu')
  const weight = random([WIDTH, HIDDEN, 3, 3], 1)
  const bias = random([WIDTH], 2)
  for (const [i, values] of [weight, bias].entries()) {
    expect(list.entries[i]!.shape).toEqual(values.shape)
    using view = arena.view('weights', list.entries[i]!)
    view.write(Float32Array.from(values.data))
  }
  const x = random([BATCH, TOKENS, HIDDEN], 3)
  using hidden = Tensor.from(Float32Array.from(x.data), x.shape, 'cpu')
  using projected = projector.forward(hidden, [ROWS, COLUMNS])
  const expected = zeros([BATCH, TOKENS, WIDTH])
  for (let b = 0; b < BATCH; b++) {
    for (let row = 0; row < ROWS; row++) {
      for (let column = 0; column < COLUMNS; column++) {
        for (let o = 0; o < WIDTH; o++) {
          let sum = bias.data[o]!
          for (let d = 0; d < HIDDEN; d++) {
            for (let ky = 0; ky < 3; ky++) {
              for (let kx = 0; kx < 3; kx++) {
                const [y, z] = [row + ky - 1, column + kx - 1]
                if (y < 0 || y >= ROWS || z < 0 || z >= COLUMNS) continue
                const cell = x.data[(b * TOKENS + y * COLUMNS + z) * HIDDEN + d]!
                sum += weight.data[((o * HIDDEN + d) * 3 + ky) * 3 + kx]! * cell
              }
            }
          }
          expected.data[(b * TOKENS + row * COLUMNS + column) * WIDTH + o] = sum
        }
      }
    }
  }
  // 64 terms of at most 1, added in float32.
  const atol = (9 * HIDDEN + 1) * 2 ** -24 * 9
  expectClose('projection', fromValues(projected.shape, await projected.data()), expected, { atol, rtol: 0 })
  arena.dispose()
})
