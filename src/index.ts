/** The library's front door. Importing it loads neither the addon nor anything that decodes images. */
export type { Encoder } from './alignment/encoder.ts'
export type { LoadEncoderOptions } from './alignment/encoders.ts'
export type { DecodeBenchmark, DecodeBenchmarkOptions } from './benchmark/decode.ts'
export type { GpuKernelBenchmark, GpuKernelBenchmarkOptions } from './benchmark/gpu-kernels.ts'
export type { GpuStepBenchmark, GpuStepBenchmarkOptions } from './benchmark/gpu-step.ts'
export type { KernelBenchmarkOptions, KernelResult } from './benchmark/kernels.ts'
export type { SamplingBenchmark, SamplingBenchmarkOptions } from './benchmark/sampling.ts'
export type { StepBenchmark, StepBenchmarkOptions } from './benchmark/step.ts'
export { ConfigurationError } from './configuration/parse.ts'
export type { Adoption } from './conversion/adopt.ts'
export type { Conversion, ConvertOptions } from './conversion/convert.ts'
export { Dataset } from './data/dataset.ts'
export type { FeatureEncoder } from './data/feature-encoder.ts'
export { Loader } from './data/loader.ts'
export type { PrepareOptions } from './data/prepare.ts'
export type { DemoEvaluation, DemoOptions, DemoResult } from './demo.ts'
export type { DiffusionSamplerOptions } from './diffusion/ddpm-sampler.ts'
export { type GaussianDiffusion, gaussianDiffusion } from './diffusion/gaussian-diffusion.ts'
export type { Guidance } from './diffusion/guidance.ts'
export { type SampledImages, sampleImages } from './diffusion/sample-images.ts'
export type { SampleResult, SampleToFolderOptions } from './diffusion/sample-to-folder.ts'
export { type SamplerOptions, sample } from './diffusion/samplers.ts'
export { type TransportLossWeight, transportLoss, transportPlan } from './diffusion/transport/loss.ts'
export type { TransportOdeOptions } from './diffusion/transport/ode.ts'
export type { TransportSdeOptions } from './diffusion/transport/sde.ts'
export { type Transport, transport } from './diffusion/transport/transport.ts'
export { type JoinOptions, withProcesses } from './distributed/join.ts'
export { ALONE, type World } from './distributed/world.ts'
export type { Diagnosis } from './doctor/diagnose.ts'
export type { CknnaPoint, CknnaResult, EvaluateCknnaOptions } from './evaluation/cknna.ts'
export type { CompareImagesOptions, ImageComparison } from './evaluation/compare-images.ts'
export type { EncoderProbeResult, EvaluateEncoderProbeOptions } from './evaluation/encoder-probe.ts'
export type { FeatureNetwork } from './evaluation/feature-network.ts'
export type { Gaussian } from './evaluation/feature-statistics.ts'
export type { EvaluateProbeOptions, ProbePoint, ProbeResult } from './evaluation/probe.ts'
export { SafetensorsFile } from './formats/safetensors.ts'
export { writeSafetensors } from './formats/safetensors-writer.ts'
export { TorchCheckpoint } from './formats/torch-checkpoint.ts'
export {
  adoptCheckpoint,
  benchmarkDecode,
  benchmarkGpuKernels,
  benchmarkGpuStep,
  benchmarkKernels,
  benchmarkSampling,
  benchmarkStep,
  compareImages,
  convert,
  demo,
  doctor,
  evaluateCknna,
  evaluateEncoderProbe,
  evaluateProbe,
  frechetDistance,
  loadAutoencoder,
  loadEncoder,
  loadFeatureNetwork,
  loadInceptionNetwork,
  loadModel,
  openFeatureEncoder,
  plan,
  prepare,
  pretrainEncoder,
  readRun,
  readRuns,
  renderReport,
  sampleDiffusion,
  sampleToFolder,
  sampleTransportOde,
  sampleTransportSde,
  train,
  verify,
  watch,
  writeTorchCheckpoint,
} from './jobs.ts'
export type { Autoencoder } from './models/autoencoder.ts'
export type { TransformerOutput } from './models/diffusion-transformer.ts'
export { DiT, type DiTConfig } from './models/dit.ts'
export type { LoadAutoencoderOptions } from './models/load-autoencoder.ts'
export { DIT_PRESETS, type DiTPreset, SIT_PRESETS, type SiTPreset } from './models/presets.ts'
export { SiT, type SiTConfig } from './models/sit.ts'
export type { PlanOptions, TrainingPlan } from './planning/plan.ts'
export type { PretrainingOptions } from './pretraining/configuration.ts'
export type { PretrainEncoderOptions, PretrainEncoderResult } from './pretraining/run.ts'
export type { Evaluation } from './report/evaluations.ts'
export type { ReportOptions } from './report/report.ts'
export type { ReadRunOptions, RunData } from './report/run.ts'
export type { Watch, WatchOptions } from './report/watch/watch.ts'
export { type Device, memoryStats, resolveDevice, setMemoryLimit, synchronize } from './tensor/device.ts'
export { keep, release, scope } from './tensor/scope.ts'
export { Tape } from './tensor/tape.ts'
export { Tensor } from './tensor/tensor.ts'
export { type TrainingConfiguration, type TrainingOptions, trainingSchema } from './training/configuration.ts'
export type { LoadedModel } from './training/load-model.ts'
export { forwardBackward, type Objective } from './training/objective.ts'
export { objectiveFor } from './training/objectives.ts'
export { AdamW, type StepState } from './training/optimizer.ts'
export type { TrainOptions, TrainResult } from './training/run.ts'
export { Trainer } from './training/trainer.ts'
export type { Alignment, TrainerOptions, TrainingStep } from './training/trainer-options.ts'
export type { VerifyOptions, VerifyReport } from './verification/verify.ts'
