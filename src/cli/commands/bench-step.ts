import type { PythonBaselineOptions } from '../../benchmark/python-baseline.ts'
import type { StepBenchmark } from '../../benchmark/step.ts'
import type { World } from '../../distributed/world.ts'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../report/quantity.ts'
import { RECOMPUTATIONS, type Recomputation } from '../../tensor/recomputation.ts'
import type { Precision } from '../../training/precision.ts'
import { baselineSetting } from '../baseline-setting.ts'
import { BESIDE_OPTIONS, SIT_OPTIONS, setThreads } from '../benchmark-options.ts'
import { defineCommand } from '../command.ts'
import { flagOf } from '../option.ts'
import type { Output } from '../output.ts'
import type { Progress } from '../progress.ts'
import { showSustained } from '../sustained-table.ts'

export const benchStepCommand = defineCommand({
  name: 'bench step',
  summary: 'time training steps: throughput, share of the measured peak, ratio to PyTorch',
  description:
    "A SiT with REPA's projector on synthetic latents of images of --size pixels: loss, backward pass, clipping, AdamW and EMA; data and noise are prepared outside of what is timed, and without --encoder the features too. On the CPU in fp32, against its multiply-add peak; on a GPU in bf16 against the rate of a large product measured in turn, with what each operation costs. With --against python the steps take turns with those of PyTorch on the same machine, and the medians are compared.",
  options: {
    model: SIT_OPTIONS.model,
    size: SIT_OPTIONS.size,
    batch: { type: 'integer', min: 1, default: 4, description: 'images of a step' },
    rounds: { type: 'integer', min: 1, default: 7, description: 'measured steps; at least 7 against a baseline' },
    seconds: {
      type: 'integer',
      min: 1,
      description:
        'then go on for so long, and say by interval whether the rate holds (on a GPU, at which clock and power)',
    },
    ...BESIDE_OPTIONS,
    besideBusyProcess: {
      type: 'boolean',
      description:
        'on the CPU: alternate with steps beside another process that keeps one core busy; at least 7 rounds',
    },
    precision: SIT_OPTIONS.precision,
    recompute: {
      type: 'enum',
      values: RECOMPUTATIONS,
      default: 'none',
      description: 'what our backward pass computes again: the same bits in less memory',
    },
    routeTokens: {
      type: 'number',
      min: 0,
      below: 1,
      placeholder: 'SHARE',
      description: "let this share of the tokens go past TREAD's blocks, as repa train does; without a baseline",
    },
    encoder: {
      type: 'enum',
      values: ['dinov2-vit-s', 'dinov2-vit-b', 'dinov2-vit-l'],
      description: "on a GPU: makes each step's features of images, with random weights",
    },
    cudaGraph: { type: 'boolean', description: 'on a GPU: record the step once and replay it' },
    processes: {
      type: 'integer',
      min: 1,
      placeholder: 'N',
      description: 'on GPUs: share the batch among so many processes with a GPU each, as repa train does [1]',
    },
    baselineVariant: {
      type: 'enum',
      values: ['tuned', 'as-written'],
      description: 'PyTorch as fast as it gets, or as the official code has it [tuned]',
    },
    baselineCompile: {
      type: 'enum',
      values: ['default', 'max-autotune', 'max-autotune-no-cudagraphs'],
      description: 'a mode of torch.compile for the baseline [none]',
    },
    baselineRegions: {
      type: 'enum',
      values: ['whole', 'blocks'],
      description: 'what is compiled as one: the whole, which may take many minutes, or each block by itself [whole]',
    },
    baselineLog: {
      type: 'boolean',
      description: "what PyTorch's process says while it compiles, on stderr, beside --json too",
    },
    turns: {
      type: 'enum',
      values: ['steps', 'blocks'],
      description: 'on a GPU: alternate step by step, or, where both do not fit in its memory, in blocks [steps]',
    },
    probeSide: SIT_OPTIONS.probeSide,
  },
  examples: [
    { command: 'repa bench step --model SiT-B/2', description: 'images per second and share of the peak' },
    { command: 'repa bench step --against python --threads 2 --json', description: 'the ratio to PyTorch' },
    {
      command: 'repa bench step --against python --baseline-compile default --baseline-log',
      description: 'the ratio to PyTorch compiled, which takes it a minute or more',
    },
    { command: 'repa bench step --beside-busy-process', description: 'how much a busy neighbour slows a step down' },
    {
      command: 'repa bench step --device cuda --model SiT-XL/2 --batch 256 --encoder dinov2-vit-b --seconds 60',
      description: 'on a GPU, a minute under full power',
    },
    {
      command: 'repa bench step --device cuda --model SiT-XL/2 --batch 256 --encoder dinov2-vit-b --processes 8',
      description: 'on eight GPUs, which exchange gradients and weights',
    },
    {
      command: 'repa bench step --device cuda --model SiT-XL/2 --size 512 --batch 32 --encoder dinov2-vit-b',
      description: 'on a GPU, at 512 pixels',
    },
    {
      command: 'repa bench step --device cuda --model SiT-L/2 --batch 64 --encoder dinov2-vit-b --against python',
      description: 'on a GPU, beside PyTorch there',
    },
    {
      command:
        'repa bench step --device cuda --model SiT-XL/2 --batch 256 --encoder dinov2-vit-b --against python --turns blocks --baseline-compile max-autotune-no-cudagraphs --baseline-regions blocks --baseline-log',
      description: 'on a GPU, beside PyTorch compiled block by block',
    },
  ],
  async run(options, context) {
    const { model, size, batch, rounds, seconds, threads, against, besideBusyProcess, probeSide, routeTokens } = options
    // The parser has let through only these.
    const recompute = options.recompute as Recomputation
    const { out, seed, signal, progress } = context
    setThreads(threads)
    const { resolveDevice } = await import('../../tensor/device.ts')
    const device = resolveDevice(context.device)
    const onGpu = device !== 'cpu'
    requireOptionsOf(onGpu, options)
    const bar = progress({ total: rounds, label: model, unit: 'steps' })
    let long: Progress | undefined
    const shown = {
      onRound: ({ index }: { index: number }) => bar.update(index + 1),
      onSustained: ({ steps }: { steps: number }) => {
        bar.end()
        long ??= progress({ label: `${model}, ${seconds} s`, unit: 'steps' })
        long.update(steps)
      },
    }
    const endProgress = () => {
      bar.end()
      long?.end()
    }
    // Of the enumerations, the parser has let through only what they name.
    const { precision, encoder, cudaGraph, turns, ...ofBaseline } = options as Choices
    const baseline = {
      ...(ofBaseline.baselineVariant && { variant: ofBaseline.baselineVariant }),
      ...(ofBaseline.baselineCompile && { compile: ofBaseline.baselineCompile }),
      ...(ofBaseline.baselineRegions && { regions: ofBaseline.baselineRegions }),
      ...(ofBaseline.baselineLog && { onLog: (line: string) => out.log(`PyTorch: ${line}`) }),
    }
    if (onGpu) {
      const [{ benchmarkGpuStep }, { showGpuStep }, { withProcesses }] = await Promise.all([
        import('../../benchmark/gpu-step.ts'),
        import('../gpu-benchmark-tables.ts'),
        import('../../distributed/join.ts'),
      ])
      const { processes } = options
      const settings = {
        model,
        size,
        batch,
        rounds,
        recompute,
        ...(routeTokens !== undefined && { routeTokens }),
        ...(precision && { precision }),
        ...(probeSide !== undefined && { probeSide }),
        ...(encoder && { encoder }),
        ...(cudaGraph && { cudaGraph }),
        ...(against && { against: { ...baseline, ...(turns && { turns }) } }),
        ...(seed !== undefined && { seed }),
        ...(seconds !== undefined && { seconds }),
        signal,
        ...shown,
      }
      const measure = (world: World, own: string) => {
        if (world.rank > 0) out.silence()
        return benchmarkGpuStep({ ...settings, world, device: own })
      }
      const result = await withProcesses({ processes, device: context.device }, measure).finally(endProgress)
      showGpuStep(model, result, out)
      out.json({ ...result, model })
      return
    }
    const { benchmarkStep } = await import('../../benchmark/step.ts')
    const result = await benchmarkStep({
      model,
      size,
      batch,
      rounds,
      device,
      recompute,
      ...(routeTokens !== undefined && { routeTokens }),
      ...(seed !== undefined && { seed }),
      ...(against && { against: baseline }),
      besideBusyProcess,
      ...(seconds !== undefined && { seconds }),
      signal,
      ...shown,
    }).finally(endProgress)
    show(model, result, out)
    out.json({ ...result, model })
  },
})

