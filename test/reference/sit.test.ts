import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { type AdamWState, adamW, clipCoefficient, exponentialMovingAverage } from './adamw.ts'
import { expectClose, fromValues, type NdArray, reshape, zeros } from './array.ts'
import { type GoldenFile, goldenDirectory, goldenFiles, goldenTensors } from './golden.ts'
import { lognormalTime } from './interpolant.ts'
import { type Parameters, type RepaBatch, repaLoss, type SiTConfig, sitForward } from './sit.ts'

const ModelConfig = z
  .object({
    patch_size: z.number(),
    depth: z.number(),
    num_heads: z.number(),
    encoder_depth: z.number(),
    z_dims: z.array(z.number()),
    qk_norm: z.boolean(),
  })
  .transform(
    (config): SiTConfig => ({
      patch: config.patch_size,
      depth: config.depth,
      heads: config.num_heads,
      encoderDepth: config.encoder_depth,
      projectors: config.z_dims.length,
      qkNorm: config.qk_norm,
    }),
  )
const Path = z.enum(['linear', 'cosine'])
const LossArgs = z.object({
  params: z.string(),
  config: ModelConfig,
  path: Path,
  weighting: z.enum(['uniform', 'lognormal']),
  proj_coeff: z.number(),
})
const TrainArgs = z.object({
  params: z.string(),
  config: ModelConfig,
  inputs: z.string(),
  lr: z.number(),
  betas: z.tuple([z.number(), z.number()]),
  eps: z.number(),
  weight_decay: z.number(),
  ema_decay: z.number(),
  max_grad_norm: z.number(),
  proj_coeff: z.number(),
})

function get(tensors: ReadonlyMap<string, NdArray>, name: string): NdArray {
  const tensor = tensors.get(name)
  if (!tensor) throw new Error(`The golden file holds no ${name}.`)
  return tensor
}

function scalar(value: number): NdArray {
  return { shape: [], data: Float64Array.of(value) }
}

function norm(a: NdArray): number {
  return clipCoefficient([a], 1).norm
}

// Compares everything that the file has under these roles; a tensor that `actual` does not know fails.
function expectGolden(file: GoldenFile, roles: string[], actual: (name: string) => NdArray): void {
  const golden = file.tensors()
  const names = file.names(...roles)
  expect(names.length).toBeGreaterThan(0)
  for (const name of names) {
    const keep = isMovedParameter(name) ? withoutKeyBias : (tensor: NdArray) => tensor
    expectClose(`${file.path}: ${name}`, keep(actual(name)), keep(get(golden, name)), file.tolerance(name))
  }
}

// Softmax does not see a shift of all its logits, so without qk-norm the gradient of the keys' bias is exactly zero;
// the reference has 1e-9 of rounding there, which Adam's division by its own size blows up to a fraction of lr.
function isMovedParameter(name: string): boolean {
  return /^(param|ema)\..*attn\.qkv\.bias$/.test(name)
}

function withoutKeyBias(bias: NdArray): NdArray {
  const width = bias.data.length / 3
  const kept = [...bias.data.subarray(0, width), ...bias.data.subarray(2 * width)]
  return fromValues([kept.length], kept)
}

