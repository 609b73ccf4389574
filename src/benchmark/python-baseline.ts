import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { promisify } from 'node:util'
import * as z from 'zod'
import type { Device } from '../tensor/device.ts'

/** The SiT, or with `text` the MMDiT, that both sides train; `hidden`, `depth` and the like as in the model's own configuration. */
export interface BaselineModel {
  /** Side of the latents. */
  readonly inputSize: number
  readonly channels: number
  readonly patch: number
  readonly hidden: number
  readonly depth: number
  readonly heads: number
  readonly classes: number
  /** The projectors read the output of this block, counted from 1. */
  readonly encoderDepth: number
  readonly projectorDim: number
  /** Feature width of each target encoder. */
  readonly zDims: readonly number[]
  readonly qkNorm?: boolean
  /** Hidden states of a caption, in the place of classes. */
  readonly text?: { readonly tokens: number; readonly width: number }
}

export interface PythonBaselineOptions {
  readonly model: BaselineModel
  readonly batch: number
  /** Threads of PyTorch and of its BLAS, which share one pool. */
  readonly threads: number
  readonly seed?: number
  /** Default `cpu`. */
  readonly device?: Device
  /** `tuned` (default): as fast as PyTorch gets; `as-written`: as the official code does it (bench/python/trainer.py). */
  readonly variant?: 'tuned' | 'as-written'
  /** Default `fp32`, whose products a GPU makes in TF32; `bf16` by autocast. */
  readonly precision?: 'fp32' | 'bf16'
  /** A mode of torch.compile. */
  readonly compile?: 'default' | 'max-autotune' | 'max-autotune-no-cudagraphs'
  /** What is compiled as one: the `whole` (default), or each of the `blocks` of the model and of the encoder by itself. */
  readonly regions?: 'whole' | 'blocks'
  /** Hears each line that the child says on stderr: how far compiling is, and what libraries print. */
  readonly onLog?: (line: string) => void
  /** An encoder of random weights makes each step's target; without it the targets are given. */
  readonly encoder?: BaselineEncoder
  /**
   * Program and arguments of the worker. By default the package's own, under `REPA_PYTHON` where that is set, else
   * under the first of `python3` and `/usr/bin/python3` that can import torch.
   */
  readonly command?: readonly [string, ...string[]]
}

/** In which order PyTorch keeps an image's numbers: channel by channel, or pixel by pixel. */
export const BASELINE_LAYOUTS = ['contiguous', 'channels-last'] as const
export type BaselineLayout = (typeof BASELINE_LAYOUTS)[number]

/** The decoder that both sides run on a square latent. */
export interface PythonDecoderOptions {
  readonly model: {
    readonly channels: readonly number[]
    /** Residual blocks of a level of the encoder; the decoder has one more. */
    readonly layers: number
    readonly latentChannels: number
    readonly groups: number
    readonly outChannels: number
  }
  /** Side of the latent. */
  readonly latents: number
  readonly layout: BaselineLayout
  readonly threads: number
  readonly seed: number
  readonly command?: readonly [string, ...string[]]
}

export interface PythonSamplerOptions
  extends Pick<PythonBaselineOptions, 'model' | 'batch' | 'threads' | 'seed' | 'command'> {
  readonly steps: number
  readonly guidance: { readonly scale: number; readonly low: number; readonly high: number }
  readonly device: string
  readonly precision: 'fp32' | 'bf16'
}

/** By name, or of any size: its width must be the model's only feature width. */
export type BaselineEncoder =
  | 'dinov2-vit-s'
  | 'dinov2-vit-b'
  | 'dinov2-vit-l'
  | { readonly hidden: number; readonly depth: number; readonly heads: number }

const Info = z.strictObject({
  torch: z.string(),
  python: z.string(),
  threads: z.number().int().positive(),
  blas: z.string(),
  wait_policy: z.string(),
  cpu_capability: z.string(),
  parameters: z.number().int().positive(),
  gpu: z.string().optional(),
  cudnn: z.number().int().optional(),
})
const Failure = z.strictObject({ error: z.string() })
const Ready = z.strictObject({ ready: Info })
const Seconds = z.strictObject({ seconds: z.array(z.number().positive()) })
const Memory = z.strictObject({
  peak_rss_bytes: z.number().int().positive(),
  peak_device_bytes: z.number().int().positive().optional(),
})

