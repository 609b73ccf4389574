/** `sit-orig.forward` and `transport.*`: the original SiT (willisma/SiT) and its transport library. Its t = 0 is noise. */
import * as z from 'zod'
import { LOSS_WEIGHTS, transportLoss, transportPlan } from '../../diffusion/transport/loss.ts'
import { ODE_METHODS, sampleTransportOde } from '../../diffusion/transport/ode.ts'
import { TRANSPORT_PATHS } from '../../diffusion/transport/path.ts'
import { DIFFUSION_FORMS, LAST_STEPS, SDE_METHODS, sampleTransportSde } from '../../diffusion/transport/sde.ts'
import { TRANSPORT_PREDICTIONS, type Transport, transport } from '../../diffusion/transport/transport.ts'
import type { Device } from '../../tensor/device.ts'
import { elementAt, type HostTensor, toFloat32 } from '../../tensor/host-tensor.ts'
import { guide } from '../../tensor/ops/diffusion.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { Comparison, ComparisonRules } from '../comparison.ts'
import type { GoldenFile } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'
import { rowOf, stacked } from './stacked.ts'
import { forwardInputs, loadOriginalSiT, originalSiTArguments, predict } from './transformer-arguments.ts'

export const sitOriginalForward: Runner = async function* (file, device) {
  const args = file.args(z.object({ ...originalSiTArguments, cfg_scale: z.number().default(1) }))
  using model = await loadOriginalSiT(file.set, args, device)
  const { once, twice } = await forwardInputs(file)
  if ('out' in file.tensors) {
    using out = predict(model, once)
    yield await file.compare('out', out)
  }
  // Named by its scale: out_cfg4.
  for (const name of Object.keys(file.tensors).filter((tensor) => /^out_cfg/.test(tensor))) {
    using both = predict(model, twice)
    using guided = guide(both, args.cfg_scale, model.guidedChannels)
    yield await file.compare(name, guided)
  }
}

const transportArguments = {
  ...originalSiTArguments,
  path_type: z.enum(TRANSPORT_PATHS),
  prediction: z.enum(TRANSPORT_PREDICTIONS),
  train_eps: z.number().nullish(),
  sample_eps: z.number().nullish(),
}

type TransportArguments = z.output<z.ZodObject<typeof transportArguments>>

const transportOf = (args: TransportArguments): Transport =>
  transport(args.path_type, args.prediction, {
    trainEps: args.train_eps ?? undefined,
    sampleEps: args.sample_eps ?? undefined,
  })

/** Transport.training_losses on the stored noise `x0` and times `t`. */
export const transportTrainingLoss: Runner = async function* (file, device) {
  const args = file.args(z.object({ ...transportArguments, loss_weight: z.enum(LOSS_WEIGHTS).nullish() }))
  using model = await loadOriginalSiT(file.set, args, device)
  const [x1, x0, times] = [await file.read('x1'), await file.read('x0'), await file.read('t')]
  const y = await file.readInt32('y')
  const t = numbersOf(times)
  using seen = new ObservedTensors()
  const kind = transportOf(args)
  scope(() => {
    const noise = Tensor.fromHostTensor(x0, device)
    const { xt, ut } = transportPlan(kind, { x0: noise, x1: Tensor.fromHostTensor(x1, device), t })
    const labels = Tensor.from(y, [y.length], device)
    const { prediction } = model.forward(xt, Tensor.fromHostTensor(times, device), labels)
    const loss = transportLoss(kind, prediction, { x0: noise, ut, t }, args.loss_weight ?? undefined)
    for (const [name, tensor] of Object.entries({ xt, ut, pred: prediction, loss })) seen.observe(name, tensor)
  })
  for (const name of Object.keys(file.tensors)) {
    const value = seen.get(name)
    if (value) yield await file.compare(name, value)
  }
}

function numbersOf(tensor: HostTensor): number[] {
  return Array.from({ length: tensor.shape[0]! }, (_, i) => elementAt(tensor, i))
}

