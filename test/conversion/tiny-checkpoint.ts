import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { type SiTConfig, sitConfigSchema } from '../../src/models/sit.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../src/tensor/host-tensor.ts'
import type { CheckpointState } from '../../src/training/checkpoint.ts'
import { trainingSchema } from '../../src/training/configuration.ts'

export const tinyModel: SiTConfig = sitConfigSchema.parse({
  kind: 'SiT',
  depth: 2,
  hidden: 16,
  heads: 2,
  patch: 2,
  inputSize: [8, 8],
  classes: 10,
  qkNorm: false,
  alignDepth: 1,
  alignWidths: [8],
  projectorWidth: 16,
})

/** The same as REG trains it. */
export const tinyRegModel: SiTConfig = { ...tinyModel, classTokenWidth: 8 }

const lightningDiTBlocks = { convention: 'sit', norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const

/** The same with LightningDiT's blocks. */
export const tinyLightningDiTModel: SiTConfig = { ...tinyModel, ...lightningDiTBlocks }

/** An MMDiT, as train_t2i.py trains it. */
export const tinyTextModel: SiTConfig = { ...tinyModel, classes: 0, text: { tokens: 77, width: 64 } }

/** Values that differ from those of every other seed. */
export function tensor(shape: readonly number[], seed: number): HostTensor {
  return hostFloat32(
    Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(1000 * seed + i)),
    shape,
  )
}

/** Of values that differ likewise. */
function squares(shape: readonly number[], seed: number): HostTensor {
  return hostFloat32(
    toFloat32(tensor(shape, seed)).map((value) => value ** 2),
    shape,
  )
}

/** What REPA's train.py would have saved at step 7 of training the tiny model, one step of them skipped; or REG's or train_t2i.py of its own. */
export function referenceCheckpoint(model = tinyModel) {
  const entries = transformerEntries(model)
  const parameters = entries.filter(({ isBuffer }) => !isBuffer)
  const stateDict = (seed: number) =>
    new Map(entries.map(({ name, shape }, i): [string, HostTensor] => [name, tensor(shape, seed + i)]))
  const state = new Map(
    [...parameters.entries()].flatMap(([i, { shape, parameter }]) => {
      const moments = {
        step: hostFloat32(Float32Array.of(6), []),
        exp_avg: tensor(shape, 3000 + i),
        exp_avg_sq: squares(shape, 4000 + i),
      }
      return parameter.trainable ? [[i, moments] as const] : []
    }),
  )
  const group = {
    lr: 0.0003,
    betas: [0.8, 0.99],
    eps: 1e-7,
    weight_decay: 0.01,
    amsgrad: false,
    foreach: null,
    maximize: false,
    capturable: false,
    params: parameters.map((_, i) => i),
  }
  return {
    model: stateDict(1000),
    ema: stateDict(2000),
    opt: { state, param_groups: [group] },
    args: {
      data_dir: 'data/tiny',
      ...(model.text ? { qk_norm: false, resolution: 64, cfg_prob: 0.1, legacy: false } : { num_classes: 10 }),
      encoder_depth: 1,
      enc_type: 'dinov2-vit-b',
      batch_size: 32,
      max_train_steps: 100,
      learning_rate: 0.0001,
      max_grad_norm: 2,
      seed: 5,
      path_type: 'cosine',
      weighting: 'lognormal',
      proj_coeff: 0.25,
      ...(model.classTokenWidth !== undefined && { cls: 0.05 }),
      mixed_precision: 'no',
      unknown: [1, { deeper: null }],
    },
    steps: 7,
  }
}

/** The state.json of the same. */
export const stateOf = (model: SiTConfig): CheckpointState => ({
  format: 1,
  step: 7,
  updates: 6,
  skipped: 1,
  seed: 5,
  model,
  configuration: {
    data: 'data/tiny',
    training: trainingSchema.parse({
      model: {
        kind: 'SiT',
        depth: 2,
        hidden: 16,
        heads: 2,
        patch: 2,
        ...(model.rope && lightningDiTBlocks),
        ...(model.text && { text: model.text }),
      },
      encoders: [{ name: 'dinov2-vit-b' }],
      steps: 100,
      batch: 32,
      learningRate: 0.0003,
      betas: [0.8, 0.99],
      epsilon: 1e-7,
      weightDecay: 0.01,
      maxGradNorm: 2,
      alignWeight: 0.25,
      alignDepth: 1,
      projectorWidth: 16,
      ...(model.classTokenWidth !== undefined && { classTokenWeight: 0.05 }),
      path: 'cosine',
      weighting: 'lognormal',
      seed: 5,
      precision: 'fp32',
    }),
  },
})

export const tinyState = stateOf(tinyModel)
