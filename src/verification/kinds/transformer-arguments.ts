/** How golden files name a DiT or an original SiT: the constructor arguments of their models.py, and a state dict. */
import * as z from 'zod'
import type { DiffusionTransformer } from '../../models/diffusion-transformer.ts'
import { DiT, type DiTConfig, ditConfigSchema } from '../../models/dit.ts'
import { SiT, type SiTConfig, sitConfigSchema } from '../../models/sit.ts'
import type { Device } from '../../tensor/device.ts'
import type { HostTensor } from '../../tensor/host-tensor.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { GoldenFile, GoldenSet } from '../golden-set.ts'
import { loadModel } from './load-model.ts'

const positive = z.int().positive()

/** Defaults are the constructors'. */
const constructorArguments = z.object({
  input_size: positive.default(32),
  patch_size: positive.default(2),
  in_channels: positive.default(4),
  hidden_size: positive.default(1152),
  depth: positive.default(28),
  num_heads: positive.default(16),
  mlp_ratio: z.number().positive().default(4),
  class_dropout_prob: z.number().min(0).max(1).default(0.1),
  num_classes: positive.default(1000),
  learn_sigma: z.boolean().default(true),
})

/** Through the model's own schema, whose issues become those of the arguments. */
const configThrough = <S extends z.ZodType>(schema: S, added: object) =>
  constructorArguments.transform((config, context): z.output<S> => {
    const result = schema.safeParse({
      ...added,
      depth: config.depth,
      hidden: config.hidden_size,
      heads: config.num_heads,
      patch: config.patch_size,
      inputSize: [config.input_size, config.input_size],
      channels: config.in_channels,
      classes: config.num_classes,
      mlpRatio: config.mlp_ratio,
      classDropout: config.class_dropout_prob,
      learnSigma: config.learn_sigma,
    })
    if (result.success) return result.data
    for (const { path, message } of result.error.issues) context.addIssue({ code: 'custom', path: [...path], message })
    return z.NEVER
  })

/** Args of every kind that runs a DiT with stored weights. */
export const ditArguments = { config: configThrough(ditConfigSchema, { kind: 'DiT' }), params: z.string() }

/** Args of every kind that runs an original SiT with stored weights. */
export const originalSiTArguments = {
  config: configThrough(sitConfigSchema, { kind: 'SiT', convention: 'sit' }),
  params: z.string(),
}

/** The DiT with its stored weights; the caller disposes it. */
export async function loadDiT(set: GoldenSet, { config, params }: Stored<DiTConfig>, device: Device): Promise<DiT> {
  await using file = set.file(params)
  return await loadModel(set, DiT.fromConfig(config, device), file.state())
}

/** The original SiT with its stored weights; the caller disposes it. */
export async function loadOriginalSiT(
  set: GoldenSet,
  { config, params }: Stored<SiTConfig>,
  device: Device,
): Promise<SiT> {
  await using file = set.file(params)
  return await loadModel(set, SiT.fromConfig(config, device), file.state())
}

interface Stored<C> {
  readonly config: C
  readonly params: string
}

/** The file's `x`, `t` and `y`, and the same twice over, the labels of the second half being the null class. */
export async function forwardInputs(file: GoldenFile): Promise<{ once: ForwardInputs; twice: ForwardInputs }> {
  const { config } = file.args(z.object({ config: constructorArguments }))
  const [x, t, y] = [await file.read('x'), await file.read('t'), await file.readInt32('y')]
  return {
    once: { x, t, y },
    twice: { x: doubled(x), t: doubled(t), y: Int32Array.from([...y, ...y.map(() => config.num_classes)]) },
  }
}

export interface ForwardInputs {
  readonly x: HostTensor
  readonly t: HostTensor
  readonly y: Int32Array
}

/** A model's prediction of them. */
export function predict(model: DiffusionTransformer, { x, t, y }: ForwardInputs): Tensor {
  const { device } = model
  return scope(
    () =>
      model.forward(
        Tensor.fromHostTensor(x, device),
        Tensor.fromHostTensor(t, device),
        Tensor.from(y, [y.length], device),
      ).prediction,
  )
}

/** Twice along the leading axis. */
function doubled({ dtype, shape, data }: HostTensor): HostTensor {
  return { dtype, shape: [2 * shape[0]!, ...shape.slice(1)], data: Buffer.concat([data, data]) }
}
