import './dry-run.ts'
import { expect, test } from 'vitest'
import { emptyEncoder } from '../../src/alignment/encoders.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { type AutoencoderArchitecture, emptyAutoencoder, latentsOf } from '../../src/models/autoencoder-architecture.ts'
import { autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import {
  type ClipTextConfig,
  type ClipTextOptions,
  ClipTextTransformer,
  clipTextConfigSchema,
} from '../../src/models/clip-text.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { DINOV2_PRESETS } from '../../src/models/vit-presets.ts'
import { machineOf } from '../../src/planning/machine.ts'
import { planStep } from '../../src/planning/planned-step.ts'
import {
  type Device,
  deviceOf,
  gpuOf,
  memoryStats,
  resetPeakMemory,
  synchronize,
  trimMemory,
} from '../../src/tensor/device.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import type { CaptionEncoder } from '../../src/text/caption-encoder.ts'
import { alignmentOf } from '../../src/training/alignment-settings.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'
import { createModel } from '../../src/training/run.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { trainerSettings } from '../../src/training/trainer-settings.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'
import { launchesUntilNow } from './launches.ts'

const small = { depth: 4, hidden: 192, heads: 3, patch: 2 }
const lightning = { norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const
const dinov2 = { name: 'dinov2-vit-s', file: 'none' } as const

interface Case {
  readonly name: string
  readonly training: TrainingOptions
  readonly recompute?: Recomputation
  /** That share the batch; what they exchange takes no memory of a step. */
  readonly processes?: number
  /** Of the images, in pixels. */
  readonly size: number
  readonly moments: boolean
  /** Makes the latents of them. */
  readonly autoencoder?: AutoencoderArchitecture
  /** Encodes the captions that the data then have; its vocabulary is small. */
  readonly captions?: ClipTextOptions
  /** For a CPU too large. */
  readonly isForGpu?: true
  /** Of a step, which native/simt counts. */
  readonly mostLaunches?: number
}

const autoencoderKL = autoencoderKLConfigSchema.parse({
  blockChannels: [32, 64, 64],
  encoderAttention: [2],
  decoderAttention: [2],
  layersPerBlock: 1,
  latentChannels: 8,
  normGroups: 8,
})
const rae: AutoencoderArchitecture = {
  kind: 'RAE',
  encoder: visionTransformerConfigSchema.parse({ ...DINOV2_PRESETS['dinov2reg-vit-s'], depth: 2 }),
  decoder: { latentChannels: 384, hidden: 128, depth: 2, heads: 2, ffnWidth: 256, grid: 4, patch: 16 },
}

const CASES: readonly Case[] = [
  { name: 'SiT without alignment', training: { model: { kind: 'SiT', ...small }, batch: 8 }, size: 256, moments: true },
  {
    name: 'SiT with REPA and DINOv2-S',
    training: { model: { kind: 'SiT', ...small }, encoders: [dinov2], batch: 4, projectorWidth: 512 },
    size: 256,
    moments: true,
  },
  {
    name: 'SiT with HASTE and DINOv2-S',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [dinov2],
      batch: 4,
      projectorWidth: 512,
      alignDepth: 3,
      alignAttentionWeight: 0.5,
    },
    size: 256,
    moments: true,
  },
  {
    name: 'deep SiT of few tokens, on pixels, with hog',
    training: { model: { kind: 'SiT', ...small, depth: 12, patch: 4 }, encoders: [{ name: 'hog' }], batch: 16 },
    size: 32,
    moments: false,
  },
  {
    name: 'NT-Xent, a convolution and normalised features',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [{ name: 'hog' }],
      batch: 4,
      alignLoss: 'nt-xent',
      projector: 'conv',
      alignSpatialNorm: 0.6,
    },
    size: 256,
    moments: true,
  },
  {
    name: 'REG and DINOv2-S with registers',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [{ name: 'dinov2reg-vit-s', file: 'none' }],
      batch: 4,
      projectorWidth: 512,
      classTokenWeight: 0.03,
    },
    size: 256,
    moments: true,
  },
  {
    name: 'self-alignment and dispersion',
    training: { model: { kind: 'SiT', ...small }, batch: 8, selfAlignWeight: 0.2, dispersiveWeight: 0.5 },
    size: 256,
    moments: true,
  },
  {
    name: 'contrasted flows in two passes',
    training: { model: { kind: 'SiT', ...small }, batch: 8, accumulate: 2, contrastiveWeight: 0.05 },
    size: 256,
    moments: true,
  },
  {
    name: 'REPA inside of a route, in two passes',
    training: {
      model: { kind: 'SiT', ...small, depth: 6 },
      encoders: [{ name: 'hog' }],
      batch: 8,
      accumulate: 2,
      alignDepth: 3,
      routeTokens: 0.5,
      routeTo: 5,
    },
    size: 256,
    moments: true,
  },
  {
    name: 'REPA in two passes, with what single passes give back computed again',
    training: { model: { kind: 'SiT', ...small }, encoders: [{ name: 'hog' }], batch: 8, accumulate: 2 },
    recompute: 'elementwise',
    size: 256,
    moments: true,
  },
  {
    name: 'one of four processes',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [{ name: 'hog' }],
      batch: 16,
      contrastiveWeight: 0.05,
    },
    processes: 4,
    size: 256,
    moments: true,
  },
  {
    name: 'REPA and DINOv2-S at 512 pixels',
    training: { model: { kind: 'SiT', ...small }, encoders: [dinov2], batch: 2, projectorWidth: 512 },
    size: 512,
    moments: true,
  },
  {
    name: 'CLIP and MoCo v3 at once',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [
        { name: 'clip-vit-L', file: 'none' },
        { name: 'mocov3-vit-b', file: 'none' },
      ],
      batch: 2,
      projectorWidth: 128,
    },
    size: 256,
    moments: true,
    isForGpu: true,
  },
  {
    name: "LightningDiT's blocks and cosine loss with REPA",
    training: {
      model: { kind: 'SiT', ...small, ...lightning },
      encoders: [{ name: 'hog' }],
      batch: 6,
      velocityCosineWeight: 1,
    },
    size: 256,
    moments: true,
  },
  {
    name: "LightningDiT's blocks with qk-norm, computed again",
    training: { model: { kind: 'SiT', ...small, ...lightning, qkNorm: true }, batch: 8 },
    recompute: 'elementwise',
    size: 256,
    moments: true,
  },
  {
    name: 'a DDT head with REPA',
    training: {
      model: { kind: 'SiT', ...small, ...lightning, ddtHead: { depth: 2, hidden: 256, heads: 4 } },
      encoders: [{ name: 'hog' }],
      batch: 4,
    },
    size: 256,
    moments: true,
  },
  {
    name: 'latents that an AutoencoderKL makes, in two passes',
    training: {
      model: { kind: 'SiT', ...small },
      encoders: [{ name: 'hog' }],
      batch: 4,
      accumulate: 2,
      encodeLatents: true,
      autoencoder: 'none',
    },
    autoencoder: { kind: 'AutoencoderKL', config: autoencoderKL, isStandardised: true },
    size: 128,
    moments: true,
  },
  {
    name: 'latents that TAESD makes, of more images than pass it together',
    training: { model: { kind: 'SiT', ...small }, batch: 6, encodeLatents: true, autoencoder: 'none' },
    autoencoder: { kind: 'TAESD', config: { width: 16, latentChannels: 4 } },
    size: 256,
    moments: true,
  },
  {
    name: 'latents that a RAE makes',
    training: { model: { kind: 'SiT', ...small, patch: 1 }, batch: 4, encodeLatents: true, autoencoder: 'none' },
    autoencoder: rae,
    size: 64,
    moments: false,
  },
  {
    name: 'MMDiT with REPA, on captions',
    training: {
      model: { kind: 'SiT', ...small, text: { tokens: 77, width: 128 } },
      captionEncoder: { file: 'none' },
      encoders: [{ name: 'hog' }],
      batch: 4,
    },
    captions: { vocabulary: 500, tokens: 77, hidden: 128, depth: 3 },
    size: 256,
    moments: true,
  },
  {
    name: 'MMDiT with self-alignment, of long captions, in two passes and computed again',
    training: {
      model: { kind: 'SiT', ...small, text: { tokens: 300, width: 192 } },
      captionEncoder: { file: 'none' },
      batch: 8,
      accumulate: 2,
      selfAlignWeight: 0.2,
    },
    captions: { vocabulary: 500, tokens: 300, hidden: 192, depth: 2, activation: 'gelu-erf' },
    recompute: 'elementwise',
    size: 128,
    moments: true,
  },
  {
    name: 'SiT-XL/2 with REPA and DINOv2-B, as the paper trains it',
    training: { model: 'SiT-XL/2', encoders: [{ name: 'dinov2-vit-b', file: 'none' }], batch: 256, alignDepth: 8 },
    size: 256,
    moments: true,
    isForGpu: true,
    mostLaunches: 800,
  },
  {
    name: 'SiT-XL/2 with REPA and DINOv2-B at 512 pixels, in passes, computed again',
    training: {
      model: 'SiT-XL/2',
      encoders: [{ name: 'dinov2-vit-b', file: 'none' }],
      batch: 128,
      accumulate: 2,
      alignDepth: 8,
    },
    recompute: 'elementwise',
    size: 512,
    moments: true,
    isForGpu: true,
  },
  {
    name: 'DiT with REPA and qk-norm',
    training: { model: { kind: 'DiT', ...small, qkNorm: true }, encoders: [{ name: 'hog' }], batch: 6 },
    size: 256,
    moments: true,
  },
]

