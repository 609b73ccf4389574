/** What one call does from beginning to end. Each is loaded when it is called: importing the library waits for none of them. */

import { deviceOf } from './tensor/device.ts'
import type { TrainOptions } from './training/run.ts'

/** An async function that is loaded at its first call. */
function loaded<A extends unknown[], R>(
  load: () => Promise<(...args: A) => R | Promise<R>>,
): (...args: A) => Promise<R> {
  return async (...args) => (await load())(...args)
}

/** As `loaded`, of what computes on the `device` of its options, which may then be called `auto` or `cuda` too. */
function loadedOnDevice<A extends unknown[], R>(
  load: () => Promise<(...args: A) => R | Promise<R>>,
): (...args: A) => Promise<R> {
  const call = loaded(load)
  return async (...args) => call(...(args.map(withDevice) as A))
}

function withDevice(argument: unknown): unknown {
  if (typeof argument !== 'object' || argument === null || !('device' in argument)) return argument
  if (typeof argument.device !== 'string') return argument
  const device = deviceOf(argument.device)
  return device === argument.device ? argument : { ...argument, device }
}

export const adoptCheckpoint = loaded(async () => (await import('./conversion/adopt.ts')).adoptCheckpoint)
export const benchmarkDecode = loadedOnDevice(async () => (await import('./benchmark/decode.ts')).benchmarkDecode)
export const benchmarkGpuKernels = loadedOnDevice(
  async () => (await import('./benchmark/gpu-kernels.ts')).benchmarkGpuKernels,
)
export const benchmarkGpuStep = loadedOnDevice(async () => (await import('./benchmark/gpu-step.ts')).benchmarkGpuStep)
export const benchmarkKernels = loaded(async () => (await import('./benchmark/kernels.ts')).benchmarkKernels)
export const benchmarkSampling = loadedOnDevice(async () => (await import('./benchmark/sampling.ts')).benchmarkSampling)
export const benchmarkStep = loadedOnDevice(async () => (await import('./benchmark/step.ts')).benchmarkStep)
export const compareImages = loaded(async () => (await import('./evaluation/compare-images.ts')).compareImages)
export const convert = loaded(async () => (await import('./conversion/convert.ts')).convert)
export const demo = loadedOnDevice(async () => (await import('./demo.ts')).demo)
export const doctor = loaded(async () => (await import('./doctor/diagnose.ts')).diagnose)
export const plan = loaded(async () => (await import('./planning/plan.ts')).planTraining)
export const evaluateCknna = loaded(async () => (await import('./evaluation/cknna.ts')).evaluateCknna)
export const evaluateEncoderProbe = loadedOnDevice(
  async () => (await import('./evaluation/encoder-probe.ts')).evaluateEncoderProbe,
)
export const evaluateProbe = loaded(async () => (await import('./evaluation/probe.ts')).evaluateProbe)
export const frechetDistance = loaded(async () => (await import('./evaluation/frechet-distance.ts')).frechetDistance)
export const loadFeatureNetwork = loadedOnDevice(
  async () => (await import('./evaluation/feature-network.ts')).loadFeatureNetwork,
)
export const loadInceptionNetwork = loadedOnDevice(
  async () => (await import('./evaluation/feature-network.ts')).loadInceptionNetwork,
)
export const loadAutoencoder = loadedOnDevice(
  async () => (await import('./models/load-autoencoder.ts')).loadAutoencoder,
)
export const loadEncoder = loadedOnDevice(async () => (await import('./alignment/encoders.ts')).loadEncoder)
export const loadModel = loadedOnDevice(async () => (await import('./training/load-model.ts')).loadModel)
export const openFeatureEncoder = loadedOnDevice(
  async () => (await import('./training/feature-encoder.ts')).openFeatureEncoder,
)
export const prepare = loaded(async () => (await import('./data/prepare.ts')).prepareDataset)
export const pretrainEncoder = loadedOnDevice(async () => (await import('./pretraining/run.ts')).pretrainEncoder)
export const readRun = loaded(async () => (await import('./report/run.ts')).readRun)
export const readRuns = loaded(async () => (await import('./report/run.ts')).readRuns)
export const renderReport = loaded(async () => (await import('./report/report.ts')).renderReport)
export const sampleDiffusion = loaded(async () => (await import('./diffusion/ddpm-sampler.ts')).sampleDiffusion)
export const sampleToFolder = loaded(async () => (await import('./diffusion/sample-to-folder.ts')).sampleToFolder)
export const sampleTransportOde = loaded(async () => (await import('./diffusion/transport/ode.ts')).sampleTransportOde)
export const sampleTransportSde = loaded(async () => (await import('./diffusion/transport/sde.ts')).sampleTransportSde)
export const train = loadedOnDevice(async () => {
  const [{ train }, { chooseRecomputation }] = await Promise.all([
    import('./training/run.ts'),
    import('./planning/fit.ts'),
  ])
  return (options: TrainOptions) => train({ fit: chooseRecomputation, ...options })
})
export const verify = loadedOnDevice(async () => (await import('./verification/verify.ts')).verify)
export const watch = loaded(async () => (await import('./report/watch/watch.ts')).watch)
export const writeTorchCheckpoint = loaded(
  async () => (await import('./formats/torch-checkpoint-writer.ts')).writeTorchCheckpoint,
)
