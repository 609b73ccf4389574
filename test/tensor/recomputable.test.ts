import { describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { recomputable } from '../../src/tensor/recomputable.ts'
import { release, scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from './devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a tensor that is forgotten, on ${device}`, () => {
    /** 2 x and 3 x of x = [1, 2], and how often they have been computed again. */
    function scaled() {
      const x = Tensor.from(Float32Array.of(1, 2), [2], device)
      const compute = () => [2, 3].map((factor) => native().scale(x.handle, factor))
      const [twice, thrice] = compute().map((handle) => new Tensor(handle, device)) as [Tensor, Tensor]
      const counted = { x, twice, thrice, times: 0 }
      recomputable([twice, thrice], () => {
        counted.times++
        return compute()
      })
      return counted
    }

    test('takes no memory, and is there again, with its companion, when it is asked for', async () => {
      const before = memoryStats(device).liveBytes
      const made = scaled()
      const live = memoryStats(device).liveBytes
      made.twice.forget()
      made.thrice.forget()
      made.thrice.forget()
      expect(memoryStats(device).liveBytes).toBeLessThan(live)
      expect([made.twice.shape, made.twice.dtype, made.times]).toEqual([[2], 'f32', 0])
      expect([...(await made.twice.data())]).toEqual([2, 4])
      expect(memoryStats(device).liveBytes).toBe(live)
      expect([...(await made.thrice.data())]).toEqual([3, 6])
      expect(made.times).toBe(1)
      for (const tensor of [made.x, made.twice, made.thrice]) tensor.dispose()
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test('what its companion still has is not replaced', async () => {
      const made = scaled()
      const { handle } = made.thrice
      const live = memoryStats(device).liveBytes
      made.twice.forget()
      expect([...(await made.twice.data())]).toEqual([2, 4])
      expect(made.thrice.handle).toBe(handle)
      expect(memoryStats(device).liveBytes).toBe(live)
      for (const tensor of [made.x, made.twice, made.thrice]) tensor.dispose()
    })

    test('disposed, it is not computed again, neither then nor later', () => {
      const made = scaled()
      made.twice.forget()
      made.twice.dispose()
      made.twice.dispose()
      made.twice.forget()
      expect(() => native().scale(made.twice.handle, 1)).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }))
      expect(made.times).toBe(0)
      for (const tensor of [made.x, made.thrice]) tensor.dispose()
    })

    test('release() forgets while a tape records, and what nobody can compute again stays', () => {
      using tape = new Tape()
      tape.record(() => {
        const made = scaled()
        const live = memoryStats(device).liveBytes
        scope(() => release(made.x))
        expect(memoryStats(device).liveBytes).toBe(live)
        scope(() => release(made.twice))
        expect(memoryStats(device).liveBytes).toBeLessThan(live)
      })
    })
  })
}
