/** What a configuration says of alignment and its kin, for a Trainer. */

import { firstThatHolds } from '../configuration/first-that-holds.ts'
import { usualRoute } from '../models/token-route.ts'
import type { AlignmentEncoder } from './cached-encoder.ts'
import { alignDepthOf, type TrainingConfiguration } from './configuration.ts'
import type { TrainerOptions } from './trainer-options.ts'

/** Throws, in a sentence, where settings contradict each other. */
export function requireConsistentAlignment({ alignDecay, alignUntil, cudaGraph }: TrainingConfiguration): void {
  const contradictions: readonly (readonly [boolean, string])[] = [
    [
      alignDecay !== 'none' && alignUntil === undefined,
      `\`alignDecay\` ${alignDecay} needs the step at which the weight is 0; give \`alignUntil\`.`,
    ],
    [
      cudaGraph && alignDecay !== 'none',
      `\`cudaGraph\` replays a step with one weight of the alignment, and \`alignDecay\` ${alignDecay} changes it at every step; leave one out.`,
    ],
  ]
  const sentence = firstThatHolds(contradictions)
  if (sentence !== undefined) throw new Error(sentence)
}

/** The block of the average that self-alignment aims at in a model of `depth` blocks: where SRA has it, 20 of XL's 28. */
export function usualTeacherDepth(depth: number): number {
  return Math.max(1, Math.round((5 * depth) / 7))
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
        ...(alignLoss === 'nt-xent' && { temperature: alignTemperature }),
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
        teacherDepth: selfAlignTeacherDepth ?? usualTeacherDepth(depth),
        timeOffset: selfAlignTimeOffset,
      },
    }),
  }
}
