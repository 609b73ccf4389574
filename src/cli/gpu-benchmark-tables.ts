/** What the benchmarks of a GPU print. */
import type { GpuClocks } from '../benchmark/gpu-clocks.ts'
import type { GpuKernelBenchmark } from '../benchmark/gpu-kernels.ts'
import type { GpuStepBenchmark } from '../benchmark/gpu-step.ts'
import { formatBytes, formatCount, formatSignificant } from '../report/quantity.ts'
import { baselineSetting } from './baseline-setting.ts'
import type { Output } from './output.ts'
import { showSustained } from './sustained-table.ts'

const tera = (rate: number) => formatSignificant(rate / 1e12, 3)
const milliseconds = (seconds: number) => `${formatSignificant(seconds * 1000, 3)} ms`
const percent = (share: number) => `${Math.round(100 * share)} %`
const right = (heading: string) => ({ heading, align: 'right' as const })
/** Of a step's operations, those that are shown. */
const MOST_OPERATIONS = 15

export function showGpuKernels(result: GpuKernelBenchmark, out: Output): void {
  const { gpu, precision, limits, clocks, kernels } = result
  const [products, copy] = [tera(limits.products.median), tera(limits.copy.median)]
  out.line(`${gpu.name}, ${precision}; a large product ${products} TFLOP/s, a copy ${copy} TB/s`)
  showClocks(clocks, out)
  out.table(
    [{ heading: 'kernel' }, { heading: 'shape' }, ...['time', 'spread', 'TFLOP/s', 'TB/s', 'of its floor'].map(right)],
    kernels.map(({ family, name, shape, seconds, flops, bytes, bound, share }) => [
      `${family} ${name}`,
      shape,
      milliseconds(seconds.median),
      percent(seconds.spread),
      flops === undefined ? '' : tera(flops),
      tera(bytes),
      `${percent(share)} (${bound})`,
    ]),
  )
}

export function showGpuStep(name: string, result: GpuStepBenchmark, out: Output): void {
  const {
    gpu,
    ours,
    baseline,
    size,
    batch,
    processes,
    parameters,
    precision,
    encoder,
    cudaGraph,
    recompute,
    operations,
    ratio,
    pairedRatio,
  } = result
  const said = [
    name,
    `${size} px`,
    `batch ${batch}`,
    `${formatCount(parameters)} parameters`,
    precision,
    ...(encoder === undefined ? [] : [`with ${typeof encoder === 'string' ? encoder : 'an encoder'}`]),
    ...(cudaGraph ? ['as a graph'] : []),
    ...(recompute === 'elementwise' ? ['elementwise passes computed again'] : []),
    processes === 1 ? gpu.name : `${processes} x ${gpu.name}`,
  ]
  out.line(said.join(', '))
  showClocks(result.clocks, out)
  type Side = Pick<GpuStepBenchmark['ours'], 'seconds' | 'imagesPerSecond'> & { peakDeviceBytes: number | undefined }
  const row = (side: string, { seconds, imagesPerSecond, peakDeviceBytes }: Side) => [
    side,
    milliseconds(seconds.median),
    milliseconds(seconds.minimum),
    percent(seconds.spread),
    formatSignificant(imagesPerSecond, 3),
    peakDeviceBytes === undefined ? '' : formatBytes(peakDeviceBytes),
  ]
  out.table(
    [{ heading: '' }, ...['median', 'best', 'spread', 'images/s', 'peak GPU memory'].map(right)],
    [row('repa-native', ours), ...(baseline ? [row(`PyTorch ${baseline.torch}`, baseline)] : [])],
  )
  const rate = `${tera(ours.flops)} TFLOP/s, ${percent(ours.shareOfProductRate)} of a large product's measured in turn`
  const mfu = ours.mfu === undefined ? '' : `, ${percent(ours.mfu)} of the data sheet's (MFU)`
  out.line(`${rate} (${tera(ours.productRate.median)})${mfu}; a copy gives ${tera(ours.copyRate.median)} TB/s`)
  if (result.sustained) showSustained(result.sustained, out)
  const alone = operations.reduce((sum, { seconds }) => sum + seconds, 0)
  out.line(
    `the host enqueues a step in ${milliseconds(ours.enqueueing.median)}; its operations one by one take ${milliseconds(alone)}`,
  )
  out.table(
    [{ heading: 'operation' }, ...['calls', 'time', 'share'].map(right)],
    operations
      .slice(0, MOST_OPERATIONS)
      .map(({ name, calls, seconds, share }) => [name, String(calls), milliseconds(seconds), percent(share)]),
  )
  if (baseline && ratio !== undefined) {
    const paired = pairedRatio === undefined ? '' : ` (pair by pair ${formatSignificant(pairedRatio, 3)})`
    out.line(`${formatSignificant(ratio, 3)} times as fast as PyTorch, ${baselineSetting(baseline)}${paired}`)
  }
}

function showClocks({ before, after }: GpuStepBenchmark['clocks'], out: Output): void {
  if (!before || !after) return
  const at = (clocks: GpuClocks) => `${clocks.sm} MHz, ${clocks.power} W, ${clocks.temperature} °C`
  const limits = `at most ${after.smMaximum} MHz and ${after.powerLimit} W`
  out.line(`Driver ${after.driver}; before ${at(before)}; after ${at(after)}; ${limits}; memory ${after.memory} MHz`)
}