/** What the baseline runs on. */
export interface PythonBaselineInfo {
  readonly torch: string
  readonly python: string
  readonly threads: number
  /** Path of the OpenBLAS that was loaded, or `mkl` or `accelerate`; on a GPU, which cuBLAS. */
  readonly blas: string
  /** OMP_WAIT_POLICY. */
  readonly waitPolicy: string
  /** The instruction set of PyTorch's own kernels, such as `AVX2`. */
  readonly cpuCapability: string
  /** Trained parameters. */
  readonly parameters: number
  /** The GPU's name and cuDNN's version, on a GPU. */
  readonly gpu?: string
  readonly cudnn?: number
}

// From src/benchmark and from dist/benchmark alike.
const SCRIPTS = join(import.meta.dirname, '../../bench/python')
const CLOSE_GRACE_MS = 2000
const STDERR_TAIL = 2000

/**
 * The PyTorch step as a child process that trains on demand, so that its steps can alternate with ours. One request
 * runs at a time; requests made meanwhile wait in line. The child ends with `close()` and with this process.
 */
export class PythonBaseline implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: Interface
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  readonly #killWithUs = () => this.#child.kill('SIGKILL')
  #stderr = ''
  #ended: Error | undefined
  #info: PythonBaselineInfo | undefined

  private constructor(program: string, args: readonly string[], onLog: PythonBaselineOptions['onLog']) {
    this.#child = spawn(program, args, { stdio: 'pipe' })
    this.#lines = createInterface({ input: this.#child.stdout })
    this.#lines.on('line', (line) => this.#waiting.shift()?.resolve(line))
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL)
    })
    if (onLog) createInterface({ input: this.#child.stderr }).on('line', onLog)
    // A write to a child that has gone; the reason comes with its `close`.
    this.#child.stdin.on('error', () => {})
    this.#child.on('error', (error) => {
      this.#end(new Error(`The Python baseline could not be started with ${program}: ${error.message}.`))
    })
    this.#child.on('close', (code, signal) => {
      const how = signal ? `was ended by ${signal}` : `ended with status ${code}`
      const said = this.#stderr.trim()
      this.#end(new Error(`The Python baseline ${how}${said ? `; the last that it said: ${said}` : '.'}`))
    })
    process.once('exit', this.#killWithUs)
  }

  /**
   * Starts the worker and builds the model.
   *
   * @throws {Error} where no Python with torch is found, or where the worker refuses: because of an unfit BLAS, say.
   */
  static async start(options: PythonBaselineOptions): Promise<PythonBaseline> {
    const configure = {
      model: constructorArguments(options.model),
      batch: options.batch,
      threads: options.threads,
      seed: options.seed ?? 0,
      // What is not said is the worker's own default.
      device: options.device,
      variant: options.variant,
      precision: options.precision,
      compile: options.compile,
      regions: options.regions,
      encoder: options.encoder && encoderArguments(options.encoder),
    }
    return PythonBaseline.#configured('step.py', options.command, configure, options.onLog)
  }

  /** As `start`, with REPA's stochastic sampler, of which `step` times batches of images. */
  static async startSampler({ model, guidance, command, ...options }: PythonSamplerOptions): Promise<PythonBaseline> {
    const { scale, low, high } = guidance
    const arguments_ = { model: constructorArguments(model), guidance: { scale, low, high }, ...options }
    return PythonBaseline.#configured('sample.py', command, arguments_)
  }

  /** As `start`, with the Stable Diffusion VAE's decoder, of which `step` times decodes. */
  static async startDecoder({ model, command, ...options }: PythonDecoderOptions): Promise<PythonBaseline> {
    const { channels, layers, latentChannels, groups, outChannels } = model
    return PythonBaseline.#configured('decode.py', command, {
      model: { channels, layers, latent_channels: latentChannels, groups, out_channels: outChannels },
      ...options,
    })
  }

  static async #configured(
    script: string,
    command: readonly [string, ...string[]] | undefined,
    configure: object,
    onLog?: PythonBaselineOptions['onLog'],
  ): Promise<PythonBaseline> {
    const [program, ...args] = command ?? [await findPython(), '-B', join(SCRIPTS, script)]
    const baseline = new PythonBaseline(program, args, onLog)
    try {
      const { ready } = await baseline.#request(Ready, { configure })
      const { wait_policy: waitPolicy, cpu_capability: cpuCapability, ...rest } = ready
      baseline.#info = { ...rest, waitPolicy, cpuCapability }
      return baseline
    } catch (error) {
      await baseline.close()
      throw error
    }
  }

  get info(): PythonBaselineInfo {
    if (!this.#info) throw new Error('The Python baseline has not started.')
    return this.#info
  }

  /** Trains `count` steps; the seconds of each, around loss, backward, clip, AdamW and EMA. */
  async step(count = 1): Promise<number[]> {
    const { seconds } = await this.#request(Seconds, { step: count })
    if (seconds.length !== count) {
      throw new Error(`The Python baseline timed ${seconds.length} steps; ${count} were asked for.`)
    }
    return seconds
  }

  /** Peak resident memory of the child so far, in bytes. */
  async peakRssBytes(): Promise<number> {
    return (await this.#request(Memory, { memory: true })).peak_rss_bytes
  }

  /** Most memory of the GPU that the child's tensors took, in bytes; undefined on a CPU. */
  async peakDeviceBytes(): Promise<number | undefined> {
    return (await this.#request(Memory, { memory: true })).peak_device_bytes
  }

  /** Ends the child, by force where it does not go by itself; safe to call twice. */
  async close(): Promise<void> {
    process.off('exit', this.#killWithUs)
    if (this.#ended) return
    const closed = once(this.#child, 'close')
    this.#child.stdin.end('{"quit": true}\n')
    const force = setTimeout(this.#killWithUs, CLOSE_GRACE_MS)
    await closed
    clearTimeout(force)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #request<Schema extends z.ZodType>(schema: Schema, request: object): Promise<z.infer<Schema>> {
    if (this.#ended) throw this.#ended
    const line = await new Promise<string>((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    })
    const answer = parseJson(line)
    const failure = Failure.safeParse(answer)
    if (failure.success) throw new Error(`The Python baseline: ${failure.data.error}`)
    const parsed = schema.safeParse(answer)
    if (parsed.success) return parsed.data
    const why = z.prettifyError(parsed.error)
    throw new Error(`The Python baseline answered ${JSON.stringify(request)} with ${line.slice(0, 200)}: ${why}`)
  }

  #end(error: Error): void {
    this.#ended ??= error
    process.off('exit', this.#killWithUs)
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
  }
}

/**
 * The first Python that can import torch: `REPA_PYTHON` alone where that is set, else `python3`, `/usr/bin/python3`.
 *
 * @throws {Error} saying how to install it.
 */
export async function findPython(env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const candidates = env.REPA_PYTHON ? [env.REPA_PYTHON] : ['python3', '/usr/bin/python3']
  for (const candidate of candidates) {
    try {
      await promisify(execFile)(candidate, ['-c', 'import torch'], { env, timeout: 60_000 })
      return candidate
    } catch {
      // Not there, or there without torch: the next one.
    }
  }
  throw new Error(
    `No python3 with torch found (tried ${candidates.join(', ')}); on Debian: apt install python3-torch ` +
      'libopenblas0-openmp, elsewhere point REPA_PYTHON at an interpreter that can import torch.',
  )
}

// The names of the official constructor.
function constructorArguments(model: BaselineModel): Record<string, unknown> {
  return {
    input_size: model.inputSize,
    in_channels: model.channels,
    patch_size: model.patch,
    hidden_size: model.hidden,
    depth: model.depth,
    num_heads: model.heads,
    encoder_depth: model.encoderDepth,
    projector_dim: model.projectorDim,
    z_dims: model.zDims,
    ...(model.text
      ? { text_tokens: model.text.tokens, text_width: model.text.width }
      : { num_classes: model.classes, qk_norm: model.qkNorm ?? false }),
  }
}

function encoderArguments(encoder: BaselineEncoder): string | Record<string, number> {
  if (typeof encoder === 'string') return encoder
  return { hidden_size: encoder.hidden, depth: encoder.depth, num_heads: encoder.heads }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw new Error(`The Python baseline answered with something that is not JSON: ${line.slice(0, 200)}`)
  }
}
