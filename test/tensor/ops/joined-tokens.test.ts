import { describe, expect, test } from 'vitest'
import { type NativeErrorCode, native } from '../../../src/native.ts'
import { joinTokens, splitTokens } from '../../../src/tensor/ops/tokens.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, roundTo, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/joined-tokens.ts'
import { DEVICES } from '../devices.ts'
import { narrowTensor, narrowValues } from '../narrow.ts'
import { opCase, testOps } from './op-case.ts'

/** Everything here is a copy. */
const EXACT = { roundings: 0, scale: 0 }

/**
 * [B, M, N, D]: of single elements and of 16 bytes, one of the two of no whole number of them; MMDiT's 77 and 256 tokens; runs of more than a
 * piece of the CPU's; and nothing on either side.
 */
const SHAPES = [
  [1, 1, 1, 1],
  [2, 1, 3, 5],
  [1, 3, 1, 72],
  [3, 1, 257, 33],
  [2, 4, 3, 2],
  [2, 77, 256, 24],
  [3, 7, 5, 1030],
  [1, 40, 3, 2304],
  [2, 0, 3, 8],
  [2, 3, 0, 5],
] as const

testOps('joinTokens', (draw) =>
  SHAPES.map(([batch, before, behind, width]) => {
    const [first, rest] = [draw([batch, before, width], 1), draw([batch, behind, width], 2)]
    return opCase({
      name: `[${first.shape}] and [${rest.shape}]`,
      inputs: { first, rest },
      compute: ['first', 'rest'],
      op: (t) => joinTokens(t.first, t.rest),
      forward: () => reference.joinTokens(first, rest),
      backward: (dOut) => {
        const [dFirst, dRest] = reference.splitTokens(dOut, before)
        return { first: dFirst, rest: dRest }
      },
      rounding: () => ({ out: EXACT, first: EXACT, rest: EXACT }),
    })
  }),
)

/** What becomes of the two parts, and of the gradient that comes back. Of a part that nothing reads it is zeros. */
const USES: readonly {
  name: string
  of: (parts: readonly [Tensor, Tensor]) => Tensor
  forward: (parts: readonly [NdArray, NdArray]) => NdArray
  backward: (dOut: NdArray, parts: readonly [NdArray, NdArray]) => readonly [NdArray, NdArray]
}[] = [
  {
    name: 'both, in the other order',
    of: ([before, behind]) => joinTokens(behind, before),
    forward: ([before, behind]) => reference.joinTokens(behind, before),
    backward: (dOut, [, behind]) => {
      const [dBehind, dBefore] = reference.splitTokens(dOut, behind.shape[1]!)
      return [dBefore, dBehind]
    },
  },
  {
    name: 'the first alone',
    of: ([before]) => before,
    forward: ([before]) => before,
    backward: (dOut, [, behind]) => [dOut, zeros(behind.shape)],
  },
  {
    name: 'the rest alone',
    of: ([, behind]) => behind,
    forward: ([, behind]) => behind,
    backward: (dOut, [before]) => [zeros(before.shape), dOut],
  },
]

