import { resolve } from 'node:path'
import type { AnyTransformer } from '../../models/transformer-kinds.ts'
import { PRECISIONS } from '../../training/precision.ts'
import { defineCommand } from '../command.ts'
import { UsageError } from '../failure.ts'
import { endingIn } from '../option.ts'
import { openPrompts, PROMPT_OPTIONS } from '../prompts.ts'

/** What a kind's own evaluation samples with. An original SiT's (LightningDiT's too) knows no interval of guidance, REPA's does. */
const DEFAULTS = {
  SiT: { cfgScale: 1.8, guidanceHigh: 0.7 },
  originalSiT: { cfgScale: 1.8, guidanceHigh: 1 },
  DiT: { cfgScale: 1.5, guidanceHigh: 1 },
  text: { cfgScale: 2, guidanceHigh: 1 },
} as const

/** Of a solver that does not choose its own, and of DiT's sampler. */
const DEFAULT_STEPS = 250

export const sampleCommand = defineCommand({
  name: 'sample',
  summary: 'draw images from a checkpoint',
  description:
    'C is a run, a checkpoint of a run, or a file of weights (.safetensors, .pt). DIR gets 000000.png and so on, sampling.json, which says how they were made, and of a model of text prompts.txt, their captions. Image number i depends on the seed, its number and its class or caption alone. Guidance is classifier-free, or with --guide away from another model, and active for times from --guidance-low to --guidance-high (1 is noise).',
  options: {
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
      min: 0,
      description: 'guidance scale; 1: none [1.8; 1.5 of a DiT, 2 of a model of text]',
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
  },
  examples: [
    {
      command:
        'repa sample --checkpoint runs/xl --out samples --num 50000 --mode sde --autoencoder sd-vae-ft-ema --npz samples.npz',
      description: "the paper's evaluation",
    },
    {
      command: 'repa sample --checkpoint runs/cifar --out samples --num 64 --steps 50 --grid grid.png',
      description: 'a quick look',
    },
    {
      command:
        "repa sample --checkpoint runs/coco --prompt 'a red bus on a bridge' --autoencoder sd-vae-ft-ema --out samples --num 8",
      description: 'of a model of text',
    },
    {
      command: 'repa sample --checkpoint DiT-XL-2-256x256.pt --out samples --num 8 --cfg-scale 4 --grid grid.png',
      description: 'pictures of the published DiT, by its own sampler',
    },
    {
      command: 'repa sample --checkpoint runs/xl --autoencoder sd-vae-ft-ema --out samples --num 16 --grid grid.png',
      description: 'latents decoded to pixels',
    },
  ],
  async run(args, { device, seed = 0, out, signal, progress }) {
    if (args.guide !== undefined && !(args.cfgScale !== undefined && args.cfgScale > 1)) {
      throw new UsageError(
        `--guide needs a --cfg-scale above 1, which says how far to go away from it${args.cfgScale === undefined ? '' : `; ${args.cfgScale} was given`}.`,
      )
    }
    const { withProcesses } = await import('../../distributed/join.ts')
    await withProcesses({ processes: args.processes, device }, async (world, where) => {
      if (world.rank > 0) out.silence()
      const [
        { allowTf32 },
        { precisionPolicy },
        { loadModel },
        { statisticsDigest },
        { sampleToFolder },
        { SAMPLING_MODES },
        { previewOf },
        { loadAutoencoder },
      ] = await Promise.all([
        import('../../tensor/device.ts'),
        import('../../training/precision.ts'),
        import('../../training/load-model.ts'),
        import('../../training/run-autoencoder.ts'),
        import('../../diffusion/sample-to-folder.ts'),
        import('../../diffusion/sample-images.ts'),
        import('../../diffusion/latent-preview.ts'),
        import('../../models/load-autoencoder.ts'),
      ])
      const { checkpoint, out: folder, num, steps = DEFAULT_STEPS, batch } = args
      const { dtype, tf32 } = precisionPolicy(args.precision, where)
      allowTf32(where, tf32)
      const loading = {
        device: where,
        weights: args.weights,
        kind: args.kind,
        convention: args.convention,
        notice: (sentence: string) => out.warn(sentence),
      }
      const loaded = await loadModel(checkpoint, { ...loading, heads: args.heads })
      const { model, source, path, step, latentStatistics } = loaded
      const opened: { dispose(): void }[] = [model]
      // Not `using`: with it, TypeScript leaves the extension of the dynamic imports above as it is.
      try {
        model.computeIn(dtype)
        const { kind } = model.config
        const defaults = DEFAULTS[defaultsOf(model)]
        const guidanceHigh = args.guidanceHigh ?? (args.guide === undefined ? defaults.guidanceHigh : 1)
        if (args.guidanceLow > guidanceHigh) {
          throw new UsageError(
            `--guidance-low ${args.guidanceLow} is above --guidance-high ${guidanceHigh}: guidance would never be active; --cfg-scale 1 turns it off.`,
          )
        }
        const mode = args.mode ?? SAMPLING_MODES[kind][0]
        if (!(SAMPLING_MODES[kind] as readonly string[]).includes(mode)) {
          throw new UsageError(`--mode ${mode} is not for a ${kind}: expected ${SAMPLING_MODES[kind].join(' or ')}.`)
        }
        const foreign = (
          [
            [args.solver !== 'euler' && mode !== 'ode', `--solver ${args.solver} is of --mode ode, not of ${mode}`],
            [
              args.timeShift !== undefined && mode !== 'ode',
              `--time-shift ${args.timeShift} is of --mode ode, not of ${mode}`,
            ],
            [
              args.timeShift !== undefined && args.solver === 'dopri5',
              `--time-shift ${args.timeShift} shifts the steps of euler and heun, and dopri5 chooses its own`,
            ],
            [
              args.steps !== undefined && args.solver === 'dopri5',
              `--steps ${args.steps} is of euler and heun, and dopri5 chooses its own`,
            ],
            [args.eta > 0 && mode !== 'ddim', `--eta ${args.eta} is of --mode ddim, not of ${mode}`],
            [args.path !== undefined && kind === 'DiT', `--path ${args.path} is of a SiT, not of a DiT`],
            [
              args.autoencoderTile !== undefined && args.autoencoder === undefined,
              `--autoencoder-tile ${args.autoencoderTile} is of an --autoencoder, and none was given`,
            ],
            [
              args.gridCount !== undefined && args.grid === undefined,
              `--grid-count ${args.gridCount} is of a --grid, and none was asked for`,
            ],
            [
              args.clsCfgScale !== undefined && (args.cfgScale ?? defaults.cfgScale) <= 1,
              `--cls-cfg-scale ${args.clsCfgScale} is of guidance, and --cfg-scale ${args.cfgScale} has none`,
            ],
            [
              args.clsCfgScale !== undefined && model.classTokenWidth === undefined,
              `--cls-cfg-scale ${args.clsCfgScale} is of a model with a class token (REG), and this one has none`,
            ],
          ] as const
        ).find(([holds]) => holds)?.[1]
        if (foreign !== undefined) throw new UsageError(`${foreign}; leave it out.`)
        out.line(`${source}: ${(model.parameterCount / 1e6).toFixed(1)} M parameters`)
        const { promptsPath } = await import('../../diffusion/sampling-record.ts')
        if (args.prompts !== undefined && resolve(args.prompts) === resolve(promptsPath(args.out))) {
          throw new UsageError(
            `--prompts ${args.prompts} is what sampling to ${args.out} replaces; copy it elsewhere, or choose another --out.`,
          )
        }
        const prompts = await openPrompts(args, loaded, { device: where, out })
        prompts?.encoder.computeIn(dtype)
        opened.push(...(prompts ? [{ dispose: () => prompts.encoder[Symbol.dispose]() }] : []))
        const decoder =
          args.autoencoder === undefined
            ? undefined
            : await loadAutoencoder(args.autoencoder, { device: where, half: 'decoder', tile: args.autoencoderTile })
        decoder?.computeIn(dtype)
        opened.push(...(decoder ? [decoder] : []))
        if (decoder && latentStatistics !== undefined && statisticsDigest(decoder.statistics) !== latentStatistics) {
          out.warn(
            `The model's latents and the autoencoder ${args.autoencoder} do not have the same statistics: they are decoded at another scale than they were made at.`,
          )
        }
        if (model.config.channels !== 3 && !decoder) {
          out.warn(
            `The model makes latents and there is no --autoencoder: the images are ${previewOf(model.config.channels)}; the latents go to latents.npz.`,
          )
        }
        if (decoder && args.autoencoderTile !== undefined) {
          out.warn(
            `Images of latents larger than ${args.autoencoderTile} are decoded in blended tiles, each normalised by its own statistics: not exactly what the whole would give.`,
          )
        }
        const guide = args.guide === undefined ? undefined : await loadModel(args.guide, loading)
        if (guide) {
          opened.push(guide.model)
          guide.model.computeIn(dtype)
          out.line(`guided by ${guide.source}: ${(guide.model.parameterCount / 1e6).toFixed(1)} M parameters`)
        }
        const canGuide = guide !== undefined || model.config.classDropout > 0
        const scale = args.cfgScale ?? defaults.cfgScale
        if (!canGuide && scale > 1) {
          out.warn(
            model.text
              ? 'The model was trained without dropping captions, and the empty one says nothing to it: sampling without guidance.'
              : 'The model was trained without label dropout and has no null class: sampling without guidance.',
          )
        }
        const guidance = {
          scale: canGuide ? scale : 1,
          low: args.guidanceLow,
          high: guidanceHigh,
          ...(guide && { guide: guide.model }),
          ...(args.clsCfgScale !== undefined && { classTokenScale: args.clsCfgScale }),
          ...(args.guidedChannels !== undefined && {
            channels: args.guidedChannels === 'all' ? model.config.channels : Number(args.guidedChannels),
          }),
        }
        const bar = progress({ label: 'sample', unit: 'images', total: num })
        const result = await sampleToFolder(model, {
          ...(mode === 'ddpm' || mode === 'ddim'
            ? { mode, eta: args.eta }
            : {
                mode,
                solver: args.solver,
                ...(args.timeShift !== undefined && { timeShift: args.timeShift }),
                path: args.path ?? path ?? 'linear',
              }),
          folder,
          count: num,
          classes: args.classes,
          prompts,
          seed,
          batch,
          steps,
          guidance,
          autoencoder: decoder,
          npz: args.npz,
          grid: args.grid,
          ...(args.gridCount !== undefined && { gridCount: args.gridCount }),
          world,
          origin: {
            checkpoint,
            step,
            weights: args.weights,
            precision: args.precision,
            guide: guide && { checkpoint: args.guide!, step: guide.step },
          },
          signal,
          onProgress: (done) => bar.update(Math.floor(done)),
        }).finally(() => bar.end())
        out.line(
          `${result.count} images in ${folder}${args.npz ? `, ${args.npz}` : ''}${args.grid ? `, ${args.grid}` : ''}`,
        )
        out.json(result)
      } finally {
        for (const part of opened) part.dispose()
      }
    })
  },
})

function defaultsOf({ config, text }: Pick<AnyTransformer, 'config' | 'text'>): keyof typeof DEFAULTS {
  if (text) return 'text'
  return config.kind === 'SiT' && config.convention === 'sit' ? 'originalSiT' : config.kind
}
