import { expect, test } from 'vitest'
import { dropTokens, firstToken, gatherTokens, prependTokens, takeTokens } from '../../../src/tensor/ops/tokens.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random, reshape, zeros } from '../../reference/array.ts'
import { gatherTokens as gathered, gatherTokensBackward } from '../../reference/gather-tokens.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
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

/** Gradients of the patches and of what every sample has: sums over the batch. */
function prependedBackward(dOut: NdArray, parts: { [P in Part]?: NdArray }): Record<string, NdArray> {
  const [batch, all] = dOut.shape
  const before = parts.classToken ? 1 : 0
  const prefix = before + (parts.registers?.shape[0] ?? 0)
  const shared = (like: NdArray | undefined, first: number): NdArray | undefined => {
    if (!like) return undefined
    const sum = zeros(like.shape)
    const every = between(dOut, first, first + like.data.length / dOut.shape[2])
    for (let i = 0; i < every.data.length; i++) sum.data[i % sum.data.length] += every.data[i]
    return batch === 0 ? zeros(like.shape) : sum
  }
  const classToken = shared(parts.classToken, 0)
  const registers = shared(parts.registers, before)
  return {
    patches: between(dOut, prefix, all),
    ...(classToken && { classToken }),
    ...(registers && { registers }),
  }
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
        backward: (dOut) => prependedBackward(dOut, parts),
        rounding: (dOut) => {
          const sums = { roundings: batch, scale: Math.sqrt(batch) * largestOf(dOut) }
          return {
            out: { roundings: 1, scale: 2 },
            patches: { roundings: 0, scale: 0 },
            classToken: sums,
            registers: sums,
          }
        },
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

const EXACT = { out: { roundings: 0, scale: 0 }, x: { roundings: 0, scale: 0 } }

/** The gradient of x [B, N, D] of which tokens from `first` on were taken. */
function betweenBackward(dOut: NdArray, tokens: number, first: number): NdArray {
  const [batch, taken, width] = dOut.shape
  const dx = zeros([batch, tokens, width])
  for (let b = 0; b < batch; b++) {
    const own = dOut.data.subarray(b * taken * width, (b + 1) * taken * width)
    dx.data.set(own, (b * tokens + first) * width)
  }
  return dx
}

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
        backward: (dOut) => ({ x: betweenBackward(dOut, tokens, first) }),
        rounding: () => EXACT,
      })
    }),
  ),
)

testOps('firstToken', (draw) =>
  SHAPES.map(([batch, tokens, width]) => {
    const x = draw([batch, tokens, width], 1)
    return opCase({
      name: `[${x.shape}]`,
      inputs: { x },
      compute: ['x'],
      op: (t) => firstToken(t.x),
      forward: () => reshape(between(x, 0, 1), [batch, width]),
      backward: (dOut) => ({ x: betweenBackward(reshape(dOut, [batch, 1, width]), tokens, 0) }),
      rounding: () => EXACT,
    })
  }),
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
        backward: (dOut) => ({ x: betweenBackward(dOut, tokens, first) }),
        rounding: () => EXACT,
      })
    }),
  ),
)

/** What the ids [B, M] of a case are: places of x's N tokens, or −1. */
const ORDERS: readonly { name: string; id: (b: number, m: number, tokens: number) => number; filled: boolean }[] = [
  { name: 'backwards', id: (_, m, tokens) => tokens - 1 - (m % tokens), filled: false },
  { name: 'others in every sample, some twice', id: (b, m, tokens) => (5 * b + 3 * m) % tokens, filled: false },
  { name: 'every third filled in', id: (b, m, tokens) => (m % 3 === 1 ? -1 : (b + m) % tokens), filled: true },
  { name: 'all filled in', id: () => -1, filled: true },
]

testOps(
  'gatherTokens',
  [
    [1, 1, 1, 1],
    [3, 5, 9, 7],
    [2, 17, 65, 72],
    [2, 257, 31, 33],
    [1, 4, 3, 1030],
  ].flatMap(([batch, tokens, taken, width]) =>
    ORDERS.map(({ name, id, filled }) => {
      const x = random([batch, tokens, width], 1)
      const fill = random([width], 2)
      const ids = Int32Array.from({ length: batch * taken }, (_, i) => id(Math.floor(i / taken), i % taken, tokens))
      const rows = batch * taken
      const inputs: Record<string, NdArray> = { x, ...(filled && { fill }) }
      return opCase({
        name: `${taken} of [${x.shape}], ${name}`,
        inputs,
        op: (t: Record<string, Tensor>, device) => gatherTokens(t.x!, Tensor.from(ids, [batch, taken], device), t.fill),
        forward: () => gathered(x, ids, filled ? fill : undefined),
        backward: (dOut) => {
          const { dx, dFill } = gatherTokensBackward(dOut, ids, tokens)
          return { x: dx, ...(filled && { fill: dFill }) }
        },
        rounding: (dOut) => ({
          out: { roundings: 0, scale: 0 },
          x: { roundings: taken, scale: Math.sqrt(taken) * largestOf(dOut) },
          fill: { roundings: rows, scale: Math.sqrt(rows) * largestOf(dOut) },
        }),
      })
    }),
  ),
)

for (const { device, missing } of DEVICES) {
  test.skipIf(missing)(`gatherTokens on ${device} of no such token: NaN there, and nowhere else`, async () => {
    const x = random([2, 2, 3], 1)
    const out = scope(() => {
      const ids = Tensor.from(Int32Array.of(0, 2, -1, -2), [2, 2], device)
      return gatherTokens(Tensor.from(Float32Array.from(x.data), x.shape, device), ids)
    })
    const first = Float32Array.from(x.data.subarray(0, 3))
    expect(await out.data()).toEqual(Float32Array.from([...first, ...new Array<number>(9).fill(Number.NaN)]))
    out.dispose()
  })
}