testOps('splitTokens', (draw) =>
  SHAPES.flatMap(([batch, before, behind, width]) =>
    USES.map((use) => {
      const x = draw([batch, before + behind, width], 1)
      const parts = reference.splitTokens(x, before)
      return opCase({
        name: `${before} of [${x.shape}], ${use.name}`,
        inputs: { x },
        compute: ['x'],
        op: (t) => use.of(splitTokens(t.x, before)),
        forward: () => use.forward(parts),
        backward: (dOut) => ({ x: reference.joinTokens(...use.backward(dOut, parts)) }),
        rounding: () => ({ out: EXACT, x: EXACT }),
      })
    }),
  ),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`joined tokens on ${device}`, () => {
    // Of 16 columns, so that all but the beginning is a whole number of units of 16 bytes.
    test.each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))(
      'of views that begin beside such a unit, in %s',
      async (dtype) => {
        const draw = (shape: readonly number[], seed: number) =>
          map(random(shape, seed), (value) => roundTo(dtype, value))
        const [first, rest] = [draw([2, 3, 16], 1), draw([2, 5, 16], 2)]
        const beside = (x: NdArray) => {
          const memory = narrowTensor(
            { shape: [x.data.length + 1], data: Float64Array.of(9, ...x.data) },
            device,
            dtype,
          )
          return memory.view(1, x.shape)
        }
        const { joined, before, behind } = scope(() => {
          const out = joinTokens(beside(first), beside(rest))
          const [a, b] = splitTokens(beside(reference.joinTokens(first, rest)), 3)
          return { joined: out, before: a, behind: b }
        })
        const values = await Promise.all([joined, before, behind].map(narrowValues))
        for (const tensor of [joined, before, behind]) tensor.dispose()
        expect(values).toEqual([reference.joinTokens(first, rest), first, rest])
      },
    )

    test('a split that nothing reads leaves no gradient', () => {
      const x = Tensor.zeros([1, 3, 2], device)
      const tape = new Tape()
      tape.watch(x)
      tape.record(() => void splitTokens(x, 1))
      using other = Tensor.zeros([1], device)
      tape.watch(other)
      tape.seed(other, Tensor.full([1], 1, device))
      const gradients = tape.backward()
      expect(gradients.get(x)).toBeUndefined()
      gradients.dispose()
      x.dispose()
    })

    const t = (shape: readonly number[], dtype: 'f32' | 'bf16' | 'i32' = 'f32') => Tensor.empty(shape, device, dtype)
    const expected = device === 'cpu' ? 'f32.' : 'f32, bf16 or f16.'
    const refused: readonly (readonly [message: string, code: NativeErrorCode, call: () => unknown])[] = [
      [
        'joinTokens: rest has shape [2, 3, 5]; expected [2, 3, 4].',
        'ERR_SHAPE',
        () => joinTokens(t([2, 1, 4]), t([2, 3, 5])),
      ],
      [
        'joinTokens: rest has shape [1, 3, 4]; expected [2, 3, 4].',
        'ERR_SHAPE',
        () => joinTokens(t([2, 1, 4]), t([1, 3, 4])),
      ],
      ['joinTokens: first has shape [2, 4]; expected [B, M, D].', 'ERR_SHAPE', () => joinTokens(t([2, 4]), t([2, 4]))],
      [
        `joinTokens: first is i32; expected ${expected}`,
        'ERR_DTYPE',
        () => joinTokens(t([2, 1, 4], 'i32'), t([2, 1, 4], 'i32')),
      ],
      ['joinTokens: rest is bf16; expected f32.', 'ERR_DTYPE', () => joinTokens(t([2, 1, 4]), t([2, 1, 4], 'bf16'))],
      [
        'joinTokens: there is neither a first nor a rest; give one of them at least.',
        'ERR_INVALID_ARGUMENT',
        () => native().joinTokens(null, null, 3),
      ],
      [
        'joinTokens: zeros is -1; expected the number of tokens of what is left out, 0 where nothing is.',
        'ERR_INVALID_ARGUMENT',
        () => native().joinTokens(t([2, 1, 4]).handle, null, -1),
      ],
      [
        'joinTokens: zeros is 1; expected the number of tokens of what is left out, 0 where nothing is.',
        'ERR_INVALID_ARGUMENT',
        () => native().joinTokens(t([2, 1, 4]).handle, t([2, 1, 4]).handle, 1),
      ],
      ['splitTokens: x has shape [4]; expected [B, N, D].', 'ERR_SHAPE', () => splitTokens(t([4]), 1)],
      ['splitTokens: first is 4; x has 3 tokens.', 'ERR_INVALID_ARGUMENT', () => splitTokens(t([2, 3, 4]), 4)],
      ['splitTokens: first is -1; x has 3 tokens.', 'ERR_INVALID_ARGUMENT', () => splitTokens(t([2, 3, 4]), -1)],
      [`splitTokens: x is i32; expected ${expected}`, 'ERR_DTYPE', () => splitTokens(t([2, 3, 4], 'i32'), 1)],
    ]
    test.each(refused)('%s', (message, code, call) => {
      scope(() => expect(call).toThrow(expect.objectContaining({ code, message })))
    })
  })
}
