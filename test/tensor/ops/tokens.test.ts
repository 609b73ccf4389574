import { dropTokens, prependTokens, takeTokens } from '../../../src/tensor/ops/tokens.ts'
import { fromValues, type NdArray, random, zeros } from '../../reference/array.ts'
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

/** Tokens [first, end) of every sample. */
function between(x: NdArray, first: number, end: number): NdArray {
  const [batch, tokens, width] = x.shape
  const sample = (b: number) => [...x.data.subarray((b * tokens + first) * width, (b * tokens + end) * width)]
  return fromValues([batch, end - first, width], Array.from({ length: batch }, (_, b) => sample(b)).flat())
}

const EXACT = { out: { roundings: 0, scale: 0 } }

testOps(
  'dropTokens',
  SHAPES.flatMap(([batch, tokens, width]) =>
    [...new Set([0, 1, tokens - 1])].map((first) => {
      const x = random([batch, tokens, width], 1)
      return opCase({
        name: `${first} of [${x.shape}]`,
        inputs: { x },
        op: (t) => dropTokens(t.x, first),
        forward: () => between(x, first, tokens),
        rounding: () => EXACT,
      })
    }),
  ),
)

testOps(
  'takeTokens',
  SHAPES.flatMap(([batch, tokens, width]) =>
    [
      [0, 1],
      [0, tokens],
      [tokens - 1, tokens],
      [Math.floor(tokens / 2), Math.floor(tokens / 2)],
    ].map(([first, end]) => {
      const x = random([batch, tokens, width], 1)
      return opCase({
        name: `${first} to ${end} of [${x.shape}]`,
        inputs: { x },
        op: (t) => takeTokens(t.x, first, end - first),
        forward: () => between(x, first, end),
        rounding: () => EXACT,
      })
    }),
  ),
)
