// One of several processes that time a training step together: `shared-benchmark.ts DEVICE OPTIONS`. Process 0 prints what the benchmark says.
import { benchmarkGpuStep, type GpuStepBenchmarkOptions } from '../../../src/benchmark/gpu-step.ts'
import { withProcesses } from '../../../src/distributed/join.ts'

const [device, text] = process.argv.slice(2) as [string, string]
const options = JSON.parse(text) as Omit<GpuStepBenchmarkOptions, 'device' | 'world'>
const result = await withProcesses({ processes: Number(process.env.WORLD_SIZE), device }, (world, own) =>
  benchmarkGpuStep({ ...options, world, device: own }),
)
const said = process.env.RANK === '0' ? JSON.stringify(result) : ''
process.stdout.write(said, () => process.exit(0))
