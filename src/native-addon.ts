/**
 * The addon's whole surface, one entry for every line of native/addon/ops.cpp, communicator.cpp, device.cpp and tensor.cpp. Shapes, meanings
 * and sources of the ops stand in native/ops/*.h.
 */
import type { ComputeDType, DType } from './tensor/dtype.ts'

declare const nativeTensorTag: unique symbol

/** A tensor inside the addon. Only `Tensor` holds one. */
export interface NativeTensor {
  readonly [nativeTensorTag]: true
}

export type Activation = 'none' | 'silu' | 'gelu-tanh' | 'gelu-erf' | 'quick-gelu'
/** What the stream is normalised by where a modulation follows. */
export type Norm = 'layerNorm' | 'rmsNorm'
export type ConvActivation = 'none' | 'silu' | 'relu'
export type PoolKind = 'max' | 'average' | 'average-including-zeros'
export type InterpolantPath = 'linear' | 'cosine'
export type TimeWeighting = 'uniform' | 'lognormal'

/** Instruction sets that the CPU kernels are compiled for, from the slowest to the fastest. */
export type CpuLevel = 'portable' | 'avx2' | 'avx512'

/** `code` of the errors that the addon throws. */
export type NativeErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_SHAPE'
  | 'ERR_DTYPE'
  | 'ERR_DEVICE'
  | 'ERR_DISPOSED'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_DEVICE_FAILED'

/** Bytes; `systemAllocations` counts requests to the system, which end once a training step repeats itself. */
export interface MemoryStats {
  liveBytes: number
  peakBytes: number
  cachedBytes: number
  limitBytes: number
  systemAllocations: number
}

/** What the operations of one name have cost. */
export interface OperationCost {
  calls: number
  seconds: number
}

/** Whether the addon has CUDA and can use it here; `reason` says why not, as a part of a sentence. */
export interface CudaInfo {
  state: 'not-built' | 'no-driver' | 'no-device' | 'too-old' | 'ready'
  reason: string
  /** As CUDA counts (13000 is 13.0); 0: unknown. */
  driverVersion: number
  runtimeVersion: number
  devices: CudaDeviceInfo[]
}

export interface CudaDeviceInfo {
  ordinal: number
  name: string
  memoryBytes: number
  computeCapability: string
  multiprocessors: number
  /** Whether the kernels run on it. */
  usable: boolean
}

type T = NativeTensor
type MaybeT = NativeTensor | null

export interface NativeAddon {
  cudaInfo(): CudaInfo
  cpuInfo(): { level: CpuLevel; threads: number; levels: CpuLevel[] }
  measureFmaPeak(seconds: number): Promise<number>
  synchronize(device: string): Promise<void>
  resetDevice(device: string): void
  allowTf32(device: string, on: boolean): void
  beginCapture(device: string): void
  endCapture(device: string): number
  launchGraph(device: string, graph: number): void
  destroyGraph(device: string, graph: number): void
  profile(device: string, on: boolean): void
  costs(device: string): Record<string, OperationCost>
  memoryStats(device: string): MemoryStats
  resetPeakMemory(device: string): void
  setMemoryLimit(device: string, bytes: number): void
  trimMemory(device: string): void

  communicatorId(device: string, size: number): string
  openCommunicator(device: string, id: string, rank: number, size: number): Promise<number>
  allReduceSum(communicator: number, tensors: readonly T[]): void
  allGather(communicator: number, tensor: T, share: number): void
  broadcast(communicator: number, tensor: T, root: number): void
  beginReduceSum(communicator: number, tensor: T, share: number, ranges: readonly number[]): void
  beginAllGather(communicator: number, tensor: T, share: number): void
  awaitBegun(communicator: number): void
  abortCommunicator(communicator: number, reason: string): void
  closeCommunicator(communicator: number): Promise<void>

