import { expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { mergeSubset, takeSubset } from '../../../src/tensor/ops/token-subset.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { random } from '../../reference/array.ts'
import { gatherTokens, gatherTokensBackward } from '../../reference/gather-tokens.ts'
import { mergeTokens, mergeTokensBackward, placesOf } from '../../reference/token-subset.ts'
import { DEVICES } from '../devices.ts'
import { opCase, testOps } from './op-case.ts'

/** Copies, and sums of a copy and a zero. */
const EXACT = { out: { roundings: 0, scale: 0 }, x: { roundings: 0, scale: 0 }, base: { roundings: 0, scale: 0 } }

/** Every third or so of a sample's tokens, others in each. */
function idsOf(batch: number, tokens: number, taken: number): Int32Array {
  return Int32Array.from({ length: batch * taken }, (_, i) => {
    const [sample, m] = [Math.floor(i / taken), i % taken]
    const gap = Math.floor(tokens / taken)
    return m * gap + (sample % gap)
  })
}

const SHAPES = [
  [1, 1, 1, 1],
  [3, 9, 5, 7],
  [2, 65, 17, 72],
  [2, 257, 128, 33],
  [4, 16, 16, 8],
  [1, 4, 2, 1030],
] as const

const subsetOn = (device: string, ids: Int32Array, [batch, tokens, taken]: readonly number[]) => ({
  ids: Tensor.from(ids, [batch!, taken!], device),
  places: Tensor.from(placesOf(ids, batch!, tokens!), [batch!, tokens!], device),
})

testOps(
  'takeSubset',
  SHAPES.map((shape) => {
    const [batch, tokens, taken, width] = shape
    const ids = idsOf(batch, tokens, taken)
    const x = random([batch, tokens, width], 1)
    return opCase({
      name: `${taken} of [${x.shape}]`,
      inputs: { x },
      op: (t, device) => takeSubset(t.x, subsetOn(device, ids, shape)),
      forward: () => gatherTokens(x, ids),
      backward: (dOut) => ({ x: gatherTokensBackward(dOut, ids, tokens).dx }),
      rounding: () => EXACT,
    })
  }),
)

testOps(
  'mergeSubset',
  SHAPES.map((shape) => {
    const [batch, tokens, taken, width] = shape
    const ids = idsOf(batch, tokens, taken)
    const base = random([batch, tokens, width], 1)
    const x = random([batch, taken, width], 2)
    return opCase({
      name: `${taken} into [${base.shape}]`,
      inputs: { base, x },
      op: (t, device) => mergeSubset(t.base, t.x, subsetOn(device, ids, shape)),
      forward: () => mergeTokens(base, x, ids, base.shape),
      backward: (dOut) => {
        const { dBase, dX } = mergeTokensBackward(dOut, ids)
        return { base: dBase, x: dX }
      },
      rounding: () => EXACT,
    })
  }),
)

for (const { device, missing } of DEVICES) {
  test.skipIf(missing)(`mergeTokens on ${device} of no such place: NaN there, and nowhere else`, async () => {
    const x = random([1, 2, 3], 1)
    const out = scope(() => {
      const places = Tensor.from(Int32Array.of(1, -1, 2, -2), [1, 4], device)
      const on = Tensor.from(Float32Array.from(x.data), x.shape, device)
      return new Tensor(native().mergeTokens(null, on.handle, places.handle), device)
    })
    const taken = Float32Array.from(x.data.subarray(3))
    const none = new Array<number>(6).fill(Number.NaN)
    expect(await out.data()).toEqual(Float32Array.from([...taken, 0, 0, 0, ...none]))
    out.dispose()
  })
}

for (const { device, missing } of DEVICES) {
  const t = (shape: readonly number[], dtype: 'f32' | 'i32' = 'f32') => Tensor.empty(shape, device, dtype).handle
  const refused: readonly (readonly [message: string, call: () => unknown])[] = [
    [
      'mergeTokens: there is neither a base nor x; give one of them at least.',
      () => native().mergeTokens(null, null, t([1, 2], 'i32')),
    ],
    [
      'mergeTokens: base has shape [1, 3, 2]; expected [1, 2, 2].',
      () => native().mergeTokens(t([1, 3, 2]), t([1, 1, 2]), t([1, 2], 'i32')),
    ],
    [
      'mergeTokens: x has shape [1, 1, 3]; expected [1, 1, 2].',
      () => native().mergeTokens(t([1, 2, 2]), t([1, 1, 3]), t([1, 2], 'i32')),
    ],
    [
      'drawTokens: 3 of 2 tokens are to be drawn; expected no more than there are.',
      () => native().drawTokens(t([1, 3], 'i32'), t([1, 2], 'i32'), 0n, 0, 0, 0),
    ],
    [
      'drawTokens: first is 562949953421312; expected not negative, and a last element below 2^50.',
      () => native().drawTokens(t([1, 1], 'i32'), t([1, 2], 'i32'), 0n, 0, 0, 2 ** 49),
    ],
  ]
  test.skipIf(missing).each(refused)(`on ${device}: %s`, (message, call) => {
    scope(() => expect(call).toThrow(message))
  })
}
