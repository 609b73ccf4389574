/** DiT's sampling, guidance included, against the states of the reference's loops: `verify` composes them of their parts. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { sampleDiffusion } from '../../src/diffusion/ddpm-sampler.ts'
import { DiT } from '../../src/models/dit.ts'
import { openWeights } from '../../src/models/weights-file.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { ditArguments } from '../../src/verification/kinds/transformer-arguments.ts'
import { expectClose, type NdArray, sizeOf } from '../reference/array.ts'
import { goldenFiles } from '../reference/golden.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'

const Args = z.object({
  ...ditArguments,
  timestep_respacing: z.string(),
  ddim: z.boolean(),
  eta: z.number(),
  cfg_scale: z.number(),
  clip_denoised: z.boolean(),
})

async function modelOf({ params, config }: z.output<typeof Args>): Promise<DiT> {
  await using weights = await openWeights(join(goldenFolder, params))
  const model = DiT.fromConfig(config, 'cpu')
  await model.load(weights)
  return model
}

/** The first `count` samples of [N, C, H, W], or of row `step` of [steps, N, C, H, W]. */
function samplesOf({ shape, data }: NdArray, count: number, step?: number): NdArray {
  const [all, ...rest] = step === undefined ? shape : shape.slice(1)
  const size = sizeOf(rest)
  const first = (step ?? 0) * all! * size
  return { shape: [count, ...rest], data: data.slice(first, first + count * size) }
}

const onDevice = ({ shape, data }: NdArray) => Tensor.from(Float32Array.from(data), shape, 'cpu')

describe.skipIf(!haveGolden)(`sampleDiffusion${goldenSuffix}`, () => {
  const files = goldenFiles('diffusion.sample')

  test.each(files.map((file) => [file.path, file] as const))('%s', async (_, file) => {
    const args = Args.parse(file.args)
    const tensors = file.tensors()
    const labels = Int32Array.from(tensors.get('y')!.data)
    // The reference doubles a guided batch: behind the samples they are again, with the null class.
    const isGuided = args.cfg_scale > 0
    const count = isGuided ? labels.length / 2 : labels.length
    const noise = tensors.get('noise')
    const states: Promise<Float64Array>[] = []
    using model = await modelOf(args)
    using start = onDevice(samplesOf(tensors.get('z')!, count))
    using last = await sampleDiffusion(model, start, labels.subarray(0, count), {
      mode: args.ddim ? 'ddim' : 'ddpm',
      steps: args.timestep_respacing,
      eta: args.eta,
      clip: args.clip_denoised,
      ...(isGuided && { guidance: { scale: args.cfg_scale, low: 0, high: 1 } }),
      ...(noise && { noise: (step: number) => onDevice(samplesOf(noise, count, step)) }),
      observe: (state) => states.push(state.dataAs('f64')),
    })
    const expected = tensors.get('samples')!
    const made = await Promise.all(states)
    expect(made).toHaveLength(expected.shape[0]!)
    for (const [step, data] of made.entries()) {
      const wanted = samplesOf(expected, count, step)
      expectClose(`state ${step}`, { shape: wanted.shape, data }, wanted, file.tolerance('samples'))
    }
    expect(await last.dataAs('f64')).toEqual(made.at(-1))
  })
})
