/**
 * `diffusion.*`: DiT's Gaussian diffusion — its tables, its losses with gradients and under the other settings of create_diffusion, and
 * its sampling loops.
 */
import * as z from 'zod'
import type { BetaSchedule } from '../../diffusion/beta-schedule.ts'
import { denoise } from '../../diffusion/ddpm-sampler.ts'
import { type GaussianDiffusion, gaussianDiffusion } from '../../diffusion/gaussian-diffusion.ts'
import { type DiffusionPrediction, hybridLossTable, noisingTable } from '../../diffusion/hybrid-loss-table.ts'
import type { DiT } from '../../models/dit.ts'
import { type HostTensor, hostFloat32, hostFloat64 } from '../../tensor/host-tensor.ts'
import { joinBatches } from '../../tensor/ops/batch.ts'
import { combineSamples, guide, resizeChannels } from '../../tensor/ops/diffusion.ts'
import { hybridLoss, velocityLoss } from '../../tensor/ops/loss.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { DiTObjective } from '../../training/dit-objective.ts'
import { forwardBackward } from '../../training/forward-backward.ts'
import type { GoldenFile } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'
import { gradientOf } from './sit.ts'
import { rowOf, stacked } from './stacked.ts'
import { ditArguments, loadDiT } from './transformer-arguments.ts'

/** Tensors `CASE.TABLE`: a case is a schedule and its steps (`linear1000`), or a respacing of the linear 1000 (`respace_5_3`, `ddim25`). */
export const diffusionSchedules: Runner = async function* (file) {
  for (const name of Object.keys(file.tensors)) {
    const dot = name.indexOf('.')
    const options = scheduleOf(name.slice(0, dot))
    const table = TABLES[name.slice(dot + 1)]
    if (options && table) yield await file.compare(name, table(gaussianDiffusion(options)))
  }
}

function scheduleOf(name: string): { schedule: BetaSchedule; steps?: number; respacing?: string } | undefined {
  const whole = /^(linear|cosine)(\d+)$/.exec(name)
  if (whole) return { schedule: whole[1] === 'linear' ? 'linear' : 'squaredcos_cap_v2', steps: Number(whole[2]) }
  const sections = /^respace_?(\d+(?:_\d+)*)$/.exec(name)
  if (sections) return { schedule: 'linear', respacing: sections[1]!.replaceAll('_', ',') }
  return /^ddim\d+$/.test(name) ? { schedule: 'linear', respacing: name } : undefined
}

const float64 = (values: Float64Array): HostTensor => hostFloat64(values, [values.length])

const TABLES: Readonly<Record<string, (diffusion: GaussianDiffusion) => HostTensor>> = {
  betas: ({ betas }) => float64(betas),
  alphas_cumprod: ({ alphasCumprod }) => float64(alphasCumprod),
  alphas_cumprod_prev: ({ alphasCumprodPrev }) => float64(alphasCumprodPrev),
  posterior_variance: ({ posteriorVariance }) => float64(posteriorVariance),
  posterior_log_variance_clipped: ({ posteriorLogVarianceClipped }) => float64(posteriorLogVarianceClipped),
  posterior_mean_coef1: ({ posteriorMeanCoef1 }) => float64(posteriorMeanCoef1),
  posterior_mean_coef2: ({ posteriorMeanCoef2 }) => float64(posteriorMeanCoef2),
  timestep_map: ({ timestepMap }) => ({
    dtype: 'i64',
    shape: [timestepMap.length],
    data: new Uint8Array(BigInt64Array.from(timestepMap, BigInt).buffer),
  }),
}

/** The training pass, as Trainer makes it, and its gradients. */
export const diffusionLoss: Runner = async function* (file, device) {
  using model = await loadDiT(file.set, file.args(z.object(ditArguments)), device)
  using objective = new DiTObjective(model)
  using seen = new ObservedTensors((name) => /^(input|mse|vb)$/.test(name))
  const inputs = await lossInputs(file)
  model.arena.allocateGradients()
  scope(() => {
    const { xStart: latents, labels: condition, ...batch } = onDevice(inputs, model)
    const losses = forwardBackward(
      model,
      { ...batch, latents, condition, targets: [] },
      { objective, alignWeight: 0, observe: seen.observe },
    )
    seen.observe('mse', losses.denoising)
    if (losses.vb) seen.observe('vb', losses.vb)
  })
  const values = await lossTensors(seen)
  const computed: Readonly<Record<string, HostTensor | Tensor | undefined>> = { x_t: seen.get('input'), ...values }
  for (const name of Object.keys(file.tensors)) {
    if (name.startsWith('grad.')) {
      using gradient = gradientOf(model, name.slice('grad.'.length))
      yield await file.compare(name, gradient)
    } else if (computed[name]) {
      yield await file.compare(name, computed[name])
    }
  }
}

/** What create_diffusion makes of its arguments for the losses. */
interface LossVariant {
  readonly schedule?: BetaSchedule
  readonly predicts?: DiffusionPrediction
  /** A model that predicts no variance: of one that does, the first half. */
  readonly fixedVariance?: boolean
  /** The bound alone, times the number of steps (RESCALED_KL). */
  readonly kl?: boolean
  /** The bound times the number of steps over 1000 (RESCALED_MSE). */
  readonly rescaled?: boolean
}

/** By the tensors' prefix. */
const VARIANTS: Readonly<Record<string, LossVariant>> = {
  kl: { kl: true },
  rescaled: { rescaled: true },
  xstart: { predicts: 'x-start' },
  fixedlarge: { fixedVariance: true },
  fixedsmall: { fixedVariance: true },
  cosine: { schedule: 'squaredcos_cap_v2' },
}

