import type { SamplingBenchmark, SamplingFigures } from '../../benchmark/sampling.ts'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import { BESIDE_OPTIONS, SIT_OPTIONS, setThreads } from '../benchmark-options.ts'
import { defineCommand } from '../command.ts'
import type { Output } from '../output.ts'

export const benchSampleCommand = defineCommand({
  name: 'bench sample',
  summary: 'time the sampler: throughput, share of the measured peak, ratio to PyTorch',
  description:
    "REPA's stochastic sampler (Euler–Maruyama) with classifier-free guidance, by a SiT of random weights, on latents of images of --size pixels; nothing is decoded. On the CPU against its multiply-add peak, on a GPU against the rate of a large product measured in turn. With --against python the batches take turns with those of PyTorch on the same machine, and the medians are compared.",
  options: {
    model: SIT_OPTIONS.model,
    size: SIT_OPTIONS.size,
    batch: { type: 'integer', min: 1, default: 4, description: 'images at once' },
    steps: { type: 'integer', min: 1, default: 10, description: "steps of the SDE; the paper's images take 250" },
    cfgScale: { type: 'number', min: 1, default: 1.8, description: 'strength of the guidance; 1: none' },
    guidanceHigh: { type: 'number', min: 0, max: 1, default: 0.7, description: 'guide at times up to this one' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measured batches; at least 7 against a baseline' },
    ...BESIDE_OPTIONS,
    precision: SIT_OPTIONS.precision,
    probeSide: SIT_OPTIONS.probeSide,
  },
  examples: [
    { command: 'repa bench sample --model SiT-B/2', description: 'seconds a step, images per second' },
    { command: 'repa bench sample --against python --threads 2 --json', description: 'the ratio to PyTorch' },
    {
      command: 'repa bench sample --device cuda --model SiT-XL/2 --batch 64 --steps 250',
      description: "on a GPU, the paper's setting",
    },
  ],
  async run({ threads, cfgScale, guidanceHigh, against, ...options }, { out, device, seed, signal, progress }) {
    setThreads(threads)
    const [{ benchmarkSampling }, { resolveDevice }] = await Promise.all([
      import('../../benchmark/sampling.ts'),
      import('../../tensor/device.ts'),
    ])
    const { model, size, batch, steps, rounds, precision, probeSide } = options
    const where = resolveDevice(device)
    if (probeSide !== undefined && where === 'cpu') {
      throw new RangeError('--probe-side is for a GPU, and this measures the CPU; pass --device cuda.')
    }
    const bar = progress({ total: rounds, label: model, unit: 'batches' })
    const result = await benchmarkSampling({
      model,
      size,
      batch,
      steps,
      rounds,
      device: where,
      signal,
      guidance: { scale: cfgScale, low: 0, high: guidanceHigh },
      ...(precision !== undefined && { precision }),
      ...(probeSide !== undefined && { probeSide }),
      ...(seed !== undefined && { seed }),
      ...(against !== undefined && { against }),
      onRound: ({ index }) => bar.update(index + 1),
    }).finally(() => bar.end())
    show(model, result, out)
    out.json({ ...result, model })
  },
})

function show(name: string, result: SamplingBenchmark, out: Output): void {
  const { ours, baseline, ratio, pairedRatio, size, batch, steps, evaluations, parameters, device, precision } = result
  const place = device === 'cpu' ? `${result.threads} threads, ${result.level}` : `${result.gpu} (${device})`
  out.line(
    `${name}, ${size} px, ${formatCount(parameters)} parameters, batch ${batch}, ${steps} steps of the SDE, ${evaluations} evaluations an image, ${precision}, ${place}`,
  )
  const row = (side: string, figures: SamplingFigures, memory: number) => [
    side,
    formatDuration(figures.seconds.median),
    formatDuration(figures.seconds.minimum),
    `${Math.round(100 * figures.seconds.spread)} %`,
    formatDuration(figures.secondsPerStep),
    formatSignificant(figures.imagesPerSecond, 4),
    formatBytes(memory),
  ]
  const onGpu = device !== 'cpu'
  const headings = ['median', 'best', 'spread', 'a step', 'images/s', onGpu ? 'peak GPU memory' : 'peak memory']
  out.table(
    [{ heading: '' }, ...headings.map((heading) => ({ heading, align: 'right' as const }))],
    [
      row('repa-native', ours, onGpu ? ours.peakDeviceBytes : ours.peakRssBytes),
      ...(baseline
        ? [row(`PyTorch ${baseline.torch}`, baseline, baseline.peakDeviceBytes ?? baseline.peakRssBytes)]
        : []),
    ],
  )
  const [tera, share] = [formatSignificant(ours.flops / 1e12, 3), Math.round(100 * ours.shareOfLimit)]
  const limit = `${formatSignificant(ours.limit / 1e12, 3)} TFLOP/s`
  out.line(
    `${tera} TFLOP/s, ${share} % of ${onGpu ? `a large product's rate measured beside (${limit})` : `the multiply-add peak measured beside (${limit})`}`,
  )
  if (ratio !== undefined && pairedRatio !== undefined) {
    const [times, paired] = [ratio, pairedRatio].map((value) => formatSignificant(value, 3))
    out.line(`${times} times as fast as PyTorch (pair by pair ${paired})`)
  }
}
