import type { KernelResult } from '../../benchmark/kernels.ts'
import { SIT_PRESETS, type SiTPreset } from '../../models/presets.ts'
import { formatSignificant } from '../../report/quantity.ts'
import { defineCommand } from '../command.ts'

export const benchKernelsCommand = defineCommand({
  name: 'bench kernels',
  summary: "time the kernels of a training step against the machine's measured limits",
  description:
    'Products and attention against the multiply-add peak, the rest against the rate of the memory (sum += x); kernel and limit take turns, and the medians count. What stays in the caches can pass 100 %.',
  options: {
    model: {
      type: 'enum',
      values: Object.keys(SIT_PRESETS).filter((name) => name.endsWith('/2')),
      default: 'SiT-S/2',
      placeholder: 'MODEL',
      description: 'the model whose shapes are taken',
    },
    batch: { type: 'integer', min: 1, default: 4, description: 'images of a step' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measurements of each' },
  },
  examples: [{ command: 'repa bench kernels --model SiT-B/2', description: 'rates and shares as a table' }],
  async run({ model, batch, rounds }, { out, device, signal, progress }) {
    if (device !== 'auto' && device !== 'cpu') {
      throw new Error(`It measures the CPU, not ${device}; leave --device out.`)
    }
    const { benchmarkKernels } = await import('../../benchmark/kernels.ts')
    const bar = progress({ label: model, unit: 'kernel' })
    let kernels: KernelResult[]
    try {
      kernels = await benchmarkKernels({
        // The parser has let through only these.
        model: model as SiTPreset,
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
    out.json({ model, batch, rounds, kernels })
  },
})
