/** The benchmark of a step that several processes share: on the shim they share its GPU. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encoderFlops, trainingFlops } from '../../src/benchmark/flops.ts'
import { benchmarkGpuStep, type GpuStepBenchmark } from '../../src/benchmark/gpu-step.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { freePort } from '../distributed/free-port.ts'
import { deviceOfProcess, mostProcesses } from '../distributed/gpus-of-processes.ts'
import { startNode } from '../native/run-program.ts'
import { DEVICES } from '../tensor/devices.ts'

const root = join(import.meta.dirname, '../..')
const encoder = { hidden: 32, depth: 1, heads: 2 }
const options = {
  model: { depth: 2, hidden: 48, heads: 2, patch: 2, classes: 10, projectorWidth: 64 },
  size: 64,
  batch: 4,
  rounds: 3,
  probeSide: 64,
  encoder,
}

for (const { device, missing } of DEVICES) {
  const { count: most, lacking = 'there is one GPU' } = missing ? { count: 0 } : mostProcesses(device)
  const reason = most < 2 ? ` (${lacking})` : ''
  describe.skipIf(missing || device === 'cpu' || most < 2)(`a shared step on ${device}${reason}`, () => {
    test.each([false, true])('is timed by two processes, as a captured graph: %s', async (cudaGraph) => {
      const port = String(await freePort())
      const ended = await Promise.all(
        [0, 1].map((rank) => {
          const program = join(import.meta.dirname, 'programs/shared-benchmark.ts')
          const words = ['--import', join(root, 'scripts/run-typescript.mjs'), program, deviceOfProcess(device, rank)]
          const place = { MASTER_ADDR: '127.0.0.1', MASTER_PORT: port, RANK: String(rank), LOCAL_RANK: String(rank) }
          return startNode([...words, JSON.stringify({ ...options, cudaGraph })], { ...place, WORLD_SIZE: '2' })
        }),
      )
      expect(ended.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
        ended.map(() => ({ status: 0, stderr: '' })),
      )
      const { model, batch, processes, ours, operations } = JSON.parse(ended[0]!.stdout) as GpuStepBenchmark
      expect([batch, processes, ours.seconds.seconds.length]).toEqual([4, 2, 3])
      const { median } = ours.seconds
      expect(ours.imagesPerSecond).toBe(4 / median)
      const vit = visionTransformerConfigSchema.parse({ ...encoder, patch: 14 })
      const flopsPerImage = trainingFlops(model, undefined) + encoderFlops(vit, 16)
      // Of this GPU, which has two of the images.
      expect(ours.flops / ((2 * flopsPerImage) / median)).toBeCloseTo(1, 12)
      // Gradients go and weights come.
      const names = operations.map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['reduceSum', 'allGather', 'awaitBegun']))
    })

    const two = Object.assign({}, ALONE, { size: 2 })
    const command = [process.execPath, 'nothing'] as const
    test.each([
      [{ batch: 3 }, 'A batch of 3 cannot be shared by 2 processes; expected a multiple of them.'],
      [{ seconds: 1 }, '2 processes are timed by themselves, for so many rounds;'],
      [{ against: { command } }, '2 processes are timed by themselves, for so many rounds;'],
    ] as const)('%o is refused', async (more, message) => {
      await expect(benchmarkGpuStep({ ...options, rounds: 7, device, world: two, ...more })).rejects.toThrow(message)
    })
  })
}
