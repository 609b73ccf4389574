import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { expectClose, type NdArray, random, sizeOf } from './array.ts'
import { type GoldenFile, goldenDirectory, goldenFiles, goldenTensors } from './golden.ts'
import { type Path, pathCoefficients } from './interpolant.ts'
import { odeTimes, sampleOde, sampleSde, sdeDrift, sdeTimes, type Velocity } from './samplers.ts'
import { sitForward } from './sit.ts'

const Args = z.object({
  params: z.string(),
  num_steps: z.number(),
  heun: z.boolean().default(false),
  cfg_scale: z.number(),
  guidance_low: z.number(),
  guidance_high: z.number(),
  path: z.enum(['linear', 'cosine']),
  null_label: z.number(),
  config: z.object({
    patch_size: z.number(),
    depth: z.number(),
    num_heads: z.number(),
    encoder_depth: z.number(),
    z_dims: z.array(z.number()),
    qk_norm: z.boolean(),
  }),
})

function get(tensors: ReadonlyMap<string, NdArray>, name: string): NdArray {
  const tensor = tensors.get(name)
  if (!tensor) throw new Error(`The golden file holds no ${name}.`)
  return tensor
}

// Slices of the first axis.
function unstack(a: NdArray): NdArray[] {
  const shape = a.shape.slice(1)
  const size = sizeOf(shape)
  return Array.from({ length: a.shape[0] }, (_, i) => ({ shape, data: a.data.slice(i * size, (i + 1) * size) }))
}

const files: GoldenFile[] = [...goldenFiles('sampler.euler'), ...goldenFiles('sampler.euler-maruyama')]

describe.skipIf(!goldenDirectory)('samplers agree with the reference PyTorch code', () => {
  test.each(files.map((file) => [file.path, file] as const))('%s', (_, file) => {
    const args = Args.parse(file.args)
    const golden = file.tensors()
    const parameters = goldenTensors(args.params)
    const config = {
      patch: args.config.patch_size,
      depth: args.config.depth,
      heads: args.config.num_heads,
      encoderDepth: args.config.encoder_depth,
      projectors: 0,
      qkNorm: args.config.qk_norm,
    }
    const classes = Array.from(get(golden, 'y').data)
    const calls: NdArray[] = []
    const model: Velocity = (x, t, labels) => {
      if (labels === 'class') calls.push(x)
      const y = labels === 'class' ? classes : classes.map(() => args.null_label)
      return sitForward(parameters, config, x, { shape: [y.length], data: new Float64Array(y.length).fill(t) }, y)
        .output
    }
    const options = {
      steps: args.num_steps,
      path: args.path,
      cfgScale: args.cfg_scale,
      guidanceLow: args.guidance_low,
      guidanceHigh: args.guidance_high,
    }
    const latents = get(golden, 'latents')
    const out =
      file.kind === 'sampler.euler'
        ? sampleOde(model, latents, { ...options, heun: args.heun })
        : sampleSde(model, latents, unstack(get(golden, 'eps')), options)
    const inputs = unstack(get(golden, 'model_in'))
    expect(calls).toHaveLength(inputs.length)
    for (const [i, input] of inputs.entries()) {
      expectClose(`model_in[${i}]`, calls[i], input, file.tolerance('model_in'))
    }
    expectClose('out', out, get(golden, 'out'), file.tolerance('out'))
  })
})

test('time grids end where they should', () => {
  expect(odeTimes(4)).toEqual([1, 0.75, 0.5, 0.25, 0])
  const times = sdeTimes(250)
  expect(times).toHaveLength(251)
  expect([times[0], times[250]]).toEqual([1, 0])
  expect(times[249]).toBeCloseTo(0.04, 14)
  expect(sdeTimes(1)).toEqual([1, 0])
})

// Where the data are one point x0, v = alpha' x0 + sigma' eps is known exactly, and the ODE ends at x0.
test.each<Path>(['linear', 'cosine'])('the %s path leads noise to the only data point', (path) => {
  const x0 = random([1, 2, 3, 3], 1)
  const noise = random([1, 2, 3, 3], 2, 2)
  const model: Velocity = (x, t) => {
    const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(path, t)
    const v = x.data.map((value, i) => {
      const eps = sigma > 0 ? (value - alpha * x0.data[i]) / sigma : 0
      return dAlpha * x0.data[i] + dSigma * eps
    })
    return { shape: x.shape, data: v }
  }
  const options = { path, cfgScale: 1, guidanceLow: 0, guidanceHigh: 1, steps: 100 }
  // Straight lines are Euler's own. The cosine path has |x''| <= (pi/2)^2 |(x0, eps)| with |(x0, eps)| <= sqrt(5) here,
  // and Euler's error is half of that times the step.
  const atol = path === 'linear' ? 1e-12 : ((Math.PI / 2) ** 2 * Math.sqrt(5)) / 2 / options.steps
  expectClose('x0', sampleOde(model, noise, { ...options, heun: false }), x0, { atol, rtol: 0 })
})

// [derived] for the linear path in the reference: d = (2 - t) v + x.
test('the drift of the linear SDE', () => {
  const x = random([2, 3], 1)
  const v = random([2, 3], 2)
  for (const t of [1, 0.5, 0.04]) {
    const expected = { shape: x.shape, data: x.data.map((value, i) => (2 - t) * v.data[i] + value) }
    expectClose(`drift at ${t}`, sdeDrift(v, x, t, 'linear'), expected, { atol: 1e-14, rtol: 1e-14 })
  }
})