/** Of zeros, which any caption becomes the tokens of too. */
function emptyCaptionEncoder(config: ClipTextConfig, device: Device): CaptionEncoder {
  const model = ClipTextTransformer.fromConfig(config, device)
  model.arena.array('weights').write(new Float32Array(model.arena.size))
  const { tokens, hidden: width } = config
  return {
    name: 'empty',
    file: '',
    config,
    device,
    width,
    tokens,
    computeIn: (dtype) => model.computeIn(dtype),
    tokenize: (captions) => new Int32Array(captions.length * tokens),
    features: (ids) => model.forward(ids),
    [Symbol.dispose]: () => model.dispose(),
  }
}

/** The scratch of products is planned for the widest CPU level and an H100; the sizes of blocks are rounded to an eighth. */
const TOLERANCE = 0.01

test.for(
  DEVICES.flatMap(({ device, missing }) =>
    CASES.filter(({ isForGpu }) => device !== 'cpu' || !isForGpu).map((entry) => ({ device, missing, ...entry })),
  ),
)(
  'the planned peak is the real one: $name, on $device',
  async ({ device, missing, training, recompute, processes = 1, size, moments, captions, ...entry }, { skip }) => {
    if (missing) skip(`there is no ${device} here`)
    const { autoencoder: architecture, mostLaunches } = entry
    const precision = device === 'cpu' ? ('fp32' as const) : ('bf16' as const)
    const configuration = { ...trainingSchema.parse({ ...training, precision }), precision }
    const described = Dataset.described({
      path: 'nowhere',
      length: 1000,
      classes: 10,
      imageSize: size,
      storedLatentShape: moments ? [8, size / 8, size / 8] : undefined,
      captions: captions !== undefined,
    })
    const textConfig = captions && clipTextConfigSchema.parse(captions)
    const data = architecture ? described.encoded({ name: 'it', ...latentsOf(architecture) }) : described
    const planned = planStep({
      configuration,
      recompute,
      processes,
      data,
      ...(architecture && { autoencoder: { name: 'it', architecture } }),
      captionEncoder: textConfig,
      device,
      machine: machineOf(deviceOf(device)),
    })
    const gpu = gpuOf(device)
    if (gpu && planned.peakBytes > gpu.memoryBytes) skip(`${device} has too little memory`)

    // Blocks that an earlier test left would be handed out again, though they are larger.
    trimMemory(device)
    using model = createModel(configuration, data, device)
    const encoders = configuration.encoders.map(({ name }) => emptyEncoder(name, device))
    using autoencoder = architecture && emptyAutoencoder(architecture, 'it', device)
    for (const { arena } of autoencoder?.networks ?? []) arena.array('weights').write(new Float32Array(arena.size))
    using captionEncoder = textConfig && emptyCaptionEncoder(textConfig, device)
    await using trainer = new Trainer({
      ...trainerSettings(configuration),
      recompute,
      model,
      data,
      autoencoder,
      captionEncoder,
      world: { ...ALONE, size: processes },
      ...alignmentOf(configuration, encoders, model.config.depth),
    })
    const batch = configuration.batch / processes
    const samples = {
      step: 0,
      epoch: 0,
      indices: new Int32Array(batch),
      labels: new Int32Array(batch),
      images: new Uint8Array(batch * 3 * size ** 2),
      latents: new Float32Array(batch * data.storedLatentShape.reduce((product, side) => product * side, 1)),
      features: [],
    }
    await trainer.makeStep(samples)
    await synchronize(device)
    const launchesBefore = isShim ? launchesUntilNow() : 0
    const resting = memoryStats(device).liveBytes
    resetPeakMemory(device)
    await trainer.makeStep(samples)
    await synchronize(device)
    const { peakBytes } = memoryStats(device)
    for (const encoder of encoders) encoder[Symbol.dispose]()
    expect(Math.abs(planned.restingBytes / resting - 1)).toBeLessThan(TOLERANCE)
    expect(Math.abs(planned.peakBytes / peakBytes - 1)).toBeLessThan(TOLERANCE)
    if (!isShim || mostLaunches === undefined) return
    const launches = launchesUntilNow() - launchesBefore
    expect(launches).toBeGreaterThan(model.config.depth)
    expect(launches).toBeLessThanOrEqual(mostLaunches)
  },
)