  empty(shape: readonly number[], dtype: DType, device: string): T
  fromHost(data: NodeJS.TypedArray, shape: readonly number[], dtype: DType, device: string): T
  write(tensor: T, data: NodeJS.TypedArray): void
  read(tensor: T): Promise<ArrayBuffer>
  dispose(tensor: T): void
  shapeOf(tensor: T): number[]
  dtypeOf(tensor: T): DType
  sharesStorage(tensor: T): boolean
  alias(tensor: T): T
  reshape(tensor: T, shape: readonly number[]): T
  view(tensor: T, offset: number, shape: readonly number[]): T

  activation(x: T, kind: Activation): T
  activationBackward(dOut: T, x: T, kind: Activation): T
  swiGLU(x: T): T
  swiGLUBackward(dOut: T, x: T): T

  attention(qkv: T, heads: number, keepLse: boolean): [o: T, lse: MaybeT]
  causalAttention(qkv: T, heads: number): T
  attentionBackward(dO: T, qkv: T, o: T, lse: T, heads: number, dBias: MaybeT, accumulate: boolean): T
  attentionAlignmentLoss(
    qkv: T,
    heads: number,
    teacher: T,
    teacherHeads: number,
    aligned: number,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, gradient: MaybeT]
  qkNorm(
    qkv: T,
    qWeight: T,
    qBias: MaybeT,
    kWeight: T,
    kBias: MaybeT,
    heads: number,
    norm: Norm,
    epsilon: number,
  ): [T, mean: T, rstd: T]
  qkNormBackward(
    dNormed: T,
    qkv: T,
    qWeight: T,
    kWeight: T,
    mean: T,
    rstd: T,
    heads: number,
    norm: Norm,
    dqWeight: T,
    dqBias: MaybeT,
    dkWeight: T,
    dkBias: MaybeT,
    accumulate: boolean,
  ): T
  rotate(qkv: T, cos: T, sin: T, heads: number, transposed: boolean): void

  conv2d(
    x: T,
    coefficients: MaybeT,
    inputActivation: ConvActivation,
    upsample: number,
    weight: T,
    bias: MaybeT,
    stride: readonly number[],
    padding: readonly number[],
    residual: MaybeT,
    intoResidual: boolean,
    activation: ConvActivation,
    dtype: ComputeDType,
  ): T
  groupNormCoefficients(x: T, weight: T, bias: T, groups: number, epsilon: number): T
  groupNormApply(x: T, coefficients: T, activation: 'none' | 'silu', dtype: ComputeDType): T
  pool2d(x: T, kind: PoolKind, kernel: readonly number[], stride: readonly number[], padding: readonly number[]): T
  softmax(x: T, scale: number, dtype: ComputeDType): T
  concatenate(parts: readonly T[]): T

  accumulateCovariance(x: T, shift: T, sum: T, products: T): void
  float64Product(a: T, b: T): T
  symmetricEigen(matrix: T, vectors: boolean): [values: T, vectors: MaybeT]
  neighbourRadii(points: T, x: T, k: number): T
  insideBalls(points: T, centres: T, squaredRadii: T): T
  mostSimilar(x: T, k: number, includeSelf: boolean): T

  add(a: T, b: T): T
  scale(x: T, factor: number): T
  clamp(x: T, low: number, high: number): T
  softClamp(x: T, limit: number): T
  accumulate(sum: T, x: T): void
  fill(out: T, value: number): void
  copy(out: T, x: T): void

  combineSamples(x: T, y: MaybeT, rows: T, coefficients: T): T
  denoisingStep(x: T, prediction: T, noise: MaybeT, coefficients: readonly number[], clip: boolean): T
  guide(prediction: T, scale: number, channels: number): T
  resizeChannels(x: T, channels: number): T

  timestepEmbedding(t: T, dim: number, maxPeriod: number): T
  fourierFeatures(t: T, frequencies: T): T
  embedding(table: T, ids: T): T
  embeddingBackward(dOut: T, ids: T, dTable: T, accumulate: boolean): void

  interpolant(x: T, noise: T, t: T, path: InterpolantPath): [interpolated: T, velocity: T]
  samplePosterior(moments: T, noise: T, scale: number, bias: number): T
  posteriorMoments(parameters: T): T
  standardize(x: T, mean: T, std: T): T

