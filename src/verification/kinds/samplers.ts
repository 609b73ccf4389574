/** `sampler.euler` (Euler and Heun for the ODE) and `sampler.euler-maruyama` (the SDE): REPA's samplers.py. */
import * as z from 'zod'
import { type SamplerOptions, sampleFlow } from '../../diffusion/samplers.ts'
import type { HostTensor } from '../../tensor/host-tensor.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { GoldenFile } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'
import { loadSiT, sitArguments } from './sit-arguments.ts'
import { rowOf, stacked } from './stacked.ts'

const samplerArguments = z.object({
  ...sitArguments,
  num_steps: z.int().positive(),
  heun: z.boolean().default(false),
  cfg_scale: z.number().default(1),
  guidance_low: z.number().default(0),
  guidance_high: z.number().default(1),
  path: z.enum(['linear', 'cosine']).default('linear'),
  null_label: z.int().nonnegative().optional(),
})

const runner = (mode: SamplerOptions['mode']): Runner =>
  async function* (file, device) {
    const args = file.args(samplerArguments)
    using model = await loadSiT(file.set, args, device)
    using seen = new ObservedTensors()
    const labels = await file.readInt32('y')
    using noise = Tensor.fromHostTensor(await file.read('latents'), device)
    const stochastic = mode === 'sde' ? await stepNoise(file) : undefined
    let calls = 0
    using out = await sampleFlow(model, noise, labels, {
      mode,
      solver: args.heun ? 'heun' : 'euler',
      steps: args.num_steps,
      path: args.path,
      guidance: {
        scale: args.cfg_scale,
        low: args.guidance_low,
        high: args.guidance_high,
        ...(args.null_label !== undefined && { nullLabel: args.null_label }),
      },
      ...(stochastic && { noise: (step) => Tensor.fromHostTensor(stochastic(step), device) }),
      observe: (input) => {
        seen.observe(String(calls), input)
        calls++
      },
    })
    if ('model_in' in file.tensors) yield await file.compare('model_in', await inputsOf(seen, calls))
    yield await file.compare('out', out)
  }

export const samplerEuler = runner('ode')
export const samplerEulerMaruyama = runner('sde')

/** The stored noise `eps` [steps − 1, N, C, H, W], a step at a time. */
async function stepNoise(file: GoldenFile): Promise<(step: number) => HostTensor> {
  const eps = await file.read('eps')
  return (step) => {
    if (step >= eps.shape[0]!)
      throw new Error(`${file.path}: eps holds ${eps.shape[0]} steps' noise; step ${step} has none.`)
    return rowOf(eps, step)
  }
}

/** The model inputs of all calls, [calls, N, C, H, W]. */
async function inputsOf(seen: ObservedTensors, calls: number): Promise<HostTensor> {
  const inputs: HostTensor[] = []
  for (let call = 0; call < calls; call++) inputs.push(await seen.get(String(call))!.toHost())
  return stacked(inputs)
}
