/** What a configuration says of alignment and its kin, for a Trainer. */

import { usualRoute } from '../models/token-route.ts'
import type { AlignmentEncoder } from './cached-encoder.ts'
import { alignDepthOf, type TrainingConfiguration } from './configuration.ts'
import type { TrainerOptions } from './trainer-options.ts'

/** Settings that only mean something beside others: what is set, whether it is without them, and what it lacks. */
function contradictions(configuration: TrainingConfiguration): readonly (readonly [boolean, string])[] {
  const { encoders, alignLoss, alignSpatialNorm, alignDecay, alignUntil, projector, cudaGraph } = configuration
  const noEncoder = encoders.length === 0
  const noAlignment = noEncoder && configuration.selfAlignWeight === 0
  const name = 'name one by --encoder NAME=FILE, or --encoder hog'
  return [
    [
      noEncoder && alignLoss !== 'cosine',
      `alignLoss ${alignLoss} compares with an encoder, and none is named; ${name}.`,
    ],
    [
      noEncoder && projector !== 'mlp',
      `The projector ${projector} projects to an encoder's features, and none is named; ${name}.`,
    ],
    [
      noEncoder && alignSpatialNorm !== undefined,
      `alignSpatialNorm normalises an encoder's features, and none is named; ${name}.`,
    ],
    [
      noEncoder && configuration.alignAttentionWeight > 0,
      `alignAttentionWeight compares attention with an encoder's, and none is named; name one by --encoder NAME=FILE.`,
    ],
    [
      configuration.alignAttentionWeight === 0 &&
        (configuration.alignAttentionBlocks ?? configuration.alignAttentionHeads) !== undefined,
      'alignAttentionBlocks and alignAttentionHeads say what of the attention is compared, and none is; give --align-attention-weight.',
    ],
    [
      noAlignment && alignUntil !== undefined,
      'alignUntil ends an alignment, and there is none; name an encoder, or give --self-align-weight.',
    ],
    [
      alignDecay !== 'none' && alignUntil === undefined,
      `alignDecay ${alignDecay} needs the step at which the weight is 0; give --align-until.`,
    ],
    [
      configuration.routeTokens === 0 && (configuration.routeFrom ?? configuration.routeTo) !== undefined,
      'routeFrom and routeTo say past which blocks tokens go, and none goes past any; give --route-tokens.',
    ],
    [
      cudaGraph && alignDecay !== 'none',
      `cudaGraph replays a step with one weight of the alignment, and alignDecay ${alignDecay} changes it at every step; leave one out.`,
    ],
  ]
}

/** Throws, in a sentence, where settings contradict each other. */
export function requireConsistentAlignment(configuration: TrainingConfiguration): void {
  const sentence = contradictions(configuration).find(([holds]) => holds)?.[1]
  if (sentence !== undefined) throw new Error(sentence)
}

/** The Trainer's options of a model of `depth` blocks. */
export function alignmentOf(
  configuration: TrainingConfiguration,
  encoders: readonly AlignmentEncoder[],
  depth: number,
): Pick<TrainerOptions, 'align' | 'selfAlign' | 'alignSchedule' | 'disperse' | 'contrast' | 'route' | 'classToken'> {
  const { alignLoss, alignTemperature, alignWeight, alignUntil, alignDecay, alignSpatialNorm, projector } =
    configuration
  const { alignAttentionWeight } = configuration
  const { dispersiveWeight, dispersiveTemperature, dispersiveDepth, contrastiveWeight } = configuration
  const { routeTokens, routeFrom, routeTo } = configuration
  const { selfAlignWeight, selfAlignDepth, selfAlignTeacherDepth, selfAlignTimeOffset } = configuration
  return {
    alignSchedule: { until: alignUntil, decay: alignDecay },
    ...(encoders.length > 0 && {
      align: {
        encoder: encoders,
        depth: alignDepthOf(configuration),
        weight: alignWeight,
        loss: alignLoss,
        temperature: alignTemperature,
        projector,
        spatialNorm: alignSpatialNorm,
        ...(alignAttentionWeight > 0 && {
          attention: {
            weight: alignAttentionWeight,
            blocks: configuration.alignAttentionBlocks,
            heads: configuration.alignAttentionHeads,
          },
        }),
      },
    }),
    ...(configuration.classTokenWeight > 0 && { classToken: { weight: configuration.classTokenWeight } }),
    ...(dispersiveWeight > 0 && {
      disperse: {
        weight: dispersiveWeight,
        temperature: dispersiveTemperature,
        depth: dispersiveDepth ?? Math.max(1, Math.round(depth / 4)),
      },
    }),
    ...(contrastiveWeight > 0 && { contrast: { weight: contrastiveWeight } }),
    ...(routeTokens > 0 && {
      route: { share: routeTokens, ...usualRoute(depth, { from: routeFrom, to: routeTo }) },
    }),
    ...(selfAlignWeight > 0 && {
      selfAlign: {
        weight: selfAlignWeight,
        depth: selfAlignDepth ?? alignDepthOf(configuration),
        teacherDepth: selfAlignTeacherDepth ?? Math.max(1, Math.round((5 * depth) / 7)),
        timeOffset: selfAlignTimeOffset,
      },
    }),
  }
}