/** Tensors `VARIANT.mse`, `.vb` and `.loss`. */
export const diffusionLossVariants: Runner = async function* (file, device) {
  using model = await loadDiT(file.set, file.args(z.object(ditArguments)), device)
  const inputs = await lossInputs(file)
  for (const [prefix, variant] of Object.entries(VARIANTS)) {
    const names = Object.keys(file.tensors).filter((name) => name.startsWith(`${prefix}.`))
    if (names.length === 0) continue
    using seen = new ObservedTensors()
    scope(() => observeVariant(model, onDevice(inputs, model), variant, seen))
    const values = await lossTensors(seen)
    for (const name of names) {
      const value = values[name.slice(prefix.length + 1)]
      if (value) yield await file.compare(name, value)
    }
  }
}

function observeVariant(
  model: DiT,
  { xStart, noise, t, labels }: DeviceInputs,
  { schedule, predicts = 'epsilon', fixedVariance = false, kl = false, rescaled = false }: LossVariant,
  seen: ObservedTensors,
): void {
  const { device, config } = model
  const diffusion = gaussianDiffusion({ schedule })
  const { steps } = diffusion
  const input = combineSamples(xStart, noise, t, Tensor.from(noisingTable(diffusion), [steps, 2], device))
  const { prediction } = model.forward(input, t, labels)
  const target = predicts === 'epsilon' ? noise : xStart
  if (fixedVariance || !config.learnSigma) {
    seen.observe('mse', velocityLoss(resizeChannels(prediction, config.channels), target))
    return
  }
  const table = Tensor.from(hybridLossTable(diffusion, predicts), [steps, 4], device)
  const { mse, vb } = hybridLoss(prediction, { target, x0: xStart, t, table }, { throughMean: kl })
  const factor = kl ? steps : rescaled ? steps / 1000 : 1
  const factors = Tensor.from(new Float64Array([factor, 0]), [1, 2], device)
  const first = Tensor.from(new Int32Array(vb.elements), vb.shape, device)
  seen.observe('vb', combineSamples(vb, vb, first, factors))
  if (!kl) seen.observe('mse', mse)
}

interface LossInputs {
  readonly xStart: HostTensor
  readonly noise: HostTensor
  readonly t: Int32Array
  readonly labels: Int32Array
}

type DeviceInputs = { readonly [K in keyof LossInputs]: Tensor }

async function lossInputs(file: GoldenFile): Promise<LossInputs> {
  return {
    xStart: await file.read('x_start'),
    noise: await file.read('noise'),
    t: await file.readInt32('t'),
    labels: await file.readInt32('y'),
  }
}

function onDevice({ xStart, noise, t, labels }: LossInputs, { device }: DiT): DeviceInputs {
  return {
    xStart: Tensor.fromHostTensor(xStart, device),
    noise: Tensor.fromHostTensor(noise, device),
    t: Tensor.from(t, [t.length], device),
    labels: Tensor.from(labels, [labels.length], device),
  }
}

/** `mse` and `vb`, as far as they were shown, and `loss`, their sum. */
async function lossTensors(seen: ObservedTensors): Promise<Record<string, HostTensor>> {
  const [mse, vb] = await Promise.all([seen.get('mse')?.data(), seen.get('vb')?.data()])
  const length = (mse ?? vb)!.length
  const loss = Float32Array.from({ length }, (_, b) => (mse?.[b] ?? 0) + (vb?.[b] ?? 0))
  return {
    ...(mse && { mse: hostFloat32(mse, [length]) }),
    ...(vb && { vb: hostFloat32(vb, [length]) }),
    loss: hostFloat32(loss, [length]),
  }
}

const sampleArguments = z.object({
  ...ditArguments,
  timestep_respacing: z
    .union([z.string(), z.int(), z.array(z.int())])
    .nullable()
    .transform((respacing) => String(respacing ?? '')),
  ddim: z.boolean(),
  eta: z.number().default(0),
  /** 0: no guidance; else the batch is doubled, its second half unconditional. */
  cfg_scale: z.number().default(0),
  clip_denoised: z.boolean().default(false),
})

/** p_sample_loop and ddim_sample_loop: all states `samples` [steps, N, C, H, W] from `z`, with the stored `noise` of every step. */
export const diffusionSample: Runner = async function* (file, device) {
  const args = file.args(sampleArguments)
  using model = await loadDiT(file.set, args, device)
  const diffusion = gaussianDiffusion({ respacing: args.timestep_respacing })
  // Where no step adds noise, a file need not have any.
  const noise = 'noise' in file.tensors ? await file.read('noise') : undefined
  const y = await file.readInt32('y')
  using labels = Tensor.from(y, [y.length], device)
  const half = y.length / 2
  const predict = (x: Tensor, t: number): Tensor => {
    const times = Tensor.full([y.length], t, device)
    if (args.cfg_scale === 0) return model.forward(x, times, labels).prediction
    // forward_with_cfg shows the model the first half twice.
    const combined = joinBatches(x.slice(0, half), x.slice(0, half))
    return guide(model.forward(combined, times, labels).prediction, args.cfg_scale, model.guidedChannels)
  }
  const states: Promise<HostTensor>[] = []
  using z = Tensor.fromHostTensor(await file.read('z'), device)
  using _last = await denoise(diffusion, predict, z, {
    mode: args.ddim ? 'ddim' : 'ddpm',
    eta: args.eta,
    clip: args.clip_denoised,
    ...(noise && { noise: (step) => Tensor.fromHostTensor(rowOf(noise, step), device) }),
    observe: (state) => states.push(state.toHost()),
  })
  yield await file.compare('samples', stacked(await Promise.all(states)))
}
