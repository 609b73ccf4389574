import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SiT } from '../../src/models/sit.ts'
import { native } from '../../src/native.ts'
import {
  memoryStats,
  resetDevice,
  resetPeakMemory,
  setMemoryLimit,
  synchronize,
  trimMemory,
} from '../../src/tensor/device.ts'
import { add } from '../../src/tensor/ops/elementwise.ts'
import { linear } from '../../src/tensor/ops/linear.ts'
import { mean } from '../../src/tensor/ops/loss.ts'
import { randomNormal, randomTimesteps } from '../../src/tensor/random.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { deviceOfProcess, mostProcesses } from '../distributed/gpus-of-processes.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'
import { runProgram } from './run-program.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`the device ${device}`, () => {
    const stats = () => memoryStats(device)

    describe('its queue', () => {
      test('runs in order: each read sees what was enqueued before it and nothing after', async () => {
        using x = Tensor.zeros([1000], device)
        const reads: Promise<Float32Array>[] = []
        for (let i = 1; i <= 200; i++) {
          native().fill(x.handle, i)
          reads.push(x.data())
          x.write(new Float32Array(1000).fill(-i))
          reads.push(x.data())
        }
        const seen = (await Promise.all(reads)).map((values) => new Set(values))
        expect(seen).toEqual(Array.from({ length: 400 }, (_, i) => new Set([(i % 2 === 0 ? 1 : -1) * (1 + (i >> 1))])))
      })

      test('a tensor disposed at once is read by the work before, also where its memory is taken again', async () => {
        const results: Tensor[] = []
        for (let i = 0; i < 100; i++) {
          const a = Tensor.full([4096], i, device)
          results.push(add(a, a))
          a.dispose()
        }
        for (const [i, result] of results.entries()) {
          expect(new Set(await result.data())).toEqual(new Set([2 * i]))
          result.dispose()
        }
      })

      test('synchronize waits, and answers in order', async () => {
        const order: number[] = []
        await Promise.all([0, 1, 2, 3].map((i) => synchronize(device).then(() => order.push(i))))
        expect(order).toEqual([0, 1, 2, 3])
      })

      const { count: most, lacking } = missing ? { count: 0 } : mostProcesses(device)
      test.skipIf(most < 2)(`calls return and timers fire while it is busy${lacking ? ` (${lacking})` : ''}`, () => {
        const { status, stdout, stderr } = runProgram('busy', {
          args: [0, 1].map((rank) => deviceOfProcess(device, rank)),
        })
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
        expect(JSON.parse(stdout)).toEqual([
          'calls have returned',
          ...Array(3).fill('a timer has fired'),
          'nobody else comes.',
          'it goes on: 3',
        ])
      })

      test('a reset of a device that is well changes nothing', async () => {
        using x = Tensor.full([3], 1, device)
        resetDevice(device)
        expect([...(await x.data())]).toEqual([1, 1, 1])
      })

      test('host values are copied when the call returns', async () => {
        const values = Float32Array.of(1, 2, 3)
        using x = Tensor.from(values, [3], device)
        values.fill(0)
        expect([...(await x.data())]).toEqual([1, 2, 3])
      })

      test('host values may be shared with other threads', async () => {
        const shared = new Float32Array(new SharedArrayBuffer(12), 4, 2)
        shared.set([1, 2])
        using x = Tensor.from(shared, [2], device)
        shared[1] = 3
        using y = Tensor.zeros([2], device)
        y.write(shared)
        expect([...(await x.data()), ...(await y.data())]).toEqual([1, 2, 1, 3])
      })

      test('an array that grows while it is read is as long as it was', async () => {
        const coefficients = [2]
        Object.defineProperty(coefficients, 0, {
          get() {
            coefficients.push(...new Array(100_000).fill(1))
            return 2
          },
        })
        const x = Tensor.full([2], 3, device)
        const combined = native().linearCombination(coefficients, [x.handle])
        expect([...new Float64Array(await native().read(combined))]).toEqual([6, 6])
        native().dispose(combined)
        x.dispose()
      })

      // A read's memory belongs to JS: writing to it, and freeing the tensor, disturb nothing.
      test('what is read is a copy', async () => {
        const x = Tensor.full([3], 1, device)
        const first = await x.data()
        first.fill(9)
        expect([...(await x.data())]).toEqual([1, 1, 1])
        const pending = x.data()
        x.dispose()
        expect([...(await pending)]).toEqual([1, 1, 1])
      })
    })

    describe('disposed tensors', () => {
      const code = 'ERR_DISPOSED'

      test('name the call and the argument', () => {
        const x = Tensor.zeros([2], device)
        using y = Tensor.zeros([2], device)
        x.dispose()
        const message = (op: string, argument: string) =>
          `${op}: ${argument} was disposed; use a tensor only before its dispose() or the end of its scope.`
        expect(() => add(x, y)).toThrow(expect.objectContaining({ code, message: message('add', 'a') }))
        expect(() => add(y, x)).toThrow(expect.objectContaining({ code, message: message('add', 'b') }))
        expect(() => x.shape).toThrow(expect.objectContaining({ code, message: message('shapeOf', 'tensor') }))
        expect(() => x.write(new Float32Array(2))).toThrow(expect.objectContaining({ code }))
        expect(() => native().read(x.handle)).toThrow(expect.objectContaining({ code }))
      })

      test('a second dispose does nothing', () => {
        const before = stats().liveBytes
        const x = Tensor.zeros([2], device)
        x.dispose()
        x.dispose()
        expect(stats().liveBytes).toBe(before)
      })

      test('are not taken for those that come after them', async () => {
        const x = Tensor.full([2], 1, device)
        const { handle } = x
        x.dispose()
        using y = Tensor.full([2], 2, device)
        expect(() => native().read(handle)).toThrow(expect.objectContaining({ code }))
        native().dispose(handle)
        expect([...(await y.data())]).toEqual([2, 2])
      })

      test('an alias lives on, and the memory with the last of them', async () => {
        const before = stats().liveBytes
        const x = Tensor.full([64], 3, device)
        const alias = x.alias()
        const row = x.view(60, [4])
        x.dispose()
        alias.dispose()
        expect(stats().liveBytes).toBeGreaterThan(before)
        expect([...(await row.data())]).toEqual([3, 3, 3, 3])
        row.dispose()
        expect(stats().liveBytes).toBe(before)
      })
    })

    describe('its memory', () => {
      let limit: number
      beforeEach(() => {
        limit = stats().limitBytes
      })
      afterEach(() => {
        setMemoryLimit(device, limit)
        trimMemory(device)
      })

      test('counts what is live, cached and at most was', async () => {
        trimMemory(device)
        resetPeakMemory(device)
        const before = stats()
        expect(before).toMatchObject({ cachedBytes: 0, peakBytes: before.liveBytes })
        const tensors = [1 << 20, 1 << 20, 1 << 18].map((floats) => Tensor.zeros([floats], device))
        const bytes = 4 * ((1 << 21) + (1 << 18))
        expect(stats().liveBytes - before.liveBytes).toBe(bytes)
        for (const tensor of tensors) tensor.dispose()
        expect(stats()).toMatchObject({
          liveBytes: before.liveBytes,
          cachedBytes: bytes,
          peakBytes: before.liveBytes + bytes,
          systemAllocations: before.systemAllocations + 3,
        })
        Tensor.zeros([1 << 20], device).dispose()
        expect(stats()).toMatchObject({ cachedBytes: bytes, systemAllocations: before.systemAllocations + 3 })
        resetPeakMemory(device)
        expect(stats().peakBytes).toBe(before.liveBytes)
        trimMemory(device)
        expect(stats().cachedBytes).toBe(0)
      })

      test('an allocation beyond the limit names the op, the size and what is in use; the process goes on', async () => {
        trimMemory(device)
        const before = stats().liveBytes
        using x = Tensor.full([1 << 20], 3, device)
        setMemoryLimit(device, stats().liveBytes + (6 << 20))
        const used = Math.ceil(stats().liveBytes / (1 << 20))
        const total = Math.ceil(stats().limitBytes / (1 << 20))
        using y = add(x, x)
        const refused = {
          code: 'ERR_OUT_OF_MEMORY',
          message: `add: out of memory: 4 MiB asked for, ${used + 4} MiB in use, limit ${total} MiB. Use a smaller batch or model.`,
        }
        for (let i = 0; i < 3; i++) expect(() => add(x, y)).toThrow(expect.objectContaining(refused))
        // Nothing is lost: not the inputs, and not what a freed block makes possible.
        expect(new Set(await y.data())).toEqual(new Set([6]))
        y.dispose()
        using z = add(x, x)
        expect(new Set(await z.data())).toEqual(new Set([6]))
        x.dispose()
        z.dispose()
        expect(stats().liveBytes).toBe(before)
      })

      test('what is smaller than the room, but not the block that it needs, is beyond the limit too', () => {
        trimMemory(device)
        const before = stats().liveBytes
        setMemoryLimit(device, before + (35 << 20))
        const [used, total] = [before, before + (35 << 20)].map((bytes) => Math.ceil(bytes / (1 << 20)))
        // Blocks of more than 32 MiB have steps of 4.
        expect(() => Tensor.empty([33 << 18], device)).toThrow(
          `empty: out of memory: 33 MiB asked for, ${used} MiB in use, limit ${total} MiB. Use a smaller batch or model.`,
        )
      })

      test('scratch beyond the limit is refused as a result is, and the device goes on', async () => {
        // A sum so long that a GPU cuts it into parts.
        using dOut = Tensor.full([16384, 16], 0.5, device)
        using x = Tensor.full([16384, 16], 2, device)
        using dWeight = Tensor.zeros([16, 16], device)
        const gradient = () => native().linearWeightGradient(dOut.handle, x.handle, dWeight.handle, false)
        trimMemory(device)
        setMemoryLimit(device, stats().liveBytes)
        expect(gradient).toThrow(
          expect.objectContaining({
            code: 'ERR_OUT_OF_MEMORY',
            message: expect.stringMatching(
              /^linearWeightGradient: (the scratch of a product: )?out of memory: \d+ MiB asked for, /,
            ),
          }),
        )
        expect(new Set(await dWeight.data())).toEqual(new Set([0]))
        setMemoryLimit(device, limit)
        gradient()
        expect(new Set(await dWeight.data())).toEqual(new Set([16384]))
      })

      test('cached blocks of other sizes give way to a new one', () => {
        trimMemory(device)
        setMemoryLimit(device, stats().liveBytes + (8 << 20))
        for (let i = 0; i < 4; i++) Tensor.zeros([1 << 19], device).dispose()
        const small = Array.from({ length: 3 }, () => Tensor.zeros([1 << 19], device))
        for (const tensor of small) tensor.dispose()
        expect(stats().cachedBytes).toBe(6 << 20)
        using large = Tensor.zeros([7 << 18], device)
        expect(large.elements).toBe(7 << 18)
        expect(stats().cachedBytes).toBe(0)
      })

      test('a failed op in a scope leaves nothing behind', () => {
        trimMemory(device)
        using x = Tensor.zeros([256, 1024], device)
        using weight = Tensor.zeros([1024, 1024], device)
        const before = stats().liveBytes
        setMemoryLimit(device, before + (5 << 20))
        const layer = { weight, bias: undefined }
        const attempt = () =>
          scope(() => {
            const outputs: Tensor[] = []
            for (let i = 0; i < 10; i++) outputs.push(linear(x, layer))
          })
        expect(attempt).toThrow('linear: out of memory')
        expect(stats().liveBytes).toBe(before)
      })
    })

    describe('under training', () => {
      /** Steps of a small SiT: what the trainer does but for its data. */
      async function train(steps: number, after: (step: number) => void): Promise<number[]> {
        using model = SiT.create(
          { depth: 2, hidden: 48, heads: 2, patch: 2 },
          { device, inputSize: [8, 8], classes: 4, alignWidths: [16], alignDepth: 1, projectorWidth: 32 },
        )
        using optimizer = new AdamW(model.arena, { learningRate: 1e-3 })
        const losses: number[] = []
        for (let step = 0; step < steps; step++) {
          const loss = scope(() => {
            const key = { seed: 1, step } as const
            const batch = {
              latents: randomNormal([3, 4, 8, 8], { ...key, stream: 'posterior' }, device),
              condition: Tensor.from(Int32Array.of(0, 1, 4), [3], device),
              t: randomTimesteps(3, { weighting: 'uniform', path: 'linear' }, { ...key, stream: 'timesteps' }, device),
              noise: randomNormal([3, 4, 8, 8], { ...key, stream: 'noise' }, device),
              targets: [randomNormal([3, 16, 16], { ...key, stream: 'sampleNoise' }, device)],
            }
            const { denoising } = forwardBackward(model, batch, { objective: new SiTObjective(), alignWeight: 0.5 })
            optimizer.step()
            return keep(mean(denoising))
          })
          const value = loss.item()
          loss.dispose()
          losses.push(await value)
          after(step)
        }
        return losses
      }

      test('memory does not grow, and after the first steps no call reaches the system', async () => {
        const seen: { live: number; system: number; peak: number }[] = []
        const losses = await train(isShim ? 12 : 500, () => {
          const { liveBytes, systemAllocations, peakBytes } = stats()
          seen.push({ live: liveBytes, system: systemAllocations, peak: peakBytes })
        })
        expect(new Set(seen.slice(5).map(({ live }) => live)).size).toBe(1)
        expect(new Set(seen.slice(5).map(({ system }) => system)).size).toBe(1)
        expect(new Set(seen.slice(5).map(({ peak }) => peak)).size).toBe(1)
        expect(losses.every(Number.isFinite)).toBe(true)
        expect(losses.at(-1)).not.toBe(losses[0])
      })

      test('everything is given back at the end', async () => {
        const before = stats().liveBytes
        await train(3, () => {})
        expect(stats().liveBytes).toBe(before)
      })

      test('the same steps give the same bits', async () => {
        expect(await train(5, () => {})).toEqual(await train(5, () => {}))
      })
    })
  })
}
