import { resolve } from 'node:path'
import { firstThatHolds } from '../configuration/first-that-holds.ts'
import { makesLatents, SAMPLING_MODES, type SamplingMode } from '../diffusion/sample-images.ts'
import { promptsPath } from '../diffusion/sampling-record.ts'
import type { AnyTransformer, TransformerKind } from '../models/transformer-kinds.ts'
import { guidanceHighOf } from './sample-guidance.ts'
import type { SampleArguments } from './sample-options.ts'

/** A sentence, and when it is so. */
type Row = readonly [isSo: boolean, sentence: string]

/** Why flags do not go together, whatever the model; undefined where they do. */
export function contradictionOf(args: SampleArguments): string | undefined {
  const { cfgScale, clsCfgScale, guide, guideHeads, mode, solver, timeShift, steps, kind, path, convention } = args
  const { autoencoder, autoencoderTile, grid, gridCount, classes, prompts } = args
  const ofText = firstThatHolds([
    [args.prompt.length > 0, '--prompt'],
    [prompts !== undefined, '--prompts'],
    [args.captionEncoder !== undefined, '--caption-encoder'],
  ])
  const isOfDiT = kind === 'DiT' || (mode !== undefined && isModeOf('DiT', mode))
  return firstThatHolds<string>([
    [
      cfgScale !== undefined && cfgScale < 1,
      `--cfg-scale ${cfgScale} would guide nothing: expected 1, which is no guidance, or more.`,
    ],
    [
      guide !== undefined && !(cfgScale !== undefined && cfgScale > 1),
      `--guide needs a --cfg-scale above 1, which says how far to go away from it${cfgScale === undefined ? '' : `; ${cfgScale} was given`}.`,
    ],
    [
      guideHeads !== undefined && guide === undefined,
      leftOut(`--guide-heads ${guideHeads} is of a --guide, and none was given`),
    ],
    ...(args.guidanceHigh === undefined ? [] : [neverActive(args, args.guidanceHigh)]),
    [
      clsCfgScale !== undefined && cfgScale === 1,
      leftOut(`--cls-cfg-scale ${clsCfgScale} is of guidance, and --cfg-scale 1 has none`),
    ],
    ...(mode === undefined ? [] : [...(kind === undefined ? [] : [notOfKind(kind, mode)]), ...notOfMode(args, mode)]),
    [
      timeShift !== undefined && solver === 'dopri5',
      leftOut(`--time-shift ${timeShift} shifts the steps of euler and heun, and dopri5 chooses its own`),
    ],
    [
      steps !== undefined && solver === 'dopri5',
      leftOut(`--steps ${steps} is of euler and heun, and dopri5 chooses its own`),
    ],
    [path !== undefined && isOfDiT, notOfDiT('--path', path)],
    [convention !== undefined && isOfDiT, notOfDiT('--convention', convention)],
    [
      autoencoderTile !== undefined && autoencoder === undefined,
      leftOut(`--autoencoder-tile ${autoencoderTile} is of an --autoencoder, and none was given`),
    ],
    [
      gridCount !== undefined && grid === undefined,
      leftOut(`--grid-count ${gridCount} is of a --grid, and none was asked for`),
    ],
    [
      classes !== undefined && ofText !== undefined,
      `--classes is of a model of classes, and ${ofText} of one of text; leave one of them out.`,
    ],
    [
      prompts !== undefined && resolve(prompts) === resolve(promptsPath(args.out)),
      `--prompts ${prompts} is what sampling to ${args.out} replaces; copy it elsewhere, or choose another --out.`,
    ],
  ])
}

/** Why flags do not go with a model that is sampled in a mode; undefined where they do. */
export function foreignTo(model: AnyTransformer, args: SampleArguments, mode: SamplingMode): string | undefined {
  const { path, clsCfgScale, latents, autoencoder } = args
  return firstThatHolds<string>([
    notOfKind(model.config.kind, mode),
    neverActive(args, guidanceHighOf(args, model)),
    ...notOfMode(args, mode),
    [path !== undefined && model.config.kind === 'DiT', notOfDiT('--path', path)],
    [
      clsCfgScale !== undefined && model.classTokenWidth === undefined,
      leftOut(`--cls-cfg-scale ${clsCfgScale} is of a model with a class token (REG), and this one has none`),
    ],
    [
      latents === true && autoencoder === undefined && !makesLatents(model, undefined),
      leftOut('--latents is of a model of latents, and this one makes pixels'),
    ],
  ])
}

const leftOut = (what: string) => `${what}; leave it out.`

const notOfDiT = (flag: string, value: string | undefined) => leftOut(`${flag} ${value} is of a SiT, not of a DiT`)

const isModeOf = (kind: TransformerKind, mode: SamplingMode) =>
  (SAMPLING_MODES[kind] as readonly SamplingMode[]).includes(mode)

const notOfKind = (kind: TransformerKind, mode: SamplingMode): Row => [
  !isModeOf(kind, mode),
  `--mode ${mode} is not for a ${kind}: expected ${SAMPLING_MODES[kind].join(' or ')}.`,
]

const neverActive = ({ guidanceLow }: SampleArguments, high: number): Row => [
  guidanceLow > high,
  `--guidance-low ${guidanceLow} is above --guidance-high ${high}: guidance would never be active; --cfg-scale 1 turns it off.`,
]

const notOfMode = ({ solver, timeShift, eta }: SampleArguments, mode: SamplingMode): readonly Row[] => [
  [solver !== 'euler' && mode !== 'ode', leftOut(`--solver ${solver} is of --mode ode, not of ${mode}`)],
  [timeShift !== undefined && mode !== 'ode', leftOut(`--time-shift ${timeShift} is of --mode ode, not of ${mode}`)],
  [eta > 0 && mode !== 'ddim', leftOut(`--eta ${eta} is of --mode ddim, not of ${mode}`)],
]
