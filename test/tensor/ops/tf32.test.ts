import { describe, expect, test } from 'vitest'
import { allowTf32, allowTf32Meanwhile, type Device } from '../../../src/tensor/device.ts'
import { linear } from '../../../src/tensor/ops/linear.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { map, type NdArray, random } from '../../reference/array.ts'
import { linear as affine, linearBackward } from '../../reference/linear.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded, largestNorm, squares } from '../rounding.ts'
import { ndArray, upload } from './op-case.ts'

/** To 10 stored bits of significand, ties away from zero (PTX's cvt.rna.tf32.f32). */
function roundToTf32(a: NdArray): NdArray {
  return map(a, (value) => {
    if (value === 0) return value
    const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10)
    return Math.sign(value) * Math.floor(Math.abs(value) / unit + 0.5) * unit
  })
}

const exactly = (a: NdArray): NdArray => map(a, Math.fround)

/** Rows, outputs and inputs of 4 numbers' multiples, which the tensor cores' copies take; and none, whose products stay fp32's. */
const SHAPES = [
  { m: 33 * 4, n: 24, k: 72, rounds: true },
  { m: 19, n: 7, k: 13, rounds: false },
] as const

async function products(device: Device, operands: Readonly<Record<'x' | 'weight' | 'dOut', NdArray>>) {
  using x = upload(operands.x, device)
  using weight = upload(operands.weight, device)
  const tape = new Tape()
  tape.watch(x, weight)
  using out = tape.record(() => linear(x, { weight, bias: undefined }))
  tape.seed(out, upload(operands.dOut, device))
  const gradients = tape.backward()
  const read = {
    out: await ndArray(out),
    'd x': await ndArray(gradients.get(x)!),
    'd weight': await ndArray(gradients.get(weight)!),
  }
  gradients.dispose()
  return read
}

function reference({ x, weight, dOut }: Readonly<Record<'x' | 'weight' | 'dOut', NdArray>>) {
  const { dx, dWeight } = linearBackward(dOut, x, weight, undefined)
  return { out: affine(x, weight, undefined), 'd x': dx, 'd weight': dWeight }
}

for (const { device, missing } of DEVICES.filter((entry) => entry.device !== 'cpu')) {
  describe.skipIf(missing)(`tf32 on ${device}`, () => {
    test.each(SHAPES)('operands of $m x $k by $n x $k are rounded where they are aligned: $rounds', async (shape) => {
      const { m, n, k, rounds } = shape
      const operands = {
        x: exactly(random([m, k], 1)),
        weight: exactly(random([n, k], 2)),
        dOut: exactly(random([m, n], 3)),
      }
      const rounded = rounds
        ? { x: roundToTf32(operands.x), weight: roundToTf32(operands.weight), dOut: roundToTf32(operands.dOut) }
        : operands
      const norms = reference({
        x: squares(operands.x),
        weight: squares(operands.weight),
        dOut: squares(operands.dOut),
      })
      const terms = { out: k, 'd x': n, 'd weight': m }
      const check = async (expected: ReturnType<typeof reference>) => {
        const actual = await products(device, operands)
        for (const name of ['out', 'd x', 'd weight'] as const) {
          // A product of two tf32 numbers is a float32 exactly; the chip may cut off what a sum of eight of them leaves over.
          const roundings = 2 * terms[name] + 1
          expectRounded(name, actual[name], expected[name], { roundings, scale: largestNorm(norms[name]) })
        }
        return actual
      }
      const plain = await check(reference(operands))
      {
        using _coarse = allowTf32Meanwhile(device, true)
        const coarse = await check(reference(rounded))
        expect(coarse.out.data.some((value, i) => value !== plain.out.data[i])).toBe(rounds)
        {
          using _fine = allowTf32Meanwhile(device, false)
          expect(await products(device, operands)).toEqual(plain)
        }
        expect(await products(device, operands)).toEqual(coarse)
      }
      expect(await products(device, operands)).toEqual(plain)
      // Of two that overlap, the one that began last has its say, and both of them leave it as it was.
      const [first, second] = [allowTf32Meanwhile(device, true), allowTf32Meanwhile(device, true)]
      first[Symbol.dispose]()
      const beside = await products(device, operands)
      second[Symbol.dispose]()
      first[Symbol.dispose]()
      expect(await products(device, operands)).toEqual(plain)
      expect(beside.out.data.some((value, i) => value !== plain.out.data[i])).toBe(rounds)
    })
  })
}

test('the CPU has none, and says so', () => {
  expect(() => allowTf32('cpu', true)).toThrow(
    "Products cannot be made in tf32 on cpu; only a GPU's tensor cores make them.",
  )
  allowTf32('cpu', false)
})
