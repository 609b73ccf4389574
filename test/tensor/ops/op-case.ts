import { describe, test } from 'vitest'
import type { Device } from '../../../src/tensor/device.ts'
import type { ComputeDType } from '../../../src/tensor/dtype.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { collect } from '../../../src/tensor/scope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { computeDType, Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random, roundTo } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded, type Rounding } from '../rounding.ts'
import { expectSameBits } from '../same-bits.ts'

/** An op on named inputs, beside its float64 reference. */
export interface OpCase<Name extends string = string> {
  readonly name: string
  readonly inputs: Readonly<Record<Name, NdArray>>
  /** Inputs that come in the dtype in which the model computes; the others are f32 in any. */
  readonly compute?: readonly NoInfer<Name>[]
  readonly op: (inputs: Readonly<Record<Name, Tensor>>, device: Device, dtype: ComputeDType) => Tensor
  /** The result. */
  readonly forward: () => NdArray
  /** The gradients of the inputs that have one, from the result's. */
  readonly backward?: (dOut: NdArray) => Partial<Record<Name, NdArray>>
  /** By `out` and the inputs' names. */
  readonly rounding: (dOut: NdArray) => Readonly<Record<string, Rounding>>
}

/** Lets a table of cases of different input names be one array. */
export function opCase<Name extends string>(table: OpCase<Name>): OpCase {
  return table as OpCase
}

/** Draws an input: `random`, its values rounded to what the case's dtype holds. */
export type Draw = typeof random

/**
 * Forward and every gradient of every case on every device, against the references. A family whose ops compute in bf16 and f16
 * too gives its cases as a function of how to draw inputs, and runs in every dtype that the device computes in.
 */
export function testOps(family: string, cases: readonly OpCase[] | ((draw: Draw) => readonly OpCase[])): void {
  for (const { device, missing } of DEVICES) {
    const dtypes: readonly ComputeDType[] = device === 'cpu' || Array.isArray(cases) ? ['f32'] : ['f32', 'bf16', 'f16']
    for (const dtype of dtypes) {
      const draw: Draw = (...options) => map(random(...options), (value) => roundTo(dtype, value))
      const table = typeof cases === 'function' ? cases(draw) : cases
      describe.skipIf(missing)(`${family} on ${device}${dtypes.length > 1 ? ` in ${dtype}` : ''}`, () => {
        testCases(table, device, dtype)
      })
    }
  }
}

function testCases(cases: readonly OpCase[], device: Device, dtype: ComputeDType): void {
  test.each(cases)('$name', async (table) => {
    const expected = table.forward()
    const dOut = map(random(expected.shape, 977), (value) => roundTo(dtype, value))
    const rounding = table.rounding(dOut)
    const wanted = table.backward?.(dOut) ?? {}

    using run = differentiate(table, dOut, device, dtype, Object.keys(wanted))
    const check = async (name: string, tensor: Tensor, exact: NdArray, bound: Rounding) =>
      expectRounded(name, await ndArray(tensor), exact, bound, dtype, isNarrow(tensor) ? dtype : 'f32')
    await check('out', run.out, expected, rounding.out!)
    for (const [name, gradient] of Object.entries(wanted)) {
      await check(`d ${name}`, run.gradientOf(name), gradient!, rounding[name]!)
    }

    // Without a tape nothing is kept for a backward pass, and the result has the same bits.
    const { result, made } = collect(() => table.op(tensorsOf(table, device, dtype), device, dtype), false)
    expectSameBits('out without a tape', (await ndArray(result)).data, (await ndArray(run.out)).data)
    for (const tensor of made) tensor.dispose()
  })
}

function tensorsOf(table: OpCase, device: Device, dtype: ComputeDType): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(table.inputs).map(([name, value]) => [
      name,
      table.compute?.includes(name) ? uploadAs(value, device, dtype) : upload(value, device),
    ]),
  )
}

function differentiate(table: OpCase, dOut: NdArray, device: Device, dtype: ComputeDType, watched: readonly string[]) {
  const inputs = tensorsOf(table, device, dtype)
  using tape = new Tape()
  tape.watch(...watched.map((name) => inputs[name]!))
  const out = tape.record(() => table.op(inputs, device, dtype))
  if (watched.length > 0) tape.seed(out, uploadAs(dOut, device, computeDType(out)))
  const gradients = watched.length > 0 ? tape.backward() : undefined
  return {
    out,
    gradientOf: (name: string) => {
      const gradient = gradients?.get(inputs[name]!)
      if (!gradient) throw new Error(`${table.name}: there is no gradient of ${name}.`)
      return gradient
    },
    [Symbol.dispose]: () => {
      gradients?.dispose()
      out.dispose()
      for (const tensor of Object.values(inputs)) tensor.dispose()
    },
  }
}

export function upload(a: NdArray, device: Device): Tensor {
  return Tensor.from(Float32Array.from(a.data), a.shape, device)
}

export function uploadAs(a: NdArray, device: Device, dtype: ComputeDType): Tensor {
  const values = upload(a, device)
  const converted = cast(values, dtype)
  if (converted !== values) values.dispose()
  return converted
}

function isNarrow({ dtype }: Tensor): boolean {
  return dtype === 'bf16' || dtype === 'f16'
}

export async function ndArray(tensor: Tensor): Promise<NdArray> {
  if (!isNarrow(tensor)) return fromValues(tensor.shape, await tensor.dataAs(tensor.dtype))
  using wide = cast(tensor, 'f32')
  return fromValues(tensor.shape, await wide.data())
}