  layerNorm(x: T, weight: T, bias: T, epsilon: number, dtype: ComputeDType): [T, mean: T, rstd: T]
  layerNormBackward(dOut: T, x: T, mean: T, rstd: T, weight: T, dWeight: T, dBias: T, accumulate: boolean): T
  normModulate(
    x: T,
    modulation: T,
    shiftChunk: number,
    scaleChunk: number,
    norm: Norm,
    epsilon: number,
    dtype: ComputeDType,
  ): [T, mean: T, rstd: T]
  normModulateBackward(
    dOut: T,
    x: T,
    mean: T,
    rstd: T,
    modulation: T,
    shiftChunk: number,
    scaleChunk: number,
    norm: Norm,
    dResidual: MaybeT,
    dModulation: T,
  ): T
  normFactors(modulation: T, weights: T): T
  normFactorsBackward(dModulation: T, modulation: T, weights: T, dWeights: T, accumulate: boolean): void

  linear(
    x: T,
    weight: T,
    bias: MaybeT,
    activation: Activation,
    keepPre: boolean,
    dtype: ComputeDType,
  ): [out: T, pre: MaybeT]
  linearGatedResidual(
    x: T,
    weight: T,
    bias: MaybeT,
    residual: T,
    modulation: T,
    gateChunk: number,
    keepY: boolean,
  ): [out: T, y: MaybeT]
  linearScaledResidual(x: T, weight: T, bias: MaybeT, residual: T, scale: T): T
  linearInputGradient(
    dOut: T,
    weight: T,
    pre: MaybeT,
    activation: Activation,
    dBias: MaybeT,
    accumulateBias: boolean,
  ): T
  linearWeightGradient(dOut: T, x: T, dWeight: T, accumulate: boolean): void
  linearWeightGradients(dOut: readonly T[], x: readonly T[], dWeight: readonly T[], accumulate: boolean): void

  linearCombination(coefficients: readonly number[], values: readonly T[]): T
  cast(x: T, dtype: DType): T

  cosineAlignmentLoss(
    projection: T,
    target: T,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, gradient: MaybeT]
  velocityLoss(
    prediction: T,
    target: T,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, gradient: MaybeT]

  hybridLoss(
    prediction: T,
    target: T,
    x0: T,
    t: T,
    table: T,
    mseWeight: number,
    vbWeight: number,
    throughMean: boolean,
    state: MaybeT,
    wantGradient: boolean,
  ): [mse: T, vb: T, gradient: MaybeT]
  velocityCosineLoss(
    prediction: T,
    target: T,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, gradient: MaybeT]
  smoothL1Loss(
    prediction: T,
    target: T,
    beta: number,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, gradient: MaybeT]

  l2Normalize(x: T): [unit: T, norms: T]
  l2NormalizeBackward(dUnit: T, unit: T, norms: T, dtype: ComputeDType): T
  crossEntropyLoss(
    logits: T,
    temperature: number,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, dLogits: MaybeT]
  squaredDistances(x: T): T
  dispersiveLoss(
    distances: T,
    scale: number,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, pull: MaybeT]

  entropy(p: T): T
  distillationLoss(
    student: T,
    targets: T,
    firstView: number,
    temperature: number,
    weight: number,
    state: MaybeT,
    wantGradient: boolean,
  ): [loss: T, dStudent: MaybeT]

  sumOfSquares(gradient: T, frozen: readonly number[], sums: T, index: number): void
  clipGradientNorm(sums: T, state: T, maxNorm: number, gradientScale: number, holdsLate: boolean): void
  adamW(
    weight: T,
    gradient: T,
    firstMoment: T,
    secondMoment: T,
    ema: MaybeT,
    computeWeight: MaybeT,
    frozen: readonly number[],
    undecayed: readonly number[],
    state: T,
    late: boolean,
    learningRate: number,
    beta1: number,
    beta2: number,
    epsilon: number,
    weightDecay: number,
    emaDecay: number,
    learningRateFactor: MaybeT,
  ): void
  followWeights(weight: T, ema: MaybeT, computeWeight: MaybeT, state: T, emaDecay: number): void

