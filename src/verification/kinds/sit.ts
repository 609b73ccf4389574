/** `sit.forward` and `sit.loss`: REPA's SiT (models/sit.py) and its training loss with all gradients (loss.py). */
import * as z from 'zod'
import type { DiffusionTransformer } from '../../models/diffusion-transformer.ts'
import type { SiT } from '../../models/sit.ts'
import { elementCount } from '../../tensor/dtype.ts'
import { type HostTensor, hostFloat32, hostFloat64, toFloat32 } from '../../tensor/host-tensor.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { forwardBackward } from '../../training/forward-backward.ts'
import { SiTObjective } from '../../training/sit-objective.ts'
import type { GoldenFile } from '../golden-set.ts'
import { ObservedTensors } from '../observed-tensors.ts'
import type { Runner } from './kind.ts'
import { loadSiT, sitArguments } from './sit-arguments.ts'

/** Chunks of one block's modulation. */
const BLOCK_CHUNKS = 6

export const sitForward: Runner = async function* (file, device) {
  using model = await loadSiT(file.set, file.args(z.object(sitArguments)), device)
  // The largest of what is shown, [B, T, 3D] of every block, only where the file has it.
  using seen = new ObservedTensors((name) => !name.endsWith('.qkv') || `mid.${name}` in file.tensors)
  await observeForward(file, model, seen)
  for (const name of Object.keys(file.tensors)) {
    const actual = await forwardTensor(name, seen)
    if (actual) yield await file.compare(name, actual)
  }
}

/** Runs the model on the file's `x`, `t` and `y`, and keeps `prediction`, `projections.K` and what the model shows. */
export async function observeForward(file: GoldenFile, model: SiT, seen: ObservedTensors): Promise<void> {
  const [x, t, y] = [await file.read('x'), await file.read('t'), await file.readInt32('y')]
  scope(() => {
    const { device } = model
    const output = model.forward(
      Tensor.fromHostTensor(x, device),
      Tensor.fromHostTensor(t, device),
      Tensor.from(y, [y.length], device),
      { project: true, observe: seen.observe },
    )
    seen.observe('prediction', output.prediction)
    output.projections.forEach((projection, k) => {
      seen.observe(`projections.${k}`, projection)
    })
  })
}

/** What the model has shown under a golden file's name of it, if it has. */
async function forwardTensor(name: string, seen: ObservedTensors): Promise<Tensor | HostTensor | undefined> {
  if (name === 'out') return seen.get('prediction')
  if (name.startsWith('zs.')) return seen.get(name.replace('zs', 'projections'))
  if (name === 'mid.tokens_in') return seen.get('tokens')
  const block = /^mid\.blocks\.(\d+)\.adaLN$/.exec(name)
  if (block) return blockModulation(await seen.get('modulation')!.toHost(), Number(block[1]))
  return name.startsWith('mid.') ? seen.get(name.slice('mid.'.length)) : undefined
}

/** One block's [B, 6D] of the modulation [B, chunks, D] of all. */
function blockModulation(modulation: HostTensor, block: number): HostTensor {
  const [batch, chunks, width] = modulation.shape as [number, number, number]
  const all = toFloat32(modulation)
  const out = new Float32Array(batch * BLOCK_CHUNKS * width)
  for (let b = 0; b < batch; b++) {
    const begin = (b * chunks + block * BLOCK_CHUNKS) * width
    out.set(all.subarray(begin, begin + BLOCK_CHUNKS * width), b * BLOCK_CHUNKS * width)
  }
  return hostFloat32(out, [batch, BLOCK_CHUNKS * width])
}

const lossArguments = z.object({
  ...sitArguments,
  path: z.enum(['linear', 'cosine']),
  proj_coeff: z.number(),
})

/** What the loss shows that files of `sit.loss` may hold. */
const LOSS_TENSORS = /^(input|prediction|projections\.\d+|denoising|alignment)$/

export const sitLoss: Runner = async function* (file, device) {
  const args = file.args(lossArguments)
  using model = await loadSiT(file.set, args, device)
  // Not the blocks' inside: of a full-size model that would be as much again as the backward pass needs.
  using seen = new ObservedTensors((name) => LOSS_TENSORS.test(name))
  const [images, noise, t] = [await file.read('images'), await file.read('noise'), await file.read('time_input')]
  const labels = await file.readInt32('y_eff')
  const targets = await Promise.all(model.config.alignWidths.map((_, k) => file.read(`z_target.${k}`)))
  model.arena.allocateGradients()
  scope(() => {
    const batch = {
      latents: Tensor.fromHostTensor(images, device),
      condition: Tensor.from(labels, [labels.length], device),
      t: Tensor.fromHostTensor(t, device),
      noise: Tensor.fromHostTensor(noise, device),
      targets: targets.map((target) => Tensor.fromHostTensor(target, device)),
    }
    const { path, proj_coeff: alignWeight } = args
    const losses = forwardBackward(model, batch, {
      objective: new SiTObjective({ path }),
      alignWeight,
      observe: seen.observe,
    })
    seen.observe('denoising', losses.denoising)
    if (losses.alignment) seen.observe('alignment', losses.alignment)
  })

  const denoising = await seen.get('denoising')!.data()
  const alignment = seen.get('alignment') ? (await seen.get('alignment')!.dataAs('f64'))[0]! : 0
  const scalar = (value: number): HostTensor => hostFloat64(Float64Array.of(value), [])
  const gradients = await gradientNorms(model)
  const order = file.goldenCase.hyper.grad_order
  const names = order === undefined ? [...gradients.keys()] : z.array(z.string()).parse(order)
  const computed: Record<string, () => HostTensor | Tensor | undefined> = {
    model_input: () => seen.get('input'),
    model_output: () => seen.get('prediction'),
    denoising_loss: () => seen.get('denoising'),
    proj_loss: () => scalar(alignment),
    total_loss: () => scalar(meanOf(denoising) + args.proj_coeff * alignment),
    grad_norms: () =>
      hostFloat64(
        Float64Array.from(names, (name) => gradients.get(name) ?? Number.NaN),
        [names.length],
      ),
    grad_norm_total: () => scalar(Math.hypot(...gradients.values())),
  }
  for (const name of Object.keys(file.tensors)) {
    if (name.startsWith('grad.')) {
      using gradient = gradientOf(model, name.slice('grad.'.length))
      yield await file.compare(name, gradient)
      continue
    }
    const actual = name.startsWith('z_tilde.') ? seen.get(name.replace('z_tilde', 'projections')) : computed[name]?.()
    if (actual) yield await file.compare(name, actual)
  }
}

export const meanOf = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** A parameter's gradient by its state dict name, as a view that the caller disposes. */
export function gradientOf(model: DiffusionTransformer, name: string): Tensor {
  const entry = model.entries.find((candidate) => candidate.name === name && candidate.parameter.trainable)
  if (!entry) throw new Error(`The model has no trainable parameter ${name}.`)
  return model.arena.view('gradients', entry)
}

/** The L2 norm of every trainable parameter's gradient, by state dict name and in its order. */
async function gradientNorms(model: SiT): Promise<Map<string, number>> {
  const norms = new Map<string, number>()
  for (const entry of model.entries) {
    if (!entry.parameter.trainable) continue
    using gradient = model.arena.view('gradients', entry)
    const values = await gradient.data()
    let sum = 0
    for (let i = 0; i < elementCount(entry.shape); i++) sum += values[i]! * values[i]!
    norms.set(entry.name, Math.sqrt(sum))
  }
  return norms
}
