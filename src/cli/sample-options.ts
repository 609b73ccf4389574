import { PRECISIONS } from '../training/precision.ts'
import type { CommandArguments } from './command.ts'
import { endingIn } from './option.ts'
import { PROMPT_OPTIONS } from './prompts.ts'

/** Of a solver that does not choose its own, and of DiT's sampler. */
export const DEFAULT_STEPS = 250

/** Of `repa sample`. */
export const SAMPLE_OPTIONS = {
  checkpoint: { type: 'string', placeholder: 'C', description: 'run, checkpoint folder or weights', required: true },
  out: { type: 'string', placeholder: 'DIR', description: 'folder for the images', required: true },
  num: { type: 'integer', min: 1, description: 'how many images', required: true },
  mode: {
    type: 'enum',
    values: ['ode', 'sde', 'ddpm', 'ddim'],
    description:
      'of a SiT: the probability-flow ODE, or the reverse SDE (Euler-Maruyama) [ode]; of a DiT: ancestral sampling, or DDIM [ddpm]',
  },
  solver: {
    type: 'enum',
    values: ['euler', 'heun', 'dopri5'],
    default: 'euler',
    description:
      'of the ODE; dopri5 chooses its steps itself, as the original SiT is evaluated: by the errors of a whole --batch, on which images then depend',
  },
  steps: {
    type: 'integer',
    min: 1,
    description: `solver steps, of other than dopri5; of a DiT, how many of its 1000 [${DEFAULT_STEPS}]`,
  },
  timeShift: {
    type: 'number',
    min: 0.001,
    description:
      'of the ODE by Euler and Heun: above 1 more of the steps are at high noise, below 1 at low noise [1: even steps]',
  },
  eta: { type: 'number', min: 0, max: 1, default: 0, description: "of DDIM: its share of DDPM's noise" },
  cfgScale: {
    type: 'number',
    description:
      'guidance scale, above 1; 1: none [1.8; 1.5 of a DiT, 2 of a model of text; with --guide it must be given]',
  },
  clsCfgScale: {
    type: 'number',
    min: 0,
    description:
      'guidance scale of the class token of a model with REG, in the same interval; 0: none [as --cfg-scale]',
  },
  guide: {
    type: 'string',
    placeholder: 'C',
    description:
      'another checkpoint, smaller or trained less, to guide away from in place of the null class (autoguidance), by --cfg-scale',
  },
  guideHeads: {
    type: 'integer',
    min: 1,
    description: "attention heads of a guide that is a bare file of weights of no preset's size",
  },
  guidanceLow: { type: 'number', min: 0, max: 1, default: 0, description: 'guidance is active from this time' },
  guidanceHigh: {
    type: 'number',
    min: 0,
    max: 1,
    description: 'to this time [0.7; 1 of a DiT, an original SiT or LightningDiT, of text, and with --guide]',
  },
  guidedChannels: {
    type: 'enum',
    values: ['3', 'all'],
    description: 'channels that are guided [all; 3, as in their own code, of a DiT and of an original SiT]',
  },
  classes: { type: 'list', items: 'integer', description: 'classes in turn; by default drawn at random' },
  ...PROMPT_OPTIONS,
  path: {
    type: 'enum',
    values: ['linear', 'cosine'],
    description: "interpolant; by default the checkpoint's, else linear",
  },
  batch: { type: 'integer', min: 1, default: 32, description: 'images at a time' },
  weights: {
    type: 'enum',
    values: ['ema', 'model'],
    default: 'ema',
    description: 'which weights of a training checkpoint',
  },
  precision: {
    type: 'enum',
    values: PRECISIONS,
    default: 'fp32',
    description:
      'what the model computes in; the reference samples with products in tf32, which a GPU has; its bf16 is faster still',
  },
  heads: { type: 'integer', min: 1, description: "attention heads, for a bare file of weights of no preset's size" },
  kind: {
    type: 'enum',
    values: ['SiT', 'DiT'],
    description: 'the model of a bare file of weights that could be of a DiT or an original SiT [inferred]',
  },
  convention: {
    type: 'enum',
    values: ['repa', 'sit'],
    description:
      "which way the time of a SiT from a bare file of weights runs: REPA's, or the original SiT's from noise to data [inferred]",
  },
  npz: {
    type: 'string',
    placeholder: 'FILE.npz',
    ...endingIn('.npz'),
    description: 'also one npz with arr_0, uint8 [N, H, W, 3], as the ADM suite reads',
  },
  latents: {
    type: 'boolean',
    description: "a model's latents too, in DIR/latents.npz [where no --autoencoder decodes them]",
  },
  processes: {
    type: 'integer',
    min: 1,
    placeholder: 'N',
    description:
      'share the images among so many processes with a GPU each, as repa train has them; without a GPU they share the cores [1]',
  },
  autoencoder: {
    type: 'string',
    placeholder: 'FILE',
    description:
      "decodes a latent model's latents: an AutoencoderKL, diffusers' or latent-diffusion's (file or folder), TAESD or a RAE",
  },
  autoencoderTile: {
    type: 'integer',
    min: 8,
    placeholder: 'N',
    description: 'decode in blended tiles of N latent elements: bounds memory, not exact [the whole image]',
  },
  grid: {
    type: 'string',
    placeholder: 'FILE.png',
    ...endingIn('.png'),
    description: 'also one picture of them all',
  },
  gridCount: {
    type: 'integer',
    min: 1,
    placeholder: 'N',
    description: 'of the first N of them only: one picture has room for some 10,000 of 256 x 256 [all]',
  },
} as const

export type SampleArguments = CommandArguments<Record<never, never>, typeof SAMPLE_OPTIONS>