  patchEmbed(image: T, patch: number, weight: T, bias: MaybeT, positions: T): T
  patchEmbedBackward(
    dTokens: T,
    image: T,
    patch: number,
    dtype: ComputeDType,
    dWeight: T,
    dBias: MaybeT,
    accumulate: boolean,
  ): void
  patchify(image: T, patch: number, dtype: ComputeDType): T
  patchifyBackward(dPatches: T, channels: number, height: number, width: number, patch: number): T
  unpatchify(tokens: T, channels: number, height: number, width: number, patch: number): T
  unpatchifyBackward(dImage: T, patch: number, dtype: ComputeDType): T

  normalizeImages(images: T, divisor: number, mean: readonly number[], std: readonly number[]): T
  toUint8(images: T, shift: number, scale: number, offset: number): T
  hog(images: T, gridHeight: number, gridWidth: number): T

  fillUniform(out: T, low: number, high: number, seed: bigint, stream: number, step: number, first: number): void
  fillNormal(out: T, std: number, seed: bigint, stream: number, step: number, first: number): void
  fillTimesteps(
    out: T,
    weighting: TimeWeighting,
    path: InterpolantPath,
    shift: number,
    seed: bigint,
    stream: number,
    step: number,
    first: number,
  ): void
  fillIntegers(out: T, low: number, high: number, seed: bigint, stream: number, step: number, first: number): void
  dropLabels(
    labels: T,
    probability: number,
    nullClass: number,
    seed: bigint,
    stream: number,
    step: number,
    first: number,
  ): T
  drawTokens(ids: T, places: T, seed: bigint, stream: number, step: number, first: number): void

  columnSum(x: T, out: T, accumulate: boolean): void
  sum(x: T, factor: number): T

  gatedResidualNormModulate(
    x: T,
    y: T,
    modulation: T,
    gateChunk: number,
    shiftChunk: number,
    scaleChunk: number,
    norm: Norm,
    epsilon: number,
  ): [stream: T, out: T, mean: T, rstd: T]
  gatedResidualNormModulateBackward(
    dOut: T,
    dStream: MaybeT,
    stream: T,
    mean: T,
    rstd: T,
    y: T,
    modulation: T,
    gateChunk: number,
    shiftChunk: number,
    scaleChunk: number,
    norm: Norm,
    dModulation: T,
    dBias: MaybeT,
    accumulateBias: boolean,
  ): [dX: T, dY: T]

  gatedResidual(x: T, y: T, modulation: T, gateChunk: number): T
  gatedResidualBackward(
    dOut: T,
    y: T,
    modulation: T,
    gateChunk: number,
    dModulation: T,
    dBias: MaybeT,
    accumulateBias: boolean,
  ): T
  layerScale(x: T, y: T, gamma: T): T
  layerScaleBackward(dOut: T, y: T, gamma: T, dGamma: T, accumulate: boolean): T

  resize(
    x: T,
    outHeight: number,
    outWidth: number,
    filter: 'bilinear' | 'bicubic',
    antialias: boolean,
    scaleHeight: number,
    scaleWidth: number,
  ): T

  prependTokens(patches: T, patchPositions: MaybeT, classToken: MaybeT, classPosition: MaybeT, registers: MaybeT): T
  dropTokens(x: T, first: number): T
  gatherTokens(x: T, ids: T, fill: MaybeT): T
  gatherTokensBackward(dOut: T, ids: T, tokens: number, filled: boolean): [dX: T, dFill: MaybeT]
  mergeTokens(base: MaybeT, x: MaybeT, places: T): T
  joinTokens(first: MaybeT, rest: MaybeT, zeros: number): T
  splitTokens(x: T, first: number): [before: T, behind: T]

  unfoldTokens(x: T, rows: number, columns: number): T
  unfoldTokensBackward(dOut: T, rows: number, columns: number): T
  standardizeTokens(x: T, share: number, epsilon: number): T
}
