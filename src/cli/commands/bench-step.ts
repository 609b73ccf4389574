import type { StepBenchmark } from '../../benchmark/step.ts'
import { SIT_PRESETS, type SiTPreset } from '../../models/presets.ts'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

export const benchStepCommand = defineCommand({
  name: 'bench step',
  summary: 'time training steps: throughput, share of the measured peak, ratio to PyTorch',
  description:
    "A SiT with REPA's projector in fp32 on synthetic latents of 256-pixel images: loss, backward pass, clipping, AdamW and EMA; data, noise and the encoder's features are prepared outside of what is timed. With --against python the steps take turns with those of PyTorch on the same machine, and the medians are compared.",
  options: {
    model: {
      type: 'enum',
      values: Object.keys(SIT_PRESETS),
      default: 'SiT-S/2',
      description: 'the model',
      placeholder: 'MODEL',
    },
    batch: { type: 'integer', min: 1, default: 4, description: 'images of a step' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measured steps; at least 7 against a baseline' },
    threads: {
      type: 'integer',
      min: 1,
      max: 1024,
      description: 'threads of either side; by default the cores that may be used',
    },
    against: { type: 'enum', values: ['python'], description: 'the baseline to alternate with: PyTorch under python3' },
    besideBusyProcess: {
      type: 'boolean',
      description: 'alternate with steps beside another process that keeps one core busy; at least 7 rounds',
    },
  },
  examples: [
    { command: 'repa bench step --model SiT-B/2', description: 'images per second and share of the peak' },
    { command: 'repa bench step --against python --threads 2 --json', description: 'the ratio to PyTorch' },
    { command: 'repa bench step --beside-busy-process', description: 'how much a busy neighbour slows a step down' },
  ],
  async run({ model, batch, rounds, threads, against, besideBusyProcess }, { out, device, seed, signal, progress }) {
    // The addon reads it when it is loaded, which is now.
    if (threads !== undefined) process.env.REPA_THREADS = String(threads)
    const { benchmarkStep } = await import('../../benchmark/step.ts')
    const bar = progress({ total: rounds, label: model, unit: 'step' })
    let result: StepBenchmark
    try {
      result = await benchmarkStep({
        // The parser has let through only these.
        model: model as SiTPreset,
        batch,
        rounds,
        device: device === 'auto' ? 'cpu' : device,
        ...(seed !== undefined && { seed }),
        ...(against !== undefined && { against: 'python' as const }),
        besideBusyProcess,
        signal,
        onRound: ({ index }) => bar.update(index + 1),
      })
    } finally {
      bar.end()
    }
    show(model, result, out)
    out.json({ ...result, model })
  },
})

function show(name: string, result: StepBenchmark, out: Output): void {
  const { ours, baseline, beside, ratio, pairedRatio, batch, threads, level, parameters } = result
  out.line(`${name}, batch ${batch}, ${formatCount(parameters)} parameters, fp32, ${threads} threads, ${level}`)
  const row = (
    side: string,
    {
      seconds,
      imagesPerSecond,
      peakRssBytes,
    }: Pick<StepBenchmark['ours'], 'seconds' | 'imagesPerSecond' | 'peakRssBytes'>,
  ) => [
    side,
    formatDuration(seconds.median),
    formatDuration(seconds.minimum),
    `${Math.round(100 * seconds.spread)} %`,
    formatSignificant(imagesPerSecond, 3),
    formatBytes(peakRssBytes),
  ]
  out.table(
    [
      { heading: '' },
      ...['median', 'best', 'spread', 'images/s', 'peak memory'].map((heading) => ({
        heading,
        align: 'right' as const,
      })),
    ],
    [row('repa-native', ours), ...(baseline ? [row(`PyTorch ${baseline.torch}`, baseline)] : [])],
  )
  if (beside) {
    const { seconds, slowdown, pairedSlowdown } = beside
    const times = `${formatSignificant(slowdown, 3)} times as long (pair by pair ${formatSignificant(pairedSlowdown, 3)})`
    out.line(`Beside a busy process a step takes ${formatDuration(seconds.median)}, ${times}`)
  }
  const giga = (rate: number) => `${formatSignificant(rate / 1e9, 3)} GFLOP/s`
  const share = Math.round(100 * ours.shareOfPeak)
  out.line(`${giga(ours.flops)}, ${share} % of the multiply-add peak measured beside (${giga(ours.fmaPeak)})`)
  if (baseline && ratio !== undefined && pairedRatio !== undefined) {
    const paired = formatSignificant(pairedRatio, 3)
    out.line(`${formatSignificant(ratio, 3)} times as fast as PyTorch (pair by pair ${paired}) with ${baseline.blas}`)
  }
}
