import type { Guidance } from '../diffusion/guidance.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { LoadedModel } from '../training/load-model.ts'
import type { Output } from './output.ts'
import type { SampleArguments } from './sample-options.ts'

/** What a kind's own evaluation samples with. An original SiT's (LightningDiT's too) knows no interval of guidance, REPA's does. */
const DEFAULTS = {
  SiT: { cfgScale: 1.8, guidanceHigh: 0.7 },
  originalSiT: { cfgScale: 1.8, guidanceHigh: 1 },
  DiT: { cfgScale: 1.5, guidanceHigh: 1 },
  text: { cfgScale: 2, guidanceHigh: 1 },
} as const

function defaultsOf({ config, text }: AnyTransformer): (typeof DEFAULTS)[keyof typeof DEFAULTS] {
  if (text) return DEFAULTS.text
  return DEFAULTS[config.kind === 'SiT' && config.convention === 'sit' ? 'originalSiT' : config.kind]
}

/** The time up to which guidance is active. */
export function guidanceHighOf(
  { guidanceHigh, guide }: Pick<SampleArguments, 'guidanceHigh' | 'guide'>,
  model: AnyTransformer,
): number {
  return guidanceHigh ?? (guide === undefined ? defaultsOf(model).guidanceHigh : 1)
}

/** What a model is guided by, of which flags and model go together; says so where nothing can guide it. */
export function guidanceOf(
  args: SampleArguments,
  { model, latentStatistics }: LoadedModel,
  guide: LoadedModel | undefined,
  out: Output,
): Guidance {
  const scale = args.cfgScale ?? defaultsOf(model).cfgScale
  const canGuide = guide !== undefined || model.config.classDropout > 0
  if (!canGuide && scale > 1) {
    out.warn(
      model.text
        ? 'The model was trained without dropping captions, and the empty one says nothing to it: sampling without guidance.'
        : 'The model was trained without label dropout and has no null class: sampling without guidance.',
    )
  }
  const { clsCfgScale, guidedChannels } = args
  return {
    scale: canGuide ? scale : 1,
    low: args.guidanceLow,
    high: guidanceHighOf(args, model),
    ...(guide && {
      guide: guide.model,
      guidePath: guide.path,
      latentStatistics: { model: latentStatistics, guide: guide.latentStatistics },
    }),
    ...(clsCfgScale !== undefined && { classTokenScale: clsCfgScale }),
    ...(guidedChannels !== undefined && {
      channels: guidedChannels === 'all' ? model.config.channels : Number(guidedChannels),
    }),
  }
}
