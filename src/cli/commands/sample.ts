import type { DiffusionSamplerOptions } from '../../diffusion/ddpm-sampler.ts'
import type { SamplingMode } from '../../diffusion/sample-images.ts'
import type { SamplerOptions } from '../../diffusion/samplers.ts'
import type { InterpolantPath } from '../../native.ts'
import { defineCommand } from '../command.ts'
import { UsageError } from '../failure.ts'
import type { Progress } from '../progress.ts'
import { DEFAULT_STEPS, SAMPLE_OPTIONS, type SampleArguments } from '../sample-options.ts'

export const sampleCommand = defineCommand({
  name: 'sample',
  summary: 'draw images from a checkpoint',
  description:
    'C is a run, a checkpoint of a run, or a file of weights (.safetensors, .pt). DIR gets 000000.png and so on, sampling.json, which says how they were made, and of a model of text prompts.txt, their captions. After a kill or Ctrl-C the same call goes on where it ended. Image number i depends on the seed, its number and its class or caption alone, up to the rounding of sums, by which with another --batch or --processes a value of a pixel may be off by one level. Guidance is classifier-free, or with --guide away from another model, and active for times from --guidance-low to --guidance-high (1 is noise).',
  options: SAMPLE_OPTIONS,
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
    const [{ contradictionOf, foreignTo }, { withProcesses }] = await Promise.all([
      import('../sample-contradictions.ts'),
      import('../../distributed/join.ts'),
    ])
    const contradiction = contradictionOf(args)
    if (contradiction !== undefined) throw new UsageError(contradiction)
    await withProcesses({ processes: args.processes, device }, async (world, where) => {
      if (world.rank > 0) out.silence()
      const [{ openSampledModel, openParts }, { guidanceOf }, { sampleToFolder }, { SAMPLING_MODES }] =
        await Promise.all([
          import('../sample-parts.ts'),
          import('../sample-guidance.ts'),
          import('../../diffusion/sample-to-folder.ts'),
          import('../../diffusion/sample-images.ts'),
        ])
      const {
        checkpoint,
        out: folder,
        num,
        classes,
        batch,
        npz,
        latents,
        grid,
        gridCount,
        steps = DEFAULT_STEPS,
      } = args
      const loaded = await openSampledModel(args, { device: where, out })
      const { model, step, path = 'linear' } = loaded
      const opened: Disposable[] = [model]
      // Not `using`: with it, TypeScript leaves the extension of the dynamic imports above as it is.
      try {
        const mode = args.mode ?? SAMPLING_MODES[model.config.kind][0]
        const foreign = foreignTo(model, args, mode)
        if (foreign !== undefined) throw new UsageError(foreign)
        out.line(`${loaded.source}: ${(model.parameterCount / 1e6).toFixed(1)} M parameters`)
        const parts = await openParts(args, loaded, { device: where, out })
        opened.push(parts)
        const { prompts, autoencoder, guide } = parts
        // It begins with what an earlier call has made.
        let bar: Progress | undefined
        const barFrom = (initial: number) => {
          bar ??= progress({ label: 'sample', unit: 'images', total: num, initial })
          return bar
        }
        const result = await sampleToFolder(model, {
          ...samplerOf(args, mode, path),
          steps,
          guidance: guidanceOf(args, loaded, guide, out),
          folder,
          count: num,
          classes,
          prompts,
          seed,
          batch,
          autoencoder,
          npz,
          latents,
          grid,
          ...(gridCount !== undefined && { gridCount }),
          world,
          origin: {
            checkpoint,
            step,
            weights: loaded.weights,
            precision: args.precision,
            guide: guide && { checkpoint: args.guide!, step: guide.step },
          },
          signal,
          onContinue: (there) => {
            out.line(`${there} of ${num} images are there already, of an earlier call that did not end`)
            barFrom(there)
          },
          onNotice: (sentence) => out.warn(sentence),
          onProgress: (done) => barFrom(0).update(Math.floor(done)),
        })
          .finally(() => bar?.end())
          .catch((error: unknown) => {
            if (signal.aborted) out.line('stopped; the same call goes on after the images that are there')
            throw error
          })
        out.line(
          [
            `${result.count} images in ${folder}`,
            ...[npz, result.latents, grid].filter((file) => file !== undefined),
          ].join(', '),
        )
        out.json(result)
      } finally {
        for (const part of opened) part[Symbol.dispose]()
      }
    })
  },
})

function samplerOf(
  { solver, timeShift, eta, path }: SampleArguments,
  mode: SamplingMode,
  learned: InterpolantPath,
): Omit<SamplerOptions, 'steps'> | Omit<DiffusionSamplerOptions, 'steps'> {
  if (mode === 'ddpm' || mode === 'ddim') return { mode, eta }
  return { mode, solver, ...(timeShift !== undefined && { timeShift }), path: path ?? learned }
}
