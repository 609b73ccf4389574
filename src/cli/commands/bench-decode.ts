import type { DecodeBenchmark } from '../../benchmark/decode.ts'
import type { BaselineLayout } from '../../benchmark/python-baseline.ts'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import { BESIDE_OPTIONS, setThreads } from '../benchmark-options.ts'
import { defineCommand } from '../command.ts'
import { flagOf } from '../option.ts'
import type { Output } from '../output.ts'

export const benchDecodeCommand = defineCommand({
  name: 'bench decode',
  summary: "time the autoencoder's decoder: seconds and peak memory, ratio to PyTorch",
  description:
    "The Stable Diffusion VAE's decoder, with random weights, on one latent in fp32, the whole image at once. With --against python the decodes take turns with those of PyTorch on the same machine, and medians and peak memory are compared. PyTorch keeps images in the order in which it is faster, which is tried first in a process for each.",
  options: {
    size: { type: 'integer', min: 8, default: 512, description: 'side of the image in pixels, a multiple of 8' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measured decodes; at least 7 against a baseline' },
    ...BESIDE_OPTIONS,
    baselineLayout: {
      type: 'enum',
      values: ['contiguous', 'channels-last'],
      description: "the order of PyTorch's images [the faster]",
    },
  },
  examples: [
    { command: 'repa bench decode', description: 'seconds and memory of a 512-pixel image' },
    { command: 'repa bench decode --against python --json', description: 'the ratio to PyTorch' },
  ],
  async run({ size, rounds, threads, against, baselineLayout }, { out, device, seed, signal, progress }) {
    if (baselineLayout !== undefined && against === undefined) {
      throw new RangeError(`${flagOf('baselineLayout')} is of the baseline, and there is none; pass --against python.`)
    }
    setThreads(threads)
    const [{ benchmarkDecode }, { resolveDevice }] = await Promise.all([
      import('../../benchmark/decode.ts'),
      import('../../tensor/device.ts'),
    ])
    const bar = progress({ total: rounds, label: `${size} px`, unit: 'decodes' })
    const result = await benchmarkDecode({
      size,
      rounds,
      device: against !== undefined && device === 'auto' ? 'cpu' : resolveDevice(device),
      ...(seed !== undefined && { seed }),
      ...(against !== undefined && { against: 'python' as const }),
      // The parser has let through only what it names.
      ...(baselineLayout !== undefined && { layout: baselineLayout as BaselineLayout }),
      signal,
      onRound: ({ index }) => bar.update(index + 1),
    }).finally(() => bar.end())
    show(result, out)
    out.json({ ...result })
  },
})

function show(
  { ours, baseline, ratio, pairedRatio, memoryRatio, size, threads, level, parameters, device }: DecodeBenchmark,
  out: Output,
): void {
  const place = device === 'cpu' ? `${threads} threads, ${level}` : device
  out.line(`decoder of the Stable Diffusion VAE, ${size} px, ${formatCount(parameters)} parameters, fp32, ${place}`)
  const row = (side: string, { seconds, peakRssBytes }: Pick<DecodeBenchmark['ours'], 'seconds' | 'peakRssBytes'>) => [
    side,
    formatDuration(seconds.median),
    formatDuration(seconds.minimum),
    `${Math.round(100 * seconds.spread)} %`,
    formatBytes(peakRssBytes),
  ]
  out.table(
    [
      { heading: '' },
      ...['median', 'best', 'spread', 'peak memory'].map((heading) => ({ heading, align: 'right' as const })),
    ],
    [row('repa-native', ours), ...(baseline ? [row(`PyTorch ${baseline.torch}, ${baseline.layout}`, baseline)] : [])],
  )
  if (baseline && ratio !== undefined && pairedRatio !== undefined && memoryRatio !== undefined) {
    const [times, paired, memory] = [ratio, pairedRatio, 1 / memoryRatio].map((value) => formatSignificant(value, 3))
    if (baseline.tried) {
      const each = Object.entries(baseline.tried).map(([layout, seconds]) => `${layout} ${formatDuration(seconds)}`)
      out.line(`PyTorch's layouts, a decode of each: ${each.join(', ')}`)
    }
    out.line(`${times} times as fast as PyTorch (pair by pair ${paired}) in ${memory} of its memory`)
  }
}
