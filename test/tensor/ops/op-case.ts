import { describe, expect, test } from 'vitest'
import type { Device } from '../../../src/tensor/device.ts'
import { collect } from '../../../src/tensor/scope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded, type Rounding } from '../rounding.ts'

/** An op on named inputs, beside its float64 reference. */
export interface OpCase<Name extends string = string> {
  readonly name: string
  readonly inputs: Readonly<Record<Name, NdArray>>
  readonly op: (inputs: Readonly<Record<Name, Tensor>>, device: Device) => Tensor
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

/** Forward and every gradient of every case on every device, against the references. */
export function testOps(family: string, cases: readonly OpCase[]): void {
  for (const { device, missing } of DEVICES) {
    describe.skipIf(missing)(`${family} on ${device}`, () => {
      test.each(cases)('$name', async (table) => {
        const expected = table.forward()
        const dOut = random(expected.shape, 977)
        const rounding = table.rounding(dOut)
        const wanted = table.backward?.(dOut) ?? {}

        using run = differentiate(table, dOut, device, Object.keys(wanted))
        expectRounded('out', await ndArray(run.out), expected, rounding.out!)
        for (const [name, gradient] of Object.entries(wanted)) {
          expectRounded(`d ${name}`, await ndArray(run.gradientOf(name)), gradient!, rounding[name]!)
        }

        // Without a tape nothing is kept for a backward pass, and the result has the same bits.
        const { result, made } = collect(() => table.op(tensorsOf(table, device), device), false)
        expect((await ndArray(result)).data).toEqual((await ndArray(run.out)).data)
        for (const tensor of made) tensor.dispose()
      })
    })
  }
}

function tensorsOf(table: OpCase, device: string): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(table.inputs).map(([name, value]) => [name, upload(value, device)]))
}

function differentiate(table: OpCase, dOut: NdArray, device: string, watched: readonly string[]) {
  const inputs = tensorsOf(table, device)
  const tape = new Tape()
  tape.watch(...watched.map((name) => inputs[name]!))
  const out = tape.record(() => table.op(inputs, device))
  if (watched.length > 0) tape.seed(out, upload(dOut, device))
  const gradients = tape.backward()
  return {
    out,
    gradientOf: (name: string) => {
      const gradient = gradients.get(inputs[name]!)
      if (!gradient) throw new Error(`${table.name}: there is no gradient of ${name}.`)
      return gradient
    },
    [Symbol.dispose]: () => {
      gradients.dispose()
      out.dispose()
      for (const tensor of Object.values(inputs)) tensor.dispose()
    },
  }
}

export function upload(a: NdArray, device: string): Tensor {
  return Tensor.from(Float32Array.from(a.data), a.shape, device)
}

export async function ndArray(tensor: Tensor): Promise<NdArray> {
  return fromValues(tensor.shape, await tensor.dataAs(tensor.dtype))
}
