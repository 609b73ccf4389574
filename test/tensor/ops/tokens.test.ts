import { dropTokens, prependTokens } from '../../../src/tensor/ops/tokens.ts'
import { type NdArray, random, zeros } from '../../reference/array.ts'
import { opCase, testOps } from './op-case.ts'

type Part = 'positions' | 'classToken' | 'classPosition' | 'registers'

/** Rows of a sample: the class token and its position, the registers, the patches and their positions. */
function prepended(patches: NdArray, parts: { [P in Part]?: NdArray }): NdArray {
  const [batch, tokens, width] = patches.shape
  const { positions, classToken, classPosition, registers } = parts
  const rows: ((sample: number, i: number) => number)[] = []
  if (classToken) rows.push((_, i) => classToken.data[i] + (classPosition?.data[i] ?? 0))
  for (let r = 0; r < (registers?.shape[0] ?? 0); r++) rows.push((_, i) => registers!.data[r * width + i])
  for (let t = 0; t < tokens; t++) {
    rows.push((sample, i) => patches.data[(sample * tokens + t) * width + i] + (positions?.data[t * width + i] ?? 0))
  }
  const out = zeros([batch, rows.length, width])
  for (let i = 0; i < out.data.length; i++) {
    const row = Math.floor(i / width)
    out.data[i] = rows[row % rows.length](Math.floor(row / rows.length), i % width)
  }
  return out
}

const SHAPES = [
  [1, 1, 1],
  [1, 3, 72],
  [3, 257, 33],
]
const CHOICES: readonly (readonly Part[])[] = [
  [],
  ['positions'],
  ['classToken'],
  ['positions', 'classToken', 'classPosition'],
  ['positions', 'classToken', 'classPosition', 'registers'],
  ['registers'],
]

testOps(
  'prependTokens',
  SHAPES.flatMap(([batch, tokens, width]) =>
    CHOICES.map((choice) => {
      const patches = random([batch, tokens, width], 1)
      const all: Record<Part, NdArray> = {
        positions: random([tokens, width], 2),
        classToken: random([width], 3),
        classPosition: random([width], 4),
        registers: random([4, width], 5),
      }
      const parts: Record<string, NdArray> = Object.fromEntries(choice.map((part) => [part, all[part]]))
      return opCase({
        name: `[${[batch, tokens, width]}] with ${choice.join(', ') || 'nothing'}`,
        inputs: { patches, ...parts },
        op: ({ patches: x, ...rest }) => prependTokens(x!, rest),
        forward: () => prepended(patches, parts),
        rounding: () => ({ out: { roundings: 1, scale: 2 } }),
      })
    }),
  ),
)

testOps(
  'dropTokens',
  SHAPES.flatMap(([batch, tokens, width]) =>
    [0, 1, tokens - 1].map((first) => {
      const x = random([batch, tokens, width], 1)
      const kept = tokens - first
      const sample = (b: number) => x.data.subarray((b * tokens + first) * width, (b + 1) * tokens * width)
      return opCase({
        name: `${first} of [${[batch, tokens, width]}]`,
        inputs: { x },
        op: (t) => dropTokens(t.x, first),
        forward: () => ({
          shape: [batch, kept, width],
          data: Float64Array.from(Array.from({ length: batch }, (_, b) => [...sample(b)]).flat()),
        }),
        rounding: () => ({ out: { roundings: 0, scale: 0 } }),
      })
    }),
  ),
)
