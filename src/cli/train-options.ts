import { RECOMPUTE_SETTINGS } from '../tensor/recomputation.ts'
import { PRECISIONS } from '../training/precision.ts'

/** Of `repa train`; those that are settings go by their configuration's names, but for the shorter ones of the learning rate. */
export const TRAIN_OPTIONS = {
  data: {
    type: 'string',
    placeholder: 'DATA',
    description: "a data set that repa prepare or the reference wrote, or a folder of LightningDiT's latents",
    required: true,
  },
  out: { type: 'string', placeholder: 'RUN', description: 'folder of the run', required: true },
  model: {
    type: 'string',
    placeholder: 'SiT-B/2',
    description:
      'preset, SiT- or DiT-{S,B,L,XL}/{2,4,8}, LightningDiT-{B,XL,1p0B,1p6B}/{1,2} or -L/2, DiTDH-{S,XL}, MMDiT-{d12,d24}/2 for captions, or free sizes as JSON like config.json has them [SiT-B/2]',
  },
  encoder: {
    type: 'string',
    placeholder: 'NAME=FILE',
    description:
      'align with this encoder, several are averaged: dinov2-vit-{s,b,l,g}, dinov2reg-vit-{s,b,l,g}, dinov3-vit-{s16,b16,l16,7b16,{s,l,h}16plus}, dinov1-vit-b, mocov3-vit-{s,b,l}, mae-vit-l, clip-vit-L, jepa-vit-h or siglip-vit-{b,l,so400m} with the file of its weights, vit with one that repa pretrain-encoder trained, or the built-in hog',
    repeated: true,
  },
  captionEncoder: {
    type: 'string',
    placeholder: 'FILE',
    description:
      "of a model of text: CLIP's text encoder, as a file of its weights with tokenizer.json beside it, or a folder with both",
  },
  steps: { type: 'integer', min: 1, description: 'steps in all, those before a resumption included [400000]' },
  batch: { type: 'integer', min: 1, description: 'images a step [256]' },
  accumulate: {
    type: 'integer',
    min: 1,
    description: 'go through the batch in so many equal passes, for less memory; the gradients are averaged [1]',
  },
  recompute: {
    type: 'enum',
    values: RECOMPUTE_SETTINGS,
    description:
      'compute activations and LayerNorms again in the backward pass, for less memory and the same bits [auto: where a step would not fit otherwise]',
  },
  lr: { type: 'number', above: 0, description: 'learning rate of AdamW [1e-4]' },
  lrWarmup: { type: 'integer', min: 0, description: 'steps in which it rises along a line [0]' },
  lrDecay: {
    type: 'enum',
    values: ['none', 'linear', 'cosine'],
    description: 'how it falls from --lr to --lr-final [none]',
  },
  lrDecayFrom: { type: 'integer', min: 0, description: 'step up to which it is whole [the end of the warm-up]' },
  lrDecayUntil: { type: 'integer', min: 1, description: 'step from which on it is --lr-final' },
  lrFinal: { type: 'number', min: 0, description: 'learning rate at the end of --lr-decay [0]' },
  precision: {
    type: 'enum',
    values: PRECISIONS,
    description:
      'what the model computes in; tf32 is fp32 with the operands of products rounded for the tensor cores [bf16 on a GPU, fp32 on a CPU, which has no other]',
  },
  processes: {
    type: 'integer',
    min: 1,
    placeholder: 'N',
    description:
      'share every batch among so many processes with a GPU each, of this machine, or those that mpirun, srun or torchrun has started; without a GPU they share the cores [1]',
  },
  cudaGraph: {
    type: 'boolean',
    description: 'on a GPU: capture the step once and replay it, which pays for small models and batches',
  },
  alignWeight: { type: 'number', min: 0, description: 'weight of the alignment loss [0.5]' },
  alignDepth: {
    type: 'integer',
    min: 1,
    description: 'block whose output is aligned, from 1 [8; a third of the depth, 8 at most, for free sizes]',
  },
  alignLoss: {
    type: 'enum',
    values: ['cosine', 'nt-xent'],
    description: "how projections are compared with an encoder's features [cosine]",
  },
  alignTemperature: { type: 'number', above: 0, description: 'of --align-loss nt-xent [0.1]' },
  alignUntil: { type: 'integer', min: 1, description: 'steps with alignment, after which there is none [all]' },
  alignDecay: {
    type: 'enum',
    values: ['none', 'linear', 'cosine'],
    description: 'how the weight of the alignment gets to 0 at --align-until [none: at once]',
  },
  alignSpatialNorm: {
    type: 'number',
    min: 0,
    placeholder: 'GAMMA',
    description:
      "normalise an encoder's features over an image, this much of their mean taken off; iREPA's code has 0.6 [off]",
  },
  alignAttentionWeight: {
    type: 'number',
    min: 0,
    description:
      "also compare the attention of blocks up to --align-depth with the encoder's last, by the weight of the cross-entropy; HASTE's code has 0.5 [0]",
  },
  alignAttentionBlocks: { type: 'integer', min: 1, description: 'how many blocks of each are compared [4]' },
  alignAttentionHeads: { type: 'integer', min: 1, description: 'how many heads of each block [12]' },
  projector: {
    type: 'enum',
    values: ['mlp', 'conv'],
    description: "what projects hidden states: REPA's MLP or iREPA's convolution [mlp]",
  },
  projectorWidth: { type: 'integer', min: 1, description: 'hidden width of the projectors [2048]' },
  dispersiveWeight: {
    type: 'number',
    min: 0,
    description: 'push the samples of a batch apart, by this weight; needs no encoder [0]',
  },
  dispersiveTemperature: { type: 'number', above: 0, description: 'of the dispersive loss [0.5]' },
  dispersiveDepth: {
    type: 'integer',
    min: 1,
    description: 'block whose output is dispersed, from 1 [a quarter of the depth]',
  },
  contrastiveWeight: {
    type: 'number',
    min: 0,
    below: 1,
    description:
      "push every velocity away from what another sample's aims at, by this weight; SiT only; its paper has 0.05 [0]",
  },
  velocityCosineWeight: {
    type: 'number',
    min: 0,
    description:
      "also learn each pixel's velocity by its direction, 1 − the cosine over channels, by this weight; SiT only; LightningDiT has 1 [0]",
  },
  selfAlignWeight: {
    type: 'number',
    min: 0,
    description: "align the model with its own average, by this weight; needs no encoder; SRA's code has 0.2 [0]",
  },
  selfAlignDepth: {
    type: 'integer',
    min: 1,
    description: 'block that is aligned with the average [as --align-depth]',
  },
  selfAlignTeacherDepth: { type: 'integer', min: 1, description: "the average's block [five sevenths of the depth]" },
  selfAlignTimeOffset: {
    type: 'number',
    min: 0,
    max: 1,
    description: "how much less noisy the average's input is at most [0.2]",
  },
  routeTokens: {
    type: 'number',
    min: 0,
    below: 1,
    placeholder: 'SHARE',
    description:
      'let this share of the tokens, drawn anew at every step, go past some of the blocks, for cheaper steps; its paper has 0.5 [0]',
  },
  routeFrom: { type: 'integer', min: 2, description: 'first block that they go past [3]' },
  routeTo: { type: 'integer', min: 2, description: 'last block that they go past [the last but three]' },
  classTokenWeight: {
    type: 'number',
    min: 0,
    description:
      "denoise the first encoder's class token along with the image (REG), by this weight; a SiT with an encoder that has one; REG's code has 0.03 [0]",
  },
  path: { type: 'enum', values: ['linear', 'cosine'], description: "SiT's interpolant [linear]" },
  weighting: { type: 'enum', values: ['uniform', 'lognormal'], description: "how SiT's times are drawn [uniform]" },
  timeShift: {
    type: 'number',
    min: 0.001,
    placeholder: 'S',
    description: "move each of SiT's times t to S t / (1 - t + S t): above 1 towards noise [1: none]",
  },
  flip: {
    type: 'boolean',
    description: 'take either an image or its mirror image [where repa prepare --flip made both]',
  },
  classDropout: {
    type: 'number',
    min: 0,
    max: 1,
    description: 'probability of leaving out the label, or the caption [0.1]',
  },
  emaDecay: { type: 'number', min: 0, below: 1, description: 'decay of the averaged weights [0.9999]' },
  weightDecay: { type: 'number', min: 0, description: 'weight decay of AdamW [0]' },
  maxGradNorm: {
    type: 'number',
    above: 0,
    description: 'gradients are clipped to this global norm; 1e30 clips none [1]',
  },
  config: {
    type: 'string',
    placeholder: 'FILE.json',
    description:
      'settings by their configuration names (config.json of a run, its "training" part, or a recipe by its name: sit-xl-2-repa)',
  },
  autoencoder: {
    type: 'string',
    placeholder: 'FILE',
    description:
      'decode the grids of samples, and make latents: AutoencoderKL, TAESD or RAE [grids are a linear preview]',
  },
  encodeLatents: {
    type: 'boolean',
    description:
      'make the latents of every batch of its images by --autoencoder, instead of reading those that repa prepare has made',
  },
  init: {
    type: 'string',
    placeholder: 'C',
    description:
      'begin from these weights: a run, a checkpoint folder, .safetensors or .pt; without --model the model is theirs',
  },
  continue: {
    type: 'string',
    placeholder: 'FILE.pt',
    description: "make a new run of the reference's training checkpoint, optimizer state included, and go on with it",
  },
  checkpointEvery: { type: 'integer', min: 1, description: 'steps between checkpoints [50000]' },
  resumeEvery: {
    type: 'integer',
    min: 1,
    description:
      'steps between checkpoints that are only there to resume from: each is removed once a later one is whole [none]',
  },
  sampleEvery: { type: 'integer', min: 1, description: 'steps between grids of samples [10000]' },
  resume: { type: 'boolean', default: false, description: 'go on from the newest whole checkpoint of RUN' },
} as const
