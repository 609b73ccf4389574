import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SiT } from '../../src/models/sit.ts'
import type { Device } from '../../src/tensor/device.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { random } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || device === 'cpu')(`dynamic loss scaling in fp16 on ${device}`, () => {
    let model: SiT

    beforeEach(async () => {
      const size = { depth: 1, hidden: 16, heads: 2, patch: 2 }
      model = SiT.create(size, { classes: 3, channels: 4, inputSize: [4, 4], device })
      // A fresh SiT is zero behind its blocks: it has no gradient before its last layer.
      const weights = model.arena.array('weights')
      weights.write(Float32Array.from(random([weights.elements], 1, 0.3).data))
      model.computeIn('f16')
    })

    afterEach(() => model[Symbol.dispose]())

    function step(optimizer: AdamW): void {
      lossOf(model, optimizer.scaling, device).dispose()
      optimizer.step()
    }

    test('a scale that overflows is halved until it does not, and until then nothing changes', async () => {
      const before = await model.arena.array('weights').data()
      using optimizer = new AdamW(model.arena, { lossScale: 2 ** 26 })
      let last = await optimizer.state()
      for (let skipped = 1; ; skipped++) {
        step(optimizer)
        const state = await optimizer.state()
        if (state.finite) break
        expect(state).toMatchObject({ updates: 0, skipped, lossScaling: { scale: 2 ** (26 - skipped), steps: 0 } })
        expect(await model.arena.array('weights').data()).toEqual(before)
        expect(skipped).toBeLessThan(26)
        last = state
      }
      expect(last.skipped).toBeGreaterThan(0)
      expect(await optimizer.state()).toMatchObject({
        updates: 1,
        lossScaling: { scale: last.lossScaling!.scale, steps: 1 },
      })
      expect(await model.arena.array('weights').data()).not.toEqual(before)
    })

    test('the gradient is that of float32 where without a scale float16 loses it', async () => {
      // With small weights in the last layer, what comes back through it is below float16's smallest number in many places.
      const last = model.entries.find(({ name }) => name === 'final_layer.linear.weight')!
      using weight = model.arena.view('weights', last)
      weight.write((await weight.data()).map((value) => value * 2 ** -14))
      const gradients = async (lossScale: number, dtype: 'f32' | 'f16') => {
        model.computeIn(dtype)
        using optimizer = new AdamW(model.arena, { lossScale })
        lossOf(model, optimizer.scaling, device).dispose()
        return (await model.arena.array('gradients').data()).map((value) => value / (lossScale || 1))
      }
      const [exact, scaled, plain] = [
        await gradients(0, 'f32'),
        await gradients(4096, 'f16'),
        await gradients(0, 'f16'),
      ]
      const lost = (values: Float32Array) => exact.filter((value, i) => value !== 0 && values[i] === 0).length
      // What is 0 because its terms cancel need not be so where they are rounded to float16: it is small beside the largest then.
      const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      const cancelled = scaled.filter((_, i) => exact[i] === 0)
      expect(cancelled.every((value) => Math.abs(value) < 2 ** -10 * largest)).toBe(true)
      expect(lost(scaled)).toBe(0)
      expect(lost(plain)).toBeGreaterThan(100)
    })
  })
}

/** A pass over two samples, and its loss. */
function lossOf(model: SiT, scaling: Tensor | undefined, device: Device): Tensor {
  const normal = (seed: number) => Tensor.from(Float32Array.from(random([2, 4, 4, 4], seed).data), [2, 4, 4, 4], device)
  using latents = normal(1)
  using noise = normal(2)
  using condition = Tensor.from(Int32Array.of(0, 2), [2], device)
  using t = Tensor.from(Float32Array.of(0.25, 0.75), [2], device)
  const batch = { latents, noise, condition, t, targets: [] }
  return forwardBackward(model, batch, { objective: new SiTObjective(), alignWeight: 0, scaling }).denoising
}
