import type { KernelResult } from '../../benchmark/kernels.ts'
import { SIT_PRESETS, type SiTPreset } from '../../models/presets.ts'
import { formatSignificant } from '../../report/quantity.ts'
import { PRECISIONS, type Precision } from '../../training/precision.ts'
import { SIT_OPTIONS } from '../benchmark-options.ts'
import { defineCommand } from '../command.ts'

export const benchKernelsCommand = defineCommand({
  name: 'bench kernels',
  summary: "time the kernels of a training step against the machine's measured limits",
  description:
    'On the CPU, products and attention against the multiply-add peak, the rest against the rate of the memory (sum += x). On a GPU, by its own clock, every kernel against the larger of two floors: its products at the rate of a large one, its operands and results at the rate of a copy. Kernel and limits take turns, and the medians count. What stays in the caches can pass 100 %.',
  options: {
    model: {
      type: 'enum',
      values: Object.keys(SIT_PRESETS).filter((name) => name.endsWith('/2')),
      default: 'SiT-S/2',
      placeholder: 'MODEL',
      description: 'the model whose shapes are taken: SiT-{S,B,L,XL}/2',
    },
    size: SIT_OPTIONS.size,
    batch: { type: 'integer', min: 1, default: 4, description: 'images of a step' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measurements of each' },
    precision: {
      type: 'enum',
      values: PRECISIONS,
      description: 'of the operands [bf16 on a GPU, fp32 on a CPU, which has no other]',
    },
    probeSide: SIT_OPTIONS.probeSide,
  },
  examples: [
    { command: 'repa bench kernels --model SiT-B/2', description: 'rates and shares as a table' },
    {
      command: 'repa bench kernels --device cuda --model SiT-XL/2 --batch 256 --json',
      description: 'TFLOP/s, TB/s and shares of every CUDA kernel',
    },
    {
      command: 'repa bench kernels --device cuda --model SiT-XL/2 --size 512 --batch 64',
      description: 'the same at 512 pixels, 1,024 tokens an image',
    },
  ],
  async run({ model, size, batch, rounds, precision, probeSide }, context) {
    const { out, signal, progress } = context
    const { resolveDevice } = await import('../../tensor/device.ts')
    const device = resolveDevice(context.device)
    if (device !== 'cpu') {
      const [{ benchmarkGpuKernels }, { showGpuKernels }] = await Promise.all([
        import('../../benchmark/gpu-kernels.ts'),
        import('../gpu-benchmark-tables.ts'),
      ])
      const bar = progress({ label: model, unit: 'kernels' })
      const result = await benchmarkGpuKernels({
        device,
        // The parser has let through only these.
        model: model as SiTPreset,
        size,
        batch,
        rounds,
        ...(probeSide !== undefined && { probeSide }),
        ...(precision && { precision: precision as Precision }),
        signal,
        onCase: (done) => bar.update(done),
      }).finally(() => bar.end())
      showGpuKernels(result, out)
      out.json({ model, size, batch, rounds, ...result })
      return
    }
    if (precision !== undefined && precision !== 'fp32') {
      throw new RangeError(`The CPU computes in fp32 only, not in ${precision}.`)
    }
    const [{ benchmarkKernels }, { native }] = await Promise.all([
      import('../../benchmark/kernels.ts'),
      import('../../native.ts'),
    ])
    const bar = progress({ label: model, unit: 'kernels' })
    let kernels: KernelResult[]
    try {
      kernels = await benchmarkKernels({
        // The parser has let through only these.
        model: model as SiTPreset,
        size,
        batch,
        rounds,
        signal,
        onCase: (done) => bar.update(done),
      })
    } finally {
      bar.end()
    }
    out.table(
      [
        { heading: 'kernel' },
        { heading: 'shape' },
        ...['time', 'rate', 'limit', 'share'].map((heading) => ({ heading, align: 'right' as const })),
      ],
      kernels.map(({ family, name, shape, seconds, rate, unit, limit, share }) => [
        `${family} ${name}`,
        shape,
        `${formatSignificant(seconds * 1000, 3)} ms`,
        `${formatSignificant(rate / 1e9, 3)} G${unit}`,
        formatSignificant(limit / 1e9, 3),
        `${Math.round(100 * share)} %`,
      ]),
    )
    const { level, threads } = native().cpuInfo()
    out.json({ model, size, batch, rounds, device, level, threads, kernels })
  },
})
