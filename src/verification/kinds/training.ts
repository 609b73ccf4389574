/** `train.log` and `train.state`: whole steps of REPA's train.py, loss → backward → clip → AdamW → EMA, from stored inputs. */
import * as z from 'zod'
import type { SiT } from '../../models/sit.ts'
import type { ArenaRole } from '../../nn/parameter-arena.ts'
import type { StateEntry } from '../../nn/parameter-list.ts'
import type { Device } from '../../tensor/device.ts'
import { elementCount } from '../../tensor/dtype.ts'
import { type HostTensor, hostFloat64, toFloat32 } from '../../tensor/host-tensor.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { forwardBackward } from '../../training/forward-backward.ts'
import { AdamW } from '../../training/optimizer.ts'
import { SiTObjective } from '../../training/sit-objective.ts'
import type { ComparisonRules } from '../comparison.ts'
import type { GoldenFile, GoldenSet } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import { firstUpdateAllowance } from './first-update.ts'
import type { Runner } from './kind.ts'
import { meanOf } from './sit.ts'
import { loadSiT, sitArguments } from './sit-arguments.ts'

const trainingArguments = {
  ...sitArguments,
  inputs: z.string(),
  lr: z.number().positive(),
  betas: z.tuple([z.number(), z.number()]),
  eps: z.number().positive(),
  weight_decay: z.number(),
  ema_decay: z.number(),
  max_grad_norm: z.number().positive(),
  proj_coeff: z.number(),
  path: z.enum(['linear', 'cosine']).optional(),
}

const pathInHyper = z.object({ path: z.enum(['linear', 'cosine']).default('linear') })

type TrainingArguments = z.output<z.ZodObject<typeof trainingArguments>>

/** Prefixes of the tensors' names, by the arena's array that they are compared with after the last step. */
const STATE_ROLES: Readonly<Record<string, ArenaRole>> = {
  param: 'weights',
  ema: 'ema',
  exp_avg: 'firstMoments',
  exp_avg_sq: 'secondMoments',
}

export const trainLog: Runner = async function* (file, device) {
  const args = file.args(z.object({ ...trainingArguments, steps: z.int().positive() }))
  using run = await TrainingRun.start(file, args, device)
  const rows: number[] = []
  for (let step = 0; step < args.steps; step++) {
    run.forwardBackward(step)
    const { denoising, alignment } = await run.losses()
    const gradNorm = await run.update()
    rows.push(denoising, alignment, denoising + args.proj_coeff * alignment, gradNorm)
  }
  yield await file.compare('log', hostFloat64(Float64Array.from(rows), [args.steps, 4]))
}

export const trainState: Runner = async function* (file, device) {
  const args = file.args(z.object({ ...trainingArguments, step: z.int().positive() }))
  using run = await TrainingRun.start(file, args, device)
  let gradNorm = 0
  for (let step = 0; step < args.step; step++) {
    run.forwardBackward(step)
    // Gradients are those of the last step, before clipping.
    if (step === args.step - 1) yield* compareArena(file, run.model, { grad: 'gradients' })
    gradNorm = await run.update()
  }
  if (args.step > 1) {
    yield* compareArena(file, run.model, STATE_ROLES)
    return
  }
  let widened = 0
  yield* compareArena(file, run.model, STATE_ROLES, async (name, role, entry) => {
    if (!entry.parameter.trainable || !(role === 'weights' || role === 'ema')) return {}
    using gradient = run.model.arena.view('gradients', entry)
    const { lr: learningRate, eps: epsilon, max_grad_norm: maxGradNorm } = args
    const allowance = await firstUpdateAllowance(gradient, { learningRate, epsilon, maxGradNorm, gradNorm })
    if (role === 'ema') return { allowance: allowance.map((value) => (1 - args.ema_decay) * value) }
    const { tol } = file.tensors[name]!
    widened += allowance.filter((value) => tol && value > tol.atol).length
    return { allowance }
  })
  if (widened > 0) {
    yield { note: `${widened} elements have a gradient that is rounding; Adam's first step on them is not determined` }
  }
}

/** Compares the tensors named PREFIX.PARAMETER with the arena's array of that prefix. */
async function* compareArena(
  file: GoldenFile,
  model: SiT,
  roles: Readonly<Record<string, ArenaRole>>,
  rulesOf: (name: string, role: ArenaRole, entry: StateEntry) => Promise<ComparisonRules> = async () => ({}),
) {
  const entries = new Map(model.entries.map((entry) => [entry.name, entry]))
  for (const name of Object.keys(file.tensors)) {
    const dot = name.indexOf('.')
    const role = roles[name.slice(0, dot)]
    const entry = entries.get(name.slice(dot + 1))
    if (role === undefined || entry === undefined) continue
    using actual = model.arena.view(role, entry)
    yield await file.compare(name, actual, await rulesOf(name, role, entry))
  }
}