const BASELINE_OPTIONS = ['baselineVariant', 'baselineCompile', 'baselineRegions', 'baselineLog', 'turns'] as const
const GPU_OPTIONS = ['encoder', 'cudaGraph', 'processes', 'turns', 'probeSide'] as const

interface Choices {
  readonly precision?: Precision
  readonly encoder?: 'dinov2-vit-s' | 'dinov2-vit-b' | 'dinov2-vit-l'
  readonly cudaGraph?: boolean
  readonly baselineVariant?: 'tuned' | 'as-written'
  readonly baselineCompile?: PythonBaselineOptions['compile']
  readonly baselineRegions?: PythonBaselineOptions['regions']
  readonly baselineLog?: boolean
  readonly turns?: 'steps' | 'blocks'
}

/** Throws where an option is given that the device has nothing to do with. */
function requireOptionsOf(onGpu: boolean, options: Readonly<Record<string, unknown>>): void {
  if (!onGpu) {
    const given = GPU_OPTIONS.find((name) => options[name] !== undefined)
    if (given) throw new RangeError(`${flagOf(given)} is for a GPU, and this measures the CPU; pass --device cuda.`)
    if (options.precision !== undefined && options.precision !== 'fp32') {
      throw new RangeError(`The CPU computes in fp32 only, not in ${options.precision}.`)
    }
  } else if (options.besideBusyProcess) {
    throw new RangeError('--beside-busy-process measures the CPU; pass --device cpu.')
  }
  const idle = options.against === undefined && BASELINE_OPTIONS.find((name) => options[name] !== undefined)
  if (idle) throw new RangeError(`${flagOf(idle)} is of the baseline, and there is none; pass --against python.`)
}

function show(name: string, result: StepBenchmark, out: Output): void {
  const { ours, baseline, beside, sustained, ratio, pairedRatio, size, batch, threads, level, parameters } = result
  out.line(
    `${name}, ${size} px, batch ${batch}, ${formatCount(parameters)} parameters, fp32, ${threads} threads, ${level}`,
  )
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
  if (sustained) showSustained(sustained, out)
  const giga = (rate: number) => `${formatSignificant(rate / 1e9, 3)} GFLOP/s`
  const share = Math.round(100 * ours.shareOfPeak)
  out.line(`${giga(ours.flops)}, ${share} % of the multiply-add peak measured beside (${giga(ours.fmaPeak)})`)
  if (baseline && ratio !== undefined && pairedRatio !== undefined) {
    const [times, paired] = [formatSignificant(ratio, 3), formatSignificant(pairedRatio, 3)]
    out.line(
      `${times} times as fast as PyTorch, ${baselineSetting(baseline)} (pair by pair ${paired}), with ${baseline.blas}`,
    )
  }
}
