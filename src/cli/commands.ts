import type { Command } from './command.ts'
import type { CommandSummary } from './help.ts'

/** A command of the table. Its module is loaded only to run it or to print its own help. */
export interface CommandEntry extends CommandSummary {
  load(): Promise<Command>
}

/**
 * Every command, in the order of the help. The summary repeats the command's own, so that `repa --help` starts without
 * loading any of them; a command in turn imports the library in its `run`, so that its own help starts as fast.
 */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'doctor',
    summary: 'show versions, devices and threads, and test that the kernels compute correctly here',
    load: async () => (await import('./commands/doctor.ts')).doctorCommand,
  },
  {
    name: 'demo',
    summary: 'the whole job on images that the package draws: prepare, train, sample, evaluate, report',
    load: async () => (await import('./commands/demo.ts')).demoCommand,
  },
  {
    name: 'prepare',
    summary: 'turn images into a training data set: crops, captions, latents, cached features',
    load: async () => (await import('./commands/prepare.ts')).prepareCommand,
  },
  {
    name: 'latent-statistics',
    summary: "measure an autoencoder's latents by channel on prepared images, to standardise them",
    load: async () => (await import('./commands/latent-statistics.ts')).latentStatisticsCommand,
  },
  {
    name: 'plan',
    summary: 'say what a recipe takes before it is begun: memory, work, days, disk',
    load: async () => (await import('./commands/plan.ts')).planCommand,
  },
  {
    name: 'pretrain-encoder',
    summary: 'train a vision transformer to align with on the images themselves, without labels',
    load: async () => (await import('./commands/pretrain-encoder.ts')).pretrainEncoderCommand,
  },
  {
    name: 'train',
    summary: 'train a SiT or a DiT, with representation alignment where an encoder is named',
    load: async () => (await import('./commands/train.ts')).trainCommand,
  },
  {
    name: 'sample',
    summary: 'draw images from a checkpoint',
    load: async () => (await import('./commands/sample.ts')).sampleCommand,
  },
  {
    name: 'evaluate fid',
    summary: 'compare images with a reference: FID, sFID, Inception Score, precision, recall',
    load: async () => (await import('./commands/evaluate-fid.ts')).evaluateFidCommand,
  },
  {
    name: 'evaluate clip',
    summary: 'how well images fit their captions: the CLIP score',
    load: async () => (await import('./commands/evaluate-clip.ts')).evaluateClipCommand,
  },
  {
    name: 'evaluate probe',
    summary: 'linear probing: how much of the class the layers of a model, or an encoder, know',
    load: async () => (await import('./commands/evaluate-probe.ts')).evaluateProbeCommand,
  },
  {
    name: 'evaluate cknna',
    summary: "alignment of a model's layers with an encoder: CKNNA",
    load: async () => (await import('./commands/evaluate-cknna.ts')).evaluateCknnaCommand,
  },
  {
    name: 'convert',
    summary: 'convert weights and checkpoints between torch, safetensors and checkpoint folders',
    load: async () => (await import('./commands/convert.ts')).convertCommand,
  },
  {
    name: 'bench step',
    summary: 'time training steps: throughput, share of the measured peak, ratio to PyTorch',
    load: async () => (await import('./commands/bench-step.ts')).benchStepCommand,
  },
  {
    name: 'bench sample',
    summary: 'time the sampler: throughput, share of the measured peak, ratio to PyTorch',
    load: async () => (await import('./commands/bench-sample.ts')).benchSampleCommand,
  },
  {
    name: 'bench decode',
    summary: "time the autoencoder's decoder: seconds and peak memory, ratio to PyTorch",
    load: async () => (await import('./commands/bench-decode.ts')).benchDecodeCommand,
  },
  {
    name: 'bench kernels',
    summary: "time the kernels of a training step against the machine's measured limits",
    load: async () => (await import('./commands/bench-kernels.ts')).benchKernelsCommand,
  },
  {
    name: 'report',
    summary: 'write one self-contained HTML page about one or several runs',
    load: async () => (await import('./commands/report.ts')).reportCommand,
  },
  {
    name: 'watch',
    summary: "show the report of one or several runs live in a browser, while 'repa train' writes them",
    load: async () => (await import('./commands/watch.ts')).watchCommand,
  },
  {
    name: 'verify',
    summary: 'compare this build with golden vectors of the reference PyTorch code',
    load: async () => (await import('./commands/verify.ts')).verifyCommand,
  },
]