const odeArguments = z.object({
  ...transportArguments,
  sampling_method: z.enum(ODE_METHODS),
  num_steps: z.int().positive(),
  atol: z.number().positive().default(1e-6),
  rtol: z.number().positive().default(1e-3),
})

/** Sampler.sample_ode: the states `xs` at all points of time, the first being `z`. */
export const transportOde: Runner = async function* (file, device) {
  const args = file.args(odeArguments)
  const { sampling_method: method, num_steps: points, atol, rtol } = args
  const sampler: Sampler = (predictor, z0, observe) =>
    sampleTransportOde(transportOf(args), predictor, z0, { method, points, atol, rtol, observe })
  const rules = method === 'dopri5' ? { allowance: stepAllowance(await file.read('xs'), args) } : {}
  yield await compareStates(file, args, device, sampler, rules)
}

/**
 * How far states are from each other that dopri5 reached by other steps: by its tolerance, of which its norm is a state's root mean square.
 * It takes steps by an estimate of its error, which at the first is the rounding of the model's sums; in another order of these it may fall on
 * the other side of a limit.
 */
function stepAllowance(xs: HostTensor, { atol, rtol }: z.infer<typeof odeArguments>): Float64Array {
  const values = toFloat32(xs)
  const size = values.length / xs.shape[0]!
  const allowance = new Float64Array(values.length)
  for (let begin = 0; begin < values.length; begin += size) {
    const squares = values.subarray(begin, begin + size).reduce((sum, value) => sum + value ** 2, 0)
    allowance.fill(atol + rtol * Math.sqrt(squares / size), begin, begin + size)
  }
  return allowance
}

/** The reference misspells one form. */
const FORM_NAMES = { 'inccreasing-decreasing': 'increasing-decreasing' } as const

const sdeArguments = z.object({
  ...transportArguments,
  sampling_method: z.enum(SDE_METHODS).default('Euler'),
  diffusion_form: z
    .enum([...DIFFUSION_FORMS, 'inccreasing-decreasing'])
    .default('SBDM')
    .transform((form) => (form === 'inccreasing-decreasing' ? FORM_NAMES[form] : form)),
  diffusion_norm: z.number().default(1),
  last_step: z.enum(LAST_STEPS).nullable().default('Mean'),
  last_step_size: z.number().nonnegative().default(0.04),
  num_steps: z.int().positive(),
})

/** Sampler.sample_sde: the states `xs` after every step from `z`, with the stored noise `w`. */
export const transportSde: Runner = async function* (file, device) {
  const args = file.args(sdeArguments)
  const w = await file.read('w')
  yield await compareStates(file, args, device, (predictor, z0, observe) =>
    sampleTransportSde(transportOf(args), predictor, z0, {
      method: args.sampling_method,
      form: args.diffusion_form,
      norm: args.diffusion_norm,
      lastStep: args.last_step,
      lastStepSize: args.last_step_size,
      steps: args.num_steps,
      noise: (step) => Tensor.fromHostTensor(rowOf(w, step), device),
      observe,
    }),
  )
}

type Sampler = (
  predict: (x: Tensor, t: number) => Tensor,
  z: Tensor,
  observe: (state: Tensor) => void,
) => Promise<Tensor>

/** All states that a sampler shows, from the file's `z` and labels `y`, against its `xs`. */
async function compareStates(
  file: GoldenFile,
  args: TransportArguments,
  device: Device,
  sampler: Sampler,
  rules: ComparisonRules = {},
): Promise<Comparison> {
  using model = await loadOriginalSiT(file.set, args, device)
  const y = await file.readInt32('y')
  using labels = Tensor.from(y, [y.length], device)
  using z0 = Tensor.fromHostTensor(await file.read('z'), device)
  const states: Promise<HostTensor>[] = []
  using _last = await sampler(
    (x, t) => model.forward(x, Tensor.full([y.length], t, device), labels).prediction,
    z0,
    (state) => states.push(state.toHost()),
  )
  return file.compare('xs', stacked(await Promise.all(states)), rules)
}