/** Everything the steps draw from, in host memory: a pool of samples, and for each step which of them, when and with what noise. */
interface TrainingInputs {
  readonly latents: HostTensor
  readonly features: readonly HostTensor[]
  readonly t: HostTensor
  readonly noise: HostTensor
  /** [steps, batch], rows of the pool. */
  readonly index: Int32Array
  /** [steps, batch], already dropped. */
  readonly labels: Int32Array
  readonly steps: number
  readonly batch: number
}

async function readInputs(set: GoldenSet, path: string, encoders: number): Promise<TrainingInputs> {
  await using file = set.file(path)
  const shape = file.tensors.index?.shape
  if (shape?.length !== 2) throw new Error(`${path}: the manifest describes no index [steps, batch].`)
  return {
    latents: await file.read('pool.x'),
    features: await Promise.all(Array.from({ length: encoders }, (_, k) => file.read(`pool.z.${k}`))),
    t: await file.read('time_input'),
    noise: await file.read('noise'),
    index: await file.readInt32('index'),
    labels: await file.readInt32('y_eff'),
    steps: shape[0]!,
    batch: shape[1]!,
  }
}

class TrainingRun implements Disposable {
  readonly model: SiT
  readonly #args: TrainingArguments
  readonly #path: 'linear' | 'cosine'
  readonly #inputs: TrainingInputs
  readonly #optimizer: AdamW
  readonly #seen = new ObservedTensors()

  private constructor(model: SiT, args: TrainingArguments, path: 'linear' | 'cosine', inputs: TrainingInputs) {
    this.model = model
    this.#args = args
    this.#path = path
    this.#inputs = inputs
    this.#optimizer = new AdamW(model.arena, {
      learningRate: args.lr,
      betas: args.betas,
      epsilon: args.eps,
      weightDecay: args.weight_decay,
      maxGradNorm: args.max_grad_norm,
      emaDecay: args.ema_decay,
    })
  }

  static async start(file: GoldenFile, args: TrainingArguments, device: Device): Promise<TrainingRun> {
    const inputs = await readInputs(file.set, args.inputs, args.config.alignWidths.length)
    const path = args.path ?? pathInHyper.parse(file.goldenCase.hyper).path
    const model = await loadSiT(file.set, args, device)
    try {
      return new TrainingRun(model, args, path, inputs)
    } catch (error) {
      model.dispose()
      throw error
    }
  }

  /** The losses and gradients of a step, counted from 0. */
  forwardBackward(step: number): void {
    const { latents, features, t, noise, index, labels, steps, batch } = this.#inputs
    if (step >= steps) throw new Error(`${this.#args.inputs} has inputs for ${steps} steps; step ${step + 1} has none.`)
    const { device } = this.model
    const rows = Array.from({ length: batch }, (_, b) => step * batch + b)
    const samples = rows.map((row) => index[row]!)
    const shapeOf = (tensor: HostTensor, leading: number) => [batch, ...tensor.shape.slice(leading)]
    scope(() => {
      const losses = forwardBackward(
        this.model,
        {
          latents: Tensor.from(gather(latents, 1, samples), shapeOf(latents, 1), device),
          condition: Tensor.from(
            Int32Array.from(rows, (row) => labels[row]!),
            [batch],
            device,
          ),
          t: Tensor.from(gather(t, 2, rows), [batch], device),
          noise: Tensor.from(gather(noise, 2, rows), shapeOf(noise, 2), device),
          targets: features.map((feature) => Tensor.from(gather(feature, 1, samples), shapeOf(feature, 1), device)),
        },
        { objective: new SiTObjective({ path: this.#path }), alignWeight: this.#args.proj_coeff },
      )
      this.#seen.observe('denoising', losses.denoising)
      if (losses.alignment) this.#seen.observe('alignment', losses.alignment)
    })
  }

  /** Of the last step: the mean of the denoising loss, and the projection loss (0 without encoders). */
  async losses(): Promise<{ denoising: number; alignment: number }> {
    const denoising = meanOf(await this.#seen.get('denoising')!.data())
    const alignment = this.#seen.get('alignment') ? (await this.#seen.get('alignment')!.dataAs('f64'))[0]! : 0
    return { denoising, alignment }
  }

  /** Clips, updates weights, moments and EMA; returns the gradients' norm before clipping. */
  async update(): Promise<number> {
    this.#optimizer.step()
    return (await this.#optimizer.state()).gradNorm
  }

  [Symbol.dispose](): void {
    this.#seen[Symbol.dispose]()
    this.#optimizer.dispose()
    this.model.dispose()
  }
}

/** Rows of a tensor whose first `leading` axes are counted as one. */
function gather(tensor: HostTensor, leading: number, rows: readonly number[]): Float32Array {
  const all = toFloat32(tensor)
  const size = elementCount(tensor.shape.slice(leading))
  const out = new Float32Array(rows.length * size)
  rows.forEach((row, i) => {
    if (row < 0 || (row + 1) * size > all.length)
      throw new RangeError(`There is no row ${row} among the stored inputs.`)
    out.set(all.subarray(row * size, (row + 1) * size), i * size)
  })
  return out
}
