/** What one call does from beginning to end. Each is loaded when it is called: importing the library waits for none of them. */

import { asCalled } from './configuration/as-called.ts'
import type { JoinOptions } from './distributed/join.ts'
import type { World } from './distributed/world.ts'
import { type Device, deviceOf } from './tensor/device.ts'
import type { TrainOptions } from './training/run.ts'

/** An async function that is loaded at its first call, with its options as they are at each. */
function loaded<A extends unknown[], R>(
  load: () => Promise<(...args: A) => R | Promise<R>>,
): (...args: A) => Promise<R> {
  return async (...args) => {
    const given = args.map(asCalled) as A
    return (await load())(...given)
  }
}

/** As `loaded`, of a generator, which does nothing before the first of what it makes is asked for. */
function loadedGenerator<A extends unknown[], T>(
  load: () => Promise<(...args: A) => AsyncGenerator<T, void, void>>,
): (...args: A) => AsyncGenerator<T, void, void> {
  return (...args) => {
    const given = args.map(asCalled) as A
    return (async function* () {
      yield* (await load())(...given)
    })()
  }
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

/** Makes a new run of a training checkpoint, the reference's file or a checkpoint's folder, from which `train` goes on by `resume`. */
export const adoptCheckpoint = loaded(async () => (await import('./conversion/adopt.ts')).adoptCheckpoint)
/** SHA-256 over the files of an autoencoder: what a data set records of the one that made its latents (`LatentEncoder.weights`). */
export const autoencoderDigest = loaded(async () => (await import('./models/autoencoder-files.ts')).autoencoderDigest)
/** Times the decoder of the Stable Diffusion VAE, beside PyTorch's where that is wanted. */
export const benchmarkDecode = loadedOnDevice(async () => (await import('./benchmark/decode.ts')).benchmarkDecode)
/** Times the kernels of a training step on a GPU, each in turn with a large product and a copy. */
export const benchmarkGpuKernels = loadedOnDevice(
  async () => (await import('./benchmark/gpu-kernels.ts')).benchmarkGpuKernels,
)
/** Times training steps of a SiT with REPA on a GPU, beside PyTorch's where that is wanted. */
export const benchmarkGpuStep = loadedOnDevice(async () => (await import('./benchmark/gpu-step.ts')).benchmarkGpuStep)
/** Times the kernels of a training step on the CPU, each in turn with the limit that it is compared with. */
export const benchmarkKernels = loaded(async () => (await import('./benchmark/kernels.ts')).benchmarkKernels)
/** Times the stochastic sampler, beside PyTorch's where that is wanted. */
export const benchmarkSampling = loadedOnDevice(async () => (await import('./benchmark/sampling.ts')).benchmarkSampling)
/** Times training steps of a SiT with REPA on the CPU, beside PyTorch's where that is wanted. */
export const benchmarkStep = loadedOnDevice(async () => (await import('./benchmark/step.ts')).benchmarkStep)
/** How close samples are to a reference: Fréchet distance, precision and recall; in the Inception network sFID and Inception Score too. */
export const compareImages = loaded(async () => (await import('./evaluation/compare-images.ts')).compareImages)
/** Converts between torch files, safetensors files and a run's checkpoint folders; names and dtypes stay as they are. */
export const convert = loaded(async () => (await import('./conversion/convert.ts')).convert)
/** The whole job on a small image set that the package draws itself: prepares, trains, samples, evaluates. */
export const demo = loadedOnDevice(async () => (await import('./demo.ts')).demo)
/** What this installation is, what it runs on, and whether it computes correctly. Never rejects for what it finds. */
export const doctor = loaded(async () => (await import('./doctor/diagnose.ts')).diagnose)
/** Mean and standard deviation of an autoencoder's latents by channel, over the images of a data set. */
export const measureLatents = loaded(async () => (await import('./data/measure-latents.ts')).measureLatents)
/** What a recipe takes before it is begun: memory by part, work, time, disk, and its commands. */
export const plan = loaded(async () => (await import('./planning/plan.ts')).planTraining)
/** How far a model's layers are aligned with an encoder, by layer and noise level. */
export const evaluateCknna = loaded(async () => (await import('./evaluation/cknna.ts')).evaluateCknna)
/** How well images fit their captions, by CLIP: the mean cosine of an image's features and its caption's. */
export const evaluateClipScore = loadedOnDevice(
  async () => (await import('./evaluation/clip-score.ts')).evaluateClipScore,
)
/** How much of the class an encoder's features know, by a linear probe. */
export const evaluateEncoderProbe = loadedOnDevice(
  async () => (await import('./evaluation/encoder-probe.ts')).evaluateEncoderProbe,
)
/** How much of the class a model's layers know, by linear probes, by layer and noise level. */
export const evaluateProbe = loaded(async () => (await import('./evaluation/probe.ts')).evaluateProbe)
/** The Fréchet distance of two Gaussians, in float64. */
export const frechetDistance = loaded(async () => (await import('./evaluation/frechet-distance.ts')).frechetDistance)
/** An encoder, or `resnet-cifar`, as what images are compared by (`compareImages`). */
export const loadFeatureNetwork = loadedOnDevice(
  async () => (await import('./evaluation/feature-network.ts')).loadFeatureNetwork,
)
/** The Inception network of the ADM suite, as what images are compared by (`compareImages`). */
export const loadInceptionNetwork = loadedOnDevice(
  async () => (await import('./evaluation/feature-network.ts')).loadInceptionNetwork,
)
/** An autoencoder from its files, AutoencoderKL, TAESD or a RAE: encodes photos and decodes latents; the caller disposes it. */
export const loadAutoencoder = loadedOnDevice(
  async () => (await import('./models/load-autoencoder.ts')).loadAutoencoder,
)
/** CLIP's text encoder with its tokenizer, frozen, to condition a model on captions; the caller disposes it. */
export const loadCaptionEncoder = loadedOnDevice(
  async () => (await import('./text/load-caption-encoder.ts')).loadCaptionEncoder,
)
/** A frozen encoder to align with: `hog`, `vit` of `pretrainEncoder`, or one of the paper's from the file that its authors publish. */
export const loadEncoder = loadedOnDevice(async () => (await import('./alignment/encoders.ts')).loadEncoder)
/** A SiT or DiT from a run's folder (its newest checkpoint), a checkpoint's folder, or a file of weights; the caller disposes it. */
export const loadModel = loadedOnDevice(async () => (await import('./training/load-model.ts')).loadModel)
/** An encoder of `loadEncoder` as `prepare` takes it to keep its features. */
export const openFeatureEncoder = loadedOnDevice(
  async () => (await import('./training/feature-encoder.ts')).openFeatureEncoder,
)
/** Writes a training data set: square images, and where they are asked for latents and features of encoders. */
export const prepare = loaded(async () => (await import('./data/prepare.ts')).prepareDataset)
/** Trains a vision transformer on a data set's images alone, to align with; in a folder, as `train` does. */
export const pretrainEncoder = loadedOnDevice(async () => (await import('./pretraining/run.ts')).pretrainEncoder)
/** Reads a run's folder: its configuration, and what it has logged, sampled and evaluated so far. */
export const readRun = loaded(async () => (await import('./report/run.ts')).readRun)
/** Reads several runs that are to be compared, with sample grids of the same steps. */
export const readRuns = loaded(async () => (await import('./report/run.ts')).readRuns)
/** One self-contained HTML page about the runs that `readRuns` read. */
export const renderReport = loaded(async () => (await import('./report/report.ts')).renderReport)
/** Samples a DiT from noise [B, C, H, W] (f32): the last state, f64 [B, C, H, W], which the caller disposes. */
export const sampleDiffusion = loaded(async () => (await import('./diffusion/ddpm-sampler.ts')).sampleDiffusion)
/** Samples a SiT from noise [B, C, H, W] (f32): the state at t = 0, f64, which the caller disposes. */
export const sampleFlow = loaded(async () => (await import('./diffusion/samplers.ts')).sampleFlow)
/**
 * Samples images in batches. Image number i depends on the seed, i and its label or caption alone; with dopri5, which chooses its steps by the
 * errors of all images of a batch, on these too.
 */
export const sampleImages = loadedGenerator(async () => (await import('./diffusion/sample-images.ts')).sampleImages)
/** Samples images to `FOLDER/000000.png` and on, with an npz and a grid where they are asked for. */
export const sampleToFolder = loaded(async () => (await import('./diffusion/sample-to-folder.ts')).sampleToFolder)
/** Samples the original SiT's probability-flow ODE from noise [B, C, H, W] (f32): the last state, f64, which the caller disposes. */
export const sampleTransportOde = loaded(async () => (await import('./diffusion/transport/ode.ts')).sampleTransportOde)
/** Samples the original SiT's SDE from noise [B, C, H, W] (f32): the last state, f64, which the caller disposes. */
export const sampleTransportSde = loaded(async () => (await import('./diffusion/transport/sde.ts')).sampleTransportSde)
/** Trains in a run's folder, as a configuration says, or goes on with an earlier run. */
export const train = loadedOnDevice(async () => {
  const [{ train }, { chooseRecomputation }] = await Promise.all([
    import('./training/run.ts'),
    import('./planning/fit.ts'),
  ])
  return (options: TrainOptions) => train({ ...options, fit: options?.fit ?? chooseRecomputation })
})
/** Compares this build with the golden vectors that a folder's manifest.json lists. */
export const verify = loadedOnDevice(async () => (await import('./verification/verify.ts')).verify)
/** Serves the report of runs on the loopback address and keeps it in step while they train. */
export const watch = loaded(async () => (await import('./report/watch/watch.ts')).watch)
/**
 * Runs a job with the processes that mpirun, srun or torchrun has started beside this one, or with ones that this one starts, a GPU each. Those
 * run the program from its beginning; distributed/join.ts says more.
 *
 * @throws {Error} where a launcher has started another number of processes, there are too few GPUs, or the others do not come
 */
export async function withProcesses<Result>(
  options: JoinOptions,
  job: (world: World, device: Device) => Promise<Result>,
): Promise<Result> {
  const join = await import('./distributed/join.ts')
  return join.withProcesses(options, job)
}

/** Writes a checkpoint that `torch.load` reads, whole or not at all. */
export const writeTorchCheckpoint = loaded(
  async () => (await import('./formats/torch-checkpoint-writer.ts')).writeTorchCheckpoint,
)
