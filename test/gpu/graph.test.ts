import { describe, expect, test } from 'vitest'
import { memoryStats, resetDevice, setMemoryLimit, trimMemory } from '../../src/tensor/device.ts'
import { Graph } from '../../src/tensor/graph.ts'
import { add } from '../../src/tensor/ops/elementwise.ts'
import { linear } from '../../src/tensor/ops/linear.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { DEVICES } from '../tensor/devices.ts'

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a graph on ${device}`, () => {
    /** 2x, 4x and 8x of a tensor, the last kept: temporary memory between. */
    const eightfold = (x: Tensor) =>
      scope(() => {
        const twice = add(x, x)
        const fourfold = add(twice, twice)
        return add(fourfold, fourfold)
      })

    test('runs again on what its inputs hold by then', async () => {
      using x = Tensor.full([1000], 1, device)
      const { graph, result } = Graph.capture(device, () => keep(eightfold(x)))
      for (const value of [1, 2.5, -3]) {
        x.write(new Float32Array(1000).fill(value))
        graph.replay()
        expect(new Set(await result.data())).toEqual(new Set([8 * value]))
      }
      graph.dispose()
      result.dispose()
    })

    test('has memory of its own, which nobody else gets between two replays', async () => {
      using x = Tensor.full([4096], 1, device)
      const { graph, result } = Graph.capture(device, () => keep(eightfold(x)))
      // As large as the graph's temporary tensors, which are free: they must not be taken for these.
      const others = Array.from({ length: 8 }, (_, i) => Tensor.full([4096], i, device))
      graph.replay()
      for (const [i, other] of others.entries()) {
        expect(new Set(await other.data())).toEqual(new Set([i]))
        other.dispose()
      }
      expect(new Set(await result.data())).toEqual(new Set([8]))
      result.dispose()
      // Written to by the replay though its tensor is gone: not to be handed out either.
      using after = Tensor.full([4096], 5, device)
      graph.replay()
      expect(new Set(await after.data())).toEqual(new Set([5]))
      graph.dispose()
    })

    test('has memory that counts towards the limit', () => {
      using x = Tensor.full([2 ** 16], 1, device)
      const { graph, result } = Graph.capture(device, () => keep(eightfold(x)))
      result.dispose()
      trimMemory(device)
      const { limitBytes, liveBytes, cachedBytes } = memoryStats(device)
      expect(cachedBytes).toBeGreaterThan(0)
      setMemoryLimit(device, liveBytes + cachedBytes + 2 ** 17)
      try {
        expect(() => Tensor.empty([2 ** 16], device)).toThrow(/out of memory/)
      } finally {
        setMemoryLimit(device, limitBytes)
        graph.dispose()
      }
    })

    test('gives its memory back', () => {
      using x = Tensor.full([4096], 1, device)
      const before = memoryStats(device)
      for (let i = 0; i < 20; i++) {
        const { graph, result } = Graph.capture(device, () => keep(eightfold(x)))
        graph.replay()
        result.dispose()
        graph.dispose()
      }
      const { liveBytes, systemAllocations } = memoryStats(device)
      expect(liveBytes).toBe(before.liveBytes)
      expect(systemAllocations - before.systemAllocations).toBeLessThanOrEqual(3)
    })

    test.each<[string, (x: Tensor) => unknown, RegExp]>([
      [
        'writes from the host',
        (x) => x.write(new Float32Array(8)),
        /Writing to a tensor from the host is not possible/,
      ],
      ['makes a tensor from host values', () => Tensor.from(new Float32Array(8), [8], device), /Writing to a tensor/],
      ['reads', (x) => x.data(), /Reading a tensor is not possible while a step is captured/],
      ['captures', () => Graph.capture(device, () => {}), /Another capture is not possible/],
    ])('refuses a body that %s, and leaves the device as it was', async (_, body, sentence) => {
      using x = Tensor.full([8], 1, device)
      const captured = async () => {
        const { graph, result } = Graph.capture(device, () => body(x))
        graph.dispose()
        await result
      }
      await expect(captured()).rejects.toThrow(sentence)
      resetDevice(device)
      expect([...(await x.data())]).toEqual(Array(8).fill(1))
    })

    test('a body with an operation that fails leaves the device as it was', async () => {
      using x = Tensor.full([8], 1, device)
      // More rows than the kernels count to, and no element: the operation is refused where its kernel would be enqueued.
      using rows = Tensor.empty([2 ** 30, 0], device)
      using weight = Tensor.empty([0, 0], device)
      const body = () => scope(() => keep(linear(rows, { weight, bias: undefined })))
      expect(() => Graph.capture(device, body)).toThrow(/^linear: a product of .* 2\^30\.$/)
      const { graph, result } = Graph.capture(device, () => keep(eightfold(x)))
      graph.replay()
      expect([...(await result.data())]).toEqual(Array(8).fill(8))
      result.dispose()
      graph.dispose()
    })

    test('gives free memory back to the system while it is captured, where it needs the room', async () => {
      using x = Tensor.full([2 ** 16], 1, device)
      trimMemory(device)
      const { limitBytes, liveBytes } = memoryStats(device)
      // Freed, and kept as a block that is too large for what comes, and leaves no room for it.
      Tensor.full([2 ** 17], 2, device).dispose()
      setMemoryLimit(device, liveBytes + 2 ** 19 + 2 ** 17)
      try {
        const { graph, result } = Graph.capture(device, () => keep(add(x, x)))
        expect(memoryStats(device).cachedBytes).toBe(0)
        graph.replay()
        expect(new Set(await result.data())).toEqual(new Set([2]))
        result.dispose()
        graph.dispose()
      } finally {
        setMemoryLimit(device, limitBytes)
        trimMemory(device)
      }
    })

    test('a body that throws leaves no graph and no memory behind', async () => {
      using x = Tensor.full([8], 1, device)
      const { liveBytes } = memoryStats(device)
      const body = () =>
        scope(() => {
          add(x, x)
          throw new Error('no')
        })
      expect(() => Graph.capture(device, body)).toThrow('no')
      expect(memoryStats(device).liveBytes).toBe(liveBytes)
      expect([...(await x.data())]).toEqual(Array(8).fill(1))
    })
  })
}
