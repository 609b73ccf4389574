import { describe, expect, test } from 'vitest'
import type { Device } from '../../../src/tensor/device.ts'
import type { ComputeDType } from '../../../src/tensor/dtype.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { STATE_BYTES } from '../../../src/training/optimizer.ts'
import { fromValues, map, type NdArray, random, roundTo, scaled } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { narrowTensor, narrowValues } from '../narrow.ts'
import { expectRounded, type Rounding } from '../rounding.ts'

/** Draws an input: `random`, its values rounded to what the dtype of computation holds. */
export type Draw = typeof random

/** A loss that seeds the tape with its own gradient. */
export interface LossCase {
  readonly name: string
  readonly prediction: NdArray
  readonly target: NdArray
  /** The target comes in the dtype of computation, as the prediction does; else in f32. */
  readonly narrowTarget?: boolean
  readonly weight?: number
  readonly loss: (prediction: Tensor, target: Tensor, weight?: number, scaling?: Tensor) => Tensor
  readonly perSample: NdArray
  readonly gradient: NdArray
  readonly rounding: { readonly loss: Rounding; readonly gradient: Rounding }
}

export const dtypesOf = (device: Device): readonly ComputeDType[] =>
  device === 'cpu' ? ['f32'] : ['f32', 'bf16', 'f16']

/** An optimizer's state with this loss scale (native/core/step_state.h). */
export function stateWith(lossScale: number, device: Device): Tensor {
  const bytes = new Uint8Array(STATE_BYTES)
  new DataView(bytes.buffer).setFloat32(40, lossScale, true)
  return Tensor.from(bytes, [STATE_BYTES], device)
}

/** Keeps the gradients of all cases above float16's smallest numbers and below its largest. */
export const LOSS_SCALE = 4096

/** The loss and its gradient. */
export async function runLoss(
  table: LossCase,
  device: Device,
  dtype: ComputeDType,
  scaling?: Tensor,
): Promise<{ loss: Float32Array; gradient: NdArray }> {
  using prediction = narrowTensor(table.prediction, device, dtype)
  using target = narrowTensor(table.target, device, table.narrowTarget ? dtype : 'f32')
  using tape = new Tape()
  tape.watch(prediction)
  using loss = tape.record(() => table.loss(prediction, target, table.weight, scaling))
  const gradients = tape.backward()
  const gradient = gradients.get(prediction)!
  expect(gradient.dtype).toBe(dtype)
  const values = { loss: await loss.data(), gradient: await narrowValues(gradient) }
  gradients.dispose()
  using plain = table.loss(prediction, target, table.weight)
  expect(await plain.data()).toEqual(values.loss)
  return values
}

/** Loss and gradient are within their bounds, the latter times a loss scale, and two runs give the same bits. */
export async function expectLoss(table: LossCase, device: Device, dtype: ComputeDType): Promise<void> {
  using scaling = stateWith(LOSS_SCALE, device)
  const run = await runLoss(table, device, dtype, scaling)
  expectRounded('loss', fromValues(table.perSample.shape, run.loss), table.perSample, table.rounding.loss)
  const { roundings, scale, computeRoundings } = table.rounding.gradient
  const bound = { roundings, scale: scale * LOSS_SCALE, computeRoundings }
  expectRounded('gradient', run.gradient, scaled(table.gradient, LOSS_SCALE), bound, dtype, dtype)
}

/** Every case on every device, in every dtype that it computes in or in `dtypes` alone. */
export function testLosses(
  family: string,
  cases: (draw: Draw) => readonly LossCase[],
  dtypes?: readonly ComputeDType[],
): void {
  for (const { device, missing } of DEVICES) {
    describe.skipIf(missing).each(dtypes ?? dtypesOf(device))(`${family} on ${device} in %s`, (dtype) => {
      const draw: Draw = (...options) => map(random(...options), (value) => roundTo(dtype, value))
      test.each(cases(draw))('$name', (table) => expectLoss(table, device, dtype))
      test.each(cases(draw).slice(-1))('$name: two runs give the same bits', async (table) => {
        expect(await runLoss(table, device, dtype)).toEqual(await runLoss(table, device, dtype))
      })
    })
  }
}