describe.skipIf(!goldenDirectory)('the float64 SiT agrees with the reference PyTorch code', () => {
  test.each(goldenFiles('sit.forward').map((file) => [file.path, file] as const))('%s', (_, file) => {
    const args = z.object({ params: z.string(), config: ModelConfig }).parse(file.args)
    const golden = file.tensors()
    const parameters = goldenTensors(args.params)
    const labels = Array.from(get(golden, 'y').data)
    const saved = sitForward(parameters, args.config, get(golden, 'x'), get(golden, 't'), labels)
    expectGolden(file, ['output'], (name) =>
      name === 'out' ? saved.output : saved.projectors[Number(name.replace('zs.', ''))].z,
    )
    for (const [i, block] of saved.blocks.entries()) {
      const name = `mid.blocks.${i}`
      expectClose(name, block.out, get(golden, name), file.tolerance(name))
    }
  })

  test.each(goldenFiles('sit.loss').map((file) => [file.path, file] as const))('%s', (_, file) => {
    const args = LossArgs.parse(file.args)
    const golden = file.tensors()
    const result = repaLoss(
      goldenTensors(args.params),
      args.config,
      {
        images: get(golden, 'images'),
        noise: get(golden, 'noise'),
        t: get(golden, 'time_input'),
        labels: Array.from(get(golden, 'y_eff').data),
        targets: Array.from({ length: args.config.projectors }, (_, k) => get(golden, `z_target.${k}`)),
      },
      args.path,
      args.proj_coeff,
    )
    const actual = (name: string): NdArray => {
      if (name === 'model_input') return result.modelInput
      if (name === 'model_output') return result.activations.output
      if (name.startsWith('z_tilde.')) return result.activations.projectors[Number(name.slice(8))].z
      if (name === 'denoising_loss') return result.denoising
      if (name === 'proj_loss') return scalar(result.projection)
      if (name === 'total_loss') return scalar(result.total)
      if (name === 'grad_norm_total') return scalar(clipCoefficient([...result.gradients.values()], 1).norm)
      if (name === 'grad_norms') {
        const norms = file.gradOrder.map((parameter) => norm(get(result.gradients, parameter)))
        return fromValues([norms.length], norms)
      }
      return get(result.gradients, name.slice('grad.'.length))
    }
    expectGolden(file, ['intermediate', 'output', 'loss', 'grad'], actual)
    if (args.weighting === 'lognormal') {
      const times = get(golden, 'rnd_normal').data.map((value) => lognormalTime(args.path, value))
      // The file's times are float32: half an ulp below 1, and as much again from the reference's own arithmetic.
      expectClose('t', { shape: [times.length], data: times }, get(golden, 'time_input'), { atol: 2 ** -23, rtol: 0 })
    }
  })

  // Every state file is held against the reference's own run of as many steps from the start.
  test.each(goldenFiles('train.state').map((file) => [file.path, file] as const))(
    '%s',
    { timeout: 300_000 },
    (_, file) => {
      const args = TrainArgs.extend({ step: z.number() }).parse(file.args)
      const run = train(args, args.step)
      expectGolden(file, ['state', 'grad'], (name) => {
        const [kind] = name.split('.')
        const parameter = name.slice(kind.length + 1)
        if (kind === 'grad') return get(run.gradients, parameter)
        if (kind === 'ema') return get(run.ema, parameter)
        const state = run.states.get(parameter)
        if (!state) throw new Error(`There is no state of ${parameter}.`)
        if (kind === 'param') return state.parameter
        if (kind === 'exp_avg') return state.expAvg
        if (kind === 'exp_avg_sq') return state.expAvgSq
        throw new Error(`${name} is of no known kind.`)
      })
    },
  )

  // From the reference's own gradients, so here every element counts, the keys' bias too.
  test('clip, AdamW and EMA of one step', () => {
    const file = goldenFiles('train.state').find(({ path }) => path.endsWith('.step1.safetensors'))
    if (!file) throw new Error('The golden set has no training/*.step1.safetensors.')
    const args = TrainArgs.parse(file.args)
    const golden = file.tensors()
    const start = goldenTensors(args.params)
    const names = file.names('grad').map((name) => name.slice('grad.'.length))
    const gradients = names.map((name) => get(golden, `grad.${name}`))
    const { coefficient } = clipCoefficient(gradients, args.max_grad_norm)
    expect(coefficient).toBeLessThan(1)
    expect(names).toHaveLength(start.size - 1)
    const options = { lr: args.lr, betas: args.betas, eps: args.eps, weightDecay: args.weight_decay }
    for (const [i, name] of names.entries()) {
      const parameter = get(start, name)
      const moments = { expAvg: zeros(parameter.shape), expAvgSq: zeros(parameter.shape) }
      const next = adamW({ parameter, ...moments }, gradients[i], 1, options, coefficient)
      const ema = exponentialMovingAverage(parameter, next.parameter, args.ema_decay)
      // The reference rounds to float32 (2^-24 relative) some times: in the value, and in an update of at most lr.
      const tolerance = { atol: 8 * 2 ** -24 * args.lr, rtol: 2 * 2 ** -24 }
      expectClose(`param.${name}`, next.parameter, get(golden, `param.${name}`), tolerance)
      expectClose(`ema.${name}`, ema, get(golden, `ema.${name}`), tolerance)
    }
  })

  test.each(goldenFiles('train.log').map((file) => [file.path, file] as const))(
    '%s',
    { timeout: 300_000 },
    (_, file) => {
      const args = TrainArgs.extend({ steps: z.number() }).parse(file.args)
      expectGolden(file, ['loss'], () => train(args, args.steps).log)
    },
  )
})

// Loss, backward, clip, AdamW, EMA, `steps` times; the log's columns are those of the golden file.
function train(args: z.infer<typeof TrainArgs>, steps: number) {
  const start: Parameters = goldenTensors(args.params)
  const inputs = goldenTensors(args.inputs)
  const ema = new Map(start)
  const states = new Map<string, AdamWState>()
  for (const [name, parameter] of start) {
    if (name === 'pos_embed') continue
    states.set(name, { parameter, expAvg: zeros(parameter.shape), expAvgSq: zeros(parameter.shape) })
  }
  const log = zeros([steps, 4])
  let gradients = new Map<string, NdArray>()
  for (let step = 0; step < steps; step++) {
    const parameters = new Map(start)
    for (const [name, state] of states) parameters.set(name, state.parameter)
    const result = repaLoss(parameters, args.config, trainingBatch(inputs, step), 'linear', args.proj_coeff)
    gradients = result.gradients
    const { norm: gradNorm, coefficient } = clipCoefficient([...gradients.values()], args.max_grad_norm)
    for (const [name, state] of states) {
      const options = { lr: args.lr, betas: args.betas, eps: args.eps, weightDecay: args.weight_decay }
      const next = adamW(state, get(gradients, name), step + 1, options, coefficient)
      states.set(name, next)
      ema.set(name, exponentialMovingAverage(get(ema, name), next.parameter, args.ema_decay))
    }
    log.data.set(
      [result.total - args.proj_coeff * result.projection, result.projection, result.total, gradNorm],
      4 * step,
    )
  }
  return { states, ema, gradients, log }
}

function trainingBatch(inputs: ReadonlyMap<string, NdArray>, step: number): RepaBatch {
  const index = Array.from(rows(get(inputs, 'index'), [step]).data)
  const first = (name: string) => {
    const batch = rows(get(inputs, name), [step])
    return reshape(batch, batch.shape.slice(1))
  }
  return {
    images: rows(get(inputs, 'pool.x'), index),
    noise: first('noise'),
    t: first('time_input'),
    labels: Array.from(first('y_eff').data),
    targets: [rows(get(inputs, 'pool.z.0'), index)],
  }
}

// Picks rows along the first axis.
function rows(a: NdArray, indices: readonly number[]): NdArray {
  const size = a.data.length / a.shape[0]
  const out = zeros([indices.length, ...a.shape.slice(1)])
  for (const [to, from] of indices.entries()) out.data.set(a.data.subarray(from * size, (from + 1) * size), to * size)
  return out
}
