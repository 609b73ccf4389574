/** The library's front door. Importing it loads neither the addon nor anything that decodes images. */

export type { AttentionAlignment } from './alignment/attention-alignment.ts'
export type { Dispersive } from './alignment/dispersive.ts'
export type { Encoder } from './alignment/encoder.ts'
export type { LoadEncoderOptions } from './alignment/encoders.ts'
export type { FeatureLoss } from './alignment/repa.ts'
export type { AlignmentSchedule } from './alignment/schedule.ts'
export type { SelfAlignment } from './alignment/self-alignment.ts'
export type { StepBaseline } from './benchmark/beside-python.ts'
export type { DecodeBenchmark, DecodeBenchmarkOptions } from './benchmark/decode.ts'
export type { GpuKernelSizes } from './benchmark/gpu-kernel-cases.ts'
export type { GpuKernelBenchmark, GpuKernelBenchmarkOptions } from './benchmark/gpu-kernels.ts'
export type { FreeSizes, GpuBaseline, GpuStepBenchmark, GpuStepBenchmarkOptions } from './benchmark/gpu-step.ts'
export type { MeasuredRound } from './benchmark/interleave.ts'
export type { KernelBenchmarkOptions, KernelResult } from './benchmark/kernels.ts'
export type { SamplingBenchmark, SamplingBenchmarkOptions } from './benchmark/sampling.ts'
export type { StepBenchmark, StepBenchmarkOptions } from './benchmark/step.ts'
export type { SustainedOptions } from './benchmark/sustained.ts'
export { ConfigurationError } from './configuration/parse.ts'
export type { Adoption, AdoptOptions } from './conversion/adopt.ts'
export type { Conversion, ConvertOptions } from './conversion/convert.ts'
export { Dataset, type LatentKind, type LatentMaker, type Sample, type SampleTarget } from './data/dataset.ts'
export type { DatasetInfo, FeatureSettings } from './data/dataset-info.ts'
export type { OpenDatasetOptions } from './data/dataset-listing.ts'
export type { FeatureEncoder, TokenGrid } from './data/feature-encoder.ts'
export type { FeatureStore } from './data/feature-store.ts'
export type { ImageSourceOptions } from './data/image-sources.ts'
export type { LatentEncoder } from './data/latent-encoder.ts'
export { type Batch, Loader, type LoaderOptions } from './data/loader.ts'
export type { MeasuredLatents, MeasureLatentsOptions } from './data/measure-latents.ts'
export type { PrepareOptions } from './data/prepare.ts'
export type { PrepareProgress } from './data/prepare-progress.ts'
export type { Transform } from './data/transforms.ts'
export type { DemoEvaluation, DemoOptions, DemoResult } from './demo.ts'
export type { DiffusionSamplerOptions } from './diffusion/ddpm-sampler.ts'
export {
  type GaussianDiffusion,
  type GaussianDiffusionOptions,
  gaussianDiffusion,
} from './diffusion/gaussian-diffusion.ts'
export type { Guidance, SampledCondition, TextCondition } from './diffusion/guidance.ts'
export type {
  BatchOptions,
  Prompts,
  SampledImages,
  SampleImagesOptions,
  SamplingOptions,
} from './diffusion/sample-images.ts'
export type { SampleResult, SampleToFolderOptions } from './diffusion/sample-to-folder.ts'
export type { SamplerOptions } from './diffusion/samplers.ts'
export type { SamplingOrigin } from './diffusion/sampling-record.ts'
export type { Predict } from './diffusion/transport/field.ts'
export { type TransportLossWeight, transportLoss, transportPlan } from './diffusion/transport/loss.ts'
export type { TransportOdeOptions } from './diffusion/transport/ode.ts'
export type { TransportPath } from './diffusion/transport/path.ts'
export type { TransportSdeOptions } from './diffusion/transport/sde.ts'
export { type Transport, type TransportPrediction, transport } from './diffusion/transport/transport.ts'
export type { JoinOptions } from './distributed/join.ts'
export { ALONE, type World } from './distributed/world.ts'
export type { Diagnosis } from './doctor/diagnose.ts'
export type { CknnaPoint, CknnaResult, EvaluateCknnaOptions } from './evaluation/cknna.ts'
export type { ClipScore, EvaluateClipScoreOptions, ScoredImages } from './evaluation/clip-score.ts'
export type {
  CompareImagesOptions,
  ComparisonPart,
  ComparisonSide,
  ImageComparison,
} from './evaluation/compare-images.ts'
export type { EncoderProbeResult, EvaluateEncoderProbeOptions } from './evaluation/encoder-probe.ts'
export type { FeatureNetwork, FeatureNetworkOptions, ImageFeatures } from './evaluation/feature-network.ts'
export type { Gaussian } from './evaluation/feature-statistics.ts'
export type { ImageBatch } from './evaluation/image-set.ts'
export type { ProbeAccuracy, ProbeSchedule } from './evaluation/linear-probe.ts'
export type { EvaluateProbeOptions, ProbeImages, ProbePoint, ProbeResult } from './evaluation/probe.ts'
export type { AtomicWriteOptions, WritableFile, WritableFileSystem } from './formats/atomic-file.ts'
export { FileAccessError, FileFormatError } from './formats/errors.ts'
export type { LatentStatistics } from './formats/latent-statistics.ts'
export { type SafetensorsEntry, SafetensorsFile } from './formats/safetensors.ts'
export { type SafetensorsSource, type WriteSafetensorsOptions, writeSafetensors } from './formats/safetensors-writer.ts'
export type { TensorSource } from './formats/tensor-source.ts'
export type { TorchOpenOptions } from './formats/torch-archive.ts'
export { TorchCheckpoint, type TorchValue } from './formats/torch-checkpoint.ts'
export type { WritableTorchValue } from './formats/torch-checkpoint-writer.ts'
export type { TorchTensor } from './formats/torch-tensor.ts'
export {
  adoptCheckpoint,
  autoencoderDigest,
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
  evaluateClipScore,
  evaluateEncoderProbe,
  evaluateProbe,
  frechetDistance,
  loadAutoencoder,
  loadCaptionEncoder,
  loadEncoder,
  loadFeatureNetwork,
  loadInceptionNetwork,
  loadModel,
  measureLatents,
  openFeatureEncoder,
  plan,
  prepare,
  pretrainEncoder,
  readRun,
  readRuns,
  renderReport,
  sampleDiffusion,
  sampleFlow,
  sampleImages,
  sampleToFolder,
  sampleTransportOde,
  sampleTransportSde,
  train,
  verify,
  watch,
  withProcesses,
  writeTorchCheckpoint,
} from './jobs.ts'
export type { Autoencoder, DecodedImages, DecodeOptions } from './models/autoencoder.ts'
export type { AutoencoderHalf } from './models/autoencoder-kl.ts'
export type { ClipTextConfig } from './models/clip-text.ts'
export type { DiffusionTransformer } from './models/diffusion-transformer.ts'
export { DiT, type DiTConfig, type DiTOptions } from './models/dit.ts'
export type { LoadAutoencoderOptions } from './models/load-autoencoder.ts'
export { NotFiniteError } from './models/not-finite-error.ts'
export {
  DIT_PRESETS,
  DITDH_PRESETS,
  type DiTDHPreset,
  type DiTDHSettings,
  type DiTPreset,
  LIGHTNINGDIT_PRESETS,
  type LightningDiTPreset,
  type LightningDiTSettings,
  MMDIT_PRESETS,
  type MMDiTPreset,
  type MMDiTSettings,
  SIT_PRESETS,
  type SiTPreset,
  type TransformerSize,
} from './models/presets.ts'
export { SiT, type SiTConfig, type SiTConvention, type SiTOptions } from './models/sit.ts'
export type { TokenRoute, TokenRouting } from './models/token-route.ts'
export type { TransformerConfig } from './models/transformer-config.ts'
export type { AnyTransformer, TransformerKind } from './models/transformer-kinds.ts'
export type { ForwardOptions, HiddenStatesOptions, TransformerOutput } from './models/transformer-network.ts'
export type { InterpolantPath, MemoryStats, NativeErrorCode, TimeWeighting } from './native.ts'
export type { ParameterArena } from './nn/parameter-arena.ts'
export type { MeasuredStep } from './planning/measurements.ts'
export type { MemoryPlan } from './planning/memory.ts'
export type { PlanOptions, TrainingPlan } from './planning/plan.ts'
export type { PretrainingOptions } from './pretraining/configuration.ts'
export type { PretrainingStep } from './pretraining/pretrainer.ts'
export type { PretrainEncoderOptions, PretrainEncoderResult, PretrainingRun } from './pretraining/run.ts'
export type { Evaluation } from './report/evaluations.ts'
export type { Json, JsonObject } from './report/json.ts'
export type { Metrics } from './report/metrics-table.ts'
export type { ReportOptions } from './report/report.ts'
export type { ReadRunOptions, RunData } from './report/run.ts'
export type { SampleGrids } from './report/sample-grids.ts'
export type { Watch, WatchOptions } from './report/watch/watch.ts'
export { type Device, memoryStats, resolveDevice, setMemoryLimit, synchronize } from './tensor/device.ts'
export type { ComputeDType, DType } from './tensor/dtype.ts'
export type { Gradients } from './tensor/gradients.ts'
export type { HostTensor } from './tensor/host-tensor.ts'
export type { PackedHeads } from './tensor/ops/attention-alignment.ts'
export type { PixelRounding } from './tensor/ops/pixels.ts'
export type { Parameter } from './tensor/parameter.ts'
export type { RandomKey } from './tensor/random.ts'
export type { Recomputation } from './tensor/recomputation.ts'
export { keep, release, scope } from './tensor/scope.ts'
export { Tape, type TapeOptions } from './tensor/tape.ts'
export { type DeviceDType, Tensor } from './tensor/tensor.ts'
export type { CaptionEncoder } from './text/caption-encoder.ts'
export type { LoadCaptionEncoderOptions } from './text/load-caption-encoder.ts'
export type { AlignmentEncoder, CachedEncoder } from './training/cached-encoder.ts'
export type { CheckpointState } from './training/checkpoint.ts'
export { type TrainingConfiguration, type TrainingOptions, trainingSchema } from './training/configuration.ts'
export type { ContrastiveFlow } from './training/contrastive-flow.ts'
export type { OpenFeatureEncoderOptions } from './training/feature-encoder.ts'
export { forwardBackward, type Losses, type PassOptions } from './training/forward-backward.ts'
export type { GradientExchange } from './training/gradient-exchange.ts'
export type { LearningRateSchedule } from './training/learning-rate.ts'
export type { LoadedModel, LoadModelOptions } from './training/load-model.ts'
export type { Moments } from './training/moments.ts'
export type { ClassToken, DenoisingLosses, Noised, Objective, TrainingBatch } from './training/objective.ts'
export { type ObjectiveSettings, objectiveFor } from './training/objectives.ts'
export {
  AdamW,
  type AdamWOptions,
  type LossScaling,
  type OptimizerCounters,
  type StepSettings,
  type StepState,
} from './training/optimizer.ts'
export type { Precision } from './training/precision.ts'
export type { FitRequest, TrainingRun, TrainOptions, TrainResult } from './training/run.ts'
export type { StepTiming } from './training/steps-ahead.ts'
export type { RunEncoder, ToldRun } from './training/told-run.ts'
export { Trainer } from './training/trainer.ts'
export type {
  Alignment,
  BatchEncoder,
  ClassTokenDenoising,
  RunOptions,
  TrainerOptions,
  TrainingStep,
} from './training/trainer-options.ts'
export type { VerifyOptions, VerifyReport } from './verification/verify.ts'
